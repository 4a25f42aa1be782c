# mypy: ignore-errors
"""The Python SDK 2.x."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drive import Call, drive
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool, with the SDK's own idea of how long that may take."""
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):

        async def call(tool, arguments):
            result = await client.call_tool(tool, arguments)
            return bool(result.is_error), result.content[0].text

        yield call


if __name__ == "__main__":
    drive(connect)
