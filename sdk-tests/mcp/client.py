"""What a coding assistant does, with the client library that Python programs use: `client.py URL`.

Once as clients of today connect, which look for the protocol without sessions first, and once as those of before.
"""

import asyncio
import sys
import typing

from mcp import Client

TOOLS = {"send_event", "invoke_function_sync", "get_run_status", "poll_run_status", "list_runs", "get_run", "grep_docs"}


async def call(client: Client, tool: str, **arguments: typing.Any) -> typing.Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, f"{tool}: {result.content}"
    return result.structured_content


async def assist(client: Client) -> None:
    listed = {tool.name for tool in (await client.list_tools()).tools}
    assert TOOLS <= listed, f"not listed: {TOOLS - listed}"

    sent = await call(client, "send_event", name="sdk/hello", data={"name": "assistant"})
    [run] = sent["runIds"]
    polled = await call(client, "poll_run_status", runIds=[run])
    assert polled["completed"] == 1, polled
    shown = await call(client, "get_run", runId=run, includeOutput=True)
    assert shown["data"]["output"] == {"greeting": "hello assistant"}, shown

    name = (await call(client, "get_run_status", runId=run))["functionName"]
    done = await call(client, "invoke_function_sync", functionId=name, data={"name": "friend"})
    assert (done["status"], done["output"]) == ("Completed", {"greeting": "hello friend"}), done

    unknown = await client.call_tool("get_run", {"runId": "01M85QRDBHC70063SSP1V76AAN"})
    assert unknown.is_error and "HTTP 404" in unknown.content[0].text, unknown


async def main(url: str) -> None:
    for mode in ("auto", "legacy"):
        async with Client(url, mode=mode) as client:
            await assist(client)


asyncio.run(main(sys.argv[1]))
