# mypy: ignore-errors
"""FastMCP's client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drive import Call, drive
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool; it raises ToolError with the text of a result that is an error."""
    async with Client(StreamableHttpTransport(url, headers=headers)) as client:

        async def call(tool, arguments):
            try:
                result = await client.call_tool(tool, arguments)
            except ToolError as error:
                return True, str(error)
            return False, result.content[0].text

        yield call


if __name__ == "__main__":
    drive(connect)
