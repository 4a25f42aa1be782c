"""What the Python drivers share: obey lines of JSON on standard input, and tell each ending as a line of JSON.

A driver is started as `python drive_X.py URL TOKEN HEADERS` in the environment of its client, HEADERS being an object
of further headers as JSON. The orders:

    {"do": "call", "tool": "...", "arguments": {...}}    one at a time
    {"do": "cancel"}                                     take the running call back, as a program with that SDK does
    {"do": "quit"}

What it says: {"said": "ready"} first; then for each call {"said": "answer", "is_error", "text"}, or, when the client
itself has ended the call, {"said": "gave_up", "text"}, or {"said": "cancelled"}; with "seconds", as the client counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

Call = Callable[[str, dict[str, Any]], Awaitable[tuple[bool, str]]]
Connect = Callable[[str, dict[str, str]], AbstractAsyncContextManager[Call]]
"""Makes a connection to the URL with the headers; what it yields calls a tool and returns `isError` and the text."""

CLOSE_SECONDS = 5


def say(**entry: Any) -> None:
    """Write one line."""
    print(json.dumps(entry), flush=True)


def told(error: BaseException) -> str:
    """Return what an error says; a group of them says what the first one does."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class Driver:
    """Keeps one connection for all calls; a call that fails ends it, and the next call makes another.

    Args:
        connect: how this client connects.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._url, token, headers = sys.argv[1:4]
        self._headers = {"Authorization": f"Bearer {token}", **json.loads(headers)}
        self._stack: AsyncExitStack | None = None
        self._call: Call | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Obey until there are no more orders."""
        await self._connected()
        say(said="ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            match order["do"]:
                case "call":
                    await self._connected()
                    self._running = asyncio.create_task(self._one(order["tool"], order["arguments"]))
                case "cancel" if self._running is not None:
                    self._running.cancel()
                case "quit":
                    break
        await self._left()

    async def _connected(self) -> None:
        if self._running is not None:
            await asyncio.wait([self._running])
        if self._call is None:
            await self._left()
            self._stack = AsyncExitStack()
            self._call = await self._stack.enter_async_context(self._connect(self._url, self._headers))

    async def _left(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            # A connection that is broken may fail to close in any way.
            with contextlib.suppress(Exception, BaseExceptionGroup):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await stack.aclose()

    async def _one(self, tool: str, arguments: dict[str, Any]) -> None:
        assert self._call is not None
        began = time.monotonic()
        said: dict[str, Any]
        try:
            is_error, text = await self._call(tool, arguments)
            said = {"said": "answer", "is_error": is_error, "text": text}
        except asyncio.CancelledError:
            said = {"said": "cancelled"}
        except Exception as error:
            self._call = None
            said = {"said": "gave_up", "text": told(error)}
        say(**said, seconds=round(time.monotonic() - began, 2))


def drive(connect: Connect) -> None:
    """Run a driver to its end."""
    asyncio.run(Driver(connect).run())
