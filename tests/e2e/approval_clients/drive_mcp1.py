# mypy: ignore-errors
# Written for another version of the SDK than the one that is installed beside the tests.
"""The Python SDK 1.x. With a command after the headers it is the host of that command, which speaks on its pipes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drive import Call, drive
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


@asynccontextmanager
async def transport(url: str, headers: dict[str, str]):
    """Yield the streams of a transport."""
    through = sys.argv[4:]
    if through:
        words = [word.format(url=url) for word in through]
        for name, value in headers.items():
            words += ["--header", f"{name}:{value}"]
        parameters = StdioServerParameters(command=words[0], args=words[1:])
        async with stdio_client(parameters) as (read, write):
            yield read, write
        return
    async with streamablehttp_client(url, headers=headers) as (read, write, _):
        yield read, write


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool, with the SDK's own idea of how long that may take."""
    async with transport(url, headers) as (read, write), ClientSession(read, write) as session:
        await session.initialize()

        async def call(tool, arguments):
            result = await session.call_tool(tool, arguments)
            return bool(result.isError), result.content[0].text

        yield call


if __name__ == "__main__":
    drive(connect)
