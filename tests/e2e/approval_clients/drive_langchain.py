# mypy: ignore-errors
"""LangChain's adapter: each call of a tool is a session of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drive import Call, drive
from langchain_mcp_adapters.client import MultiServerMCPClient


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool as an agent does; a result that is an error is a message with that status."""
    client = MultiServerMCPClient({"gw": {"transport": "streamable_http", "url": url, "headers": headers}})
    tools = {tool.name: tool for tool in await client.get_tools()}

    async def call(tool, arguments):
        asked = {"type": "tool_call", "id": "1", "name": tool, "args": arguments}
        message = await tools[tool].ainvoke(asked)
        content = message.content
        return message.status == "error", content if isinstance(content, str) else content[0]["text"]

    yield call


if __name__ == "__main__":
    drive(connect)
