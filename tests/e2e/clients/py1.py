# mypy: ignore-errors
# Written for another version of the SDK than the one that is installed beside the tests.
"""Drive the Python SDK 1.x through the gateway and print what it saw: `python py1.py URL TOKEN`."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

import mcp.types as types
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamablehttp_client

WAIT = timedelta(seconds=20)


async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """Answer as the client's model, repeating the question."""
    asked = getattr(params.messages[0].content, "text", "")
    content = types.TextContent(type="text", text=f"heard: {asked}")
    return types.CreateMessageResult(role="assistant", content=content, model="test-model")


async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Answer as the client's user, who is sure."""
    asked.append(params.message)
    return types.ElicitResult(action="accept", content={"sure": True})


asked: list[str] = []


async def main(url: str, token: str) -> dict[str, Any]:
    """Return what the client saw."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        streamablehttp_client(url, headers=headers) as (read, write, _),
        ClientSession(
            read, write, read_timeout_seconds=WAIT, sampling_callback=sample, elicitation_callback=elicit
        ) as session,
    ):
        started = await session.initialize()
        saw: dict[str, Any] = {
            "protocol": started.protocolVersion,
            "instructions": started.instructions,
            "tools": [tool.name for tool in (await session.list_tools()).tools],
            "prompts": [prompt.name for prompt in (await session.list_prompts()).prompts],
            "resources": [str(resource.uri) for resource in (await session.list_resources()).resources],
        }
        result = await session.call_tool("get_customer", {"number": 7})
        saw["json"] = {"structured": result.structuredContent, "text": result.content[0].text}
        progress: list[Any] = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append([done, total, message])

        result = await session.call_tool("stream_report", {}, progress_callback=on_progress)
        saw["stream"] = {"progress": progress, "text": result.content[0].text}
        saw["prompt"] = (await session.get_prompt("welcome", {"name": "Bob"})).messages[0].content.text
        saw["resource"] = (await session.read_resource("customers://ada")).contents[0].text
        result = await session.call_tool("delete_customer", {"number": 7})
        saw["denied"] = {"is_error": result.isError, "text": result.content[0].text}
        saw["hidden_tool"] = await refused(session.call_tool("secret_tool", {}))
        saw["hidden_resource"] = await refused(session.read_resource("secrets://root"))
        result = await session.call_tool("ask_client", {})
        saw["round_trip"] = {"text": result.content[0].text, "asked": asked}
        return saw


async def refused(call: Any) -> Any:
    """Return the JSON-RPC error of a call, or that there was none."""
    try:
        await call
    except McpError as error:
        return {"code": error.error.code, "message": error.error.message}
    return "no error"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asyncio.wait_for(main(*sys.argv[1:3]), 60))))
