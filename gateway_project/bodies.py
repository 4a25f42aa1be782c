"""How much of a request's body reaches Django: it writes the whole of it to memory or disk before a view can say no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_SENTENCE = b"The body is larger than the gateway accepts.\n"


class _TooLarge(Exception):
    """Unwinds Django's reading of a body; never leaves this module."""


class BoundedBodies:
    """Answers 413 to a request whose body is larger than `limit` bytes, declared or not, and reads no further."""

    def __init__(self, inner: Asgi, *, limit: int) -> None:
        self._inner, self._limit = inner, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        if _declared(scope) > self._limit:
            await _refuse(send)
            return
        size, has_begun = 0, False

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._inner(scope, bounded, watched)
        except _TooLarge:
            if not has_begun:
                await _refuse(send)


def _declared(scope: Scope) -> int:
    """Return the Content-Length; 0 without one, because then the bytes are counted."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(_SENTENCE)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": _SENTENCE})
