# mypy: ignore-errors
"""Drive the Python SDK 2.x through the gateway and print what it saw: `python py2.py URL TOKEN`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str) -> dict[str, Any]:
    """Return what the client saw."""
    http_client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30)
    transport = streamable_http_client(url, http_client=http_client)
    async with http_client, Client(transport, read_timeout_seconds=20) as client:
        saw: dict[str, Any] = {
            "protocol": client.protocol_version,
            "instructions": client.instructions,
            "tools": [tool.name for tool in (await client.list_tools()).tools],
            "prompts": [prompt.name for prompt in (await client.list_prompts()).prompts],
            "resources": [str(resource.uri) for resource in (await client.list_resources()).resources],
        }
        result = await client.call_tool("get_customer", {"number": 7})
        saw["json"] = {"structured": result.structured_content, "text": result.content[0].text}
        progress: list[Any] = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append([done, total, message])

        result = await client.call_tool("stream_report", {}, progress_callback=on_progress)
        saw["stream"] = {"progress": progress, "text": result.content[0].text}
        saw["prompt"] = (await client.get_prompt("welcome", {"name": "Bob"})).messages[0].content.text
        saw["resource"] = (await client.read_resource("customers://ada")).contents[0].text
        result = await client.call_tool("delete_customer", {"number": 7})
        saw["denied"] = {"is_error": result.is_error, "text": result.content[0].text}
        saw["hidden_tool"] = await refused(client.call_tool("secret_tool", {}))
        saw["hidden_resource"] = await refused(client.read_resource("secrets://root"))
        return saw


async def refused(call: Any) -> Any:
    """Return the JSON-RPC error of a call, or that there was none."""
    try:
        await call
    except MCPError as error:
        return {"code": error.error.code, "message": error.error.message}
    return "no error"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asyncio.wait_for(main(*sys.argv[1:3]), 60))))
