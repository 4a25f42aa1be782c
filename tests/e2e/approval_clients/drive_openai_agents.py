# mypy: ignore-errors
"""The OpenAI Agents SDK; a number after the headers is its `client_session_timeout_seconds`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents.mcp import MCPServerStreamableHttp
from drive import Call, drive


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool."""
    patience = {"client_session_timeout_seconds": float(sys.argv[4])} if sys.argv[4:] else {}
    async with MCPServerStreamableHttp(params={"url": url, "headers": headers}, **patience) as server:
        await server.list_tools()

        async def call(tool, arguments):
            result = await server.call_tool(tool, arguments)
            return bool(getattr(result, "is_error", getattr(result, "isError", False))), result.content[0].text

        yield call


if __name__ == "__main__":
    drive(connect)
