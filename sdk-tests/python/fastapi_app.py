"""inngest for Python served by FastAPI, with asynchronous functions."""

import logging
import os
import typing

import fastapi
import inngest
import inngest.fast_api
import uvicorn

from controlled_async import controlled
from journal import Journal
from scenarios_async import scenarios
from waiting_async import waiting

client = inngest.Inngest(app_id="sdk-fastapi", logger=logging.getLogger("uvicorn"))
journal = Journal()
app = fastapi.FastAPI()
inngest.fast_api.serve(app, client, [*scenarios(client, journal), *waiting(client, journal), *controlled(client, journal)])


@app.get("/log/{run}")
def log(run: str) -> dict[str, typing.Any]:
    return journal.of(run)


@app.post("/send")
async def send(body: dict[str, typing.Any]) -> dict[str, list[str]]:
    return {"ids": await client.send(inngest.Event(name=body["name"], data=body["data"]))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)
