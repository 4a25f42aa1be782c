"""A body that is too large never reaches Django."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_project.bodies import BoundedBodies

LIMIT = 10


class Exchange:
    """One request in pieces, and what became of it."""

    def __init__(self, *pieces: bytes, length: bytes | None = None) -> None:
        self.pieces = list(pieces)
        self.scope: dict[str, Any] = {"type": "http", "headers": [(b"content-length", length)] if length else []}
        self.read = 0
        self.got = b""
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        piece = self.pieces[self.read]
        self.read += 1
        return {"type": "http.request", "body": piece, "more_body": self.read < len(self.pieces)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def inner(self, scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            self.got += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def status(self) -> int:
        await BoundedBodies(self.inner, limit=LIMIT)(self.scope, self.receive, self.send)
        return self.sent[0]["status"]


async def test_a_body_of_exactly_the_limit_passes():
    exchange = Exchange(b"x" * 4, b"x" * 6, length=b"10")
    assert await exchange.status() == 200
    assert exchange.got == b"x" * LIMIT


async def test_a_body_that_is_declared_too_large_is_not_read():
    exchange = Exchange(b"x", length=b"11")
    assert await exchange.status() == 413
    assert exchange.read == 0


@pytest.mark.parametrize("length", [None, b"5", b"-1", b"many"])
async def test_a_body_that_turns_out_too_large_is_read_no_further(length):
    exchange = Exchange(b"x" * 8, b"x" * 8, b"x" * 8, length=length)
    assert await exchange.status() == 413
    assert exchange.read == 2


async def test_what_is_not_a_request_passes():
    exchange = Exchange()
    exchange.scope = {"type": "websocket"}

    async def inner(scope, receive, send):
        await send(scope["type"])

    await BoundedBodies(inner, limit=LIMIT)(exchange.scope, exchange.receive, exchange.send)
    assert exchange.sent == ["websocket"]
