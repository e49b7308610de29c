"""An assistant: a client of the Model Context Protocol. It reads what to do from its input, and prints what came of it, as JSON."""

import asyncio
import json
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError


def as_json(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def play(one, client):
    if "tool" not in one:
        return [as_json(tool) for tool in (await client.list_tools()).tools]
    try:
        result = as_json(await client.call_tool(one["tool"], one.get("arguments", {})))
    except MCPError as error:
        return {"code": error.error.code, "message": error.error.message}
    text = "".join(block["text"] for block in result["content"])
    return {"text": text, "value": result.get("structuredContent"), "is_error": result.get("isError", False)}


async def converse(job):
    async with create_mcp_http_client(headers=job["headers"]) as http:
        transport = streamable_http_client(job["url"], http_client=http)
        async with Client(transport, mode=job["mode"]) as client:
            # The client checks each answer against the schema that the list gives for it.
            await client.list_tools()
            answers = [await play(one, client) for one in job["calls"]]
            return {"revision": client.protocol_version, "answers": answers}


async def main():
    came = None
    try:
        came = await converse(json.load(sys.stdin))
    except* MCPError as refused:
        first = refused
        while hasattr(first, "exceptions"):
            first = first.exceptions[0]
        came = {"refused": str(first)}
    print(json.dumps(came))


asyncio.run(main())
