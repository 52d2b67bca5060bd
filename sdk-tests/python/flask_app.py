"""inngest for Python served by Flask, with synchronous functions."""

import logging
import os

import flask
import inngest
import inngest.flask

from controlled_sync import controlled
from journal import Journal
from scenarios_sync import scenarios
from waiting_sync import waiting

app = flask.Flask(__name__)
client = inngest.Inngest(app_id="sdk-flask", logger=app.logger)
journal = Journal()
inngest.flask.serve(app, client, [*scenarios(client, journal), *waiting(client, journal), *controlled(client, journal)])


@app.get("/log/<run>")
def log(run: str) -> flask.Response:
    return flask.jsonify(journal.of(run))


@app.post("/send")
def send() -> flask.Response:
    body = flask.request.get_json()
    return flask.jsonify(ids=client.send_sync(inngest.Event(name=body["name"], data=body["data"])))


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
