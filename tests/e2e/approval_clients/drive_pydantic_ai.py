# mypy: ignore-errors
"""PydanticAI's toolset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drive import Call, drive
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.mcp import MCPToolset


@asynccontextmanager
async def connect(url: str, headers: dict[str, str]) -> AsyncIterator[Call]:
    """Yield how to call a tool; it raises ModelRetry with the text of a result that is an error."""
    async with MCPToolset(url, headers=headers) as toolset:

        async def call(tool, arguments):
            try:
                result = await toolset.direct_call_tool(tool, arguments)
            except ModelRetry as error:
                if error.__cause__ is not None:
                    # Not what the server has said.
                    raise error.__cause__ from None
                return True, str(error)
            return False, result["result"] if isinstance(result, dict) else str(result)

        yield call


if __name__ == "__main__":
    drive(connect)
