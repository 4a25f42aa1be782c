"""The way back to a client that was kept waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from proxy.held_reply import HeldReply
from proxy.ports import ClientStalled


class Wire:
    """A reply whose stream is open; it stalls when it is told to."""

    is_streaming = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = self.stalls = False
        self.leave: Callable[[], None] = lambda: None

    async def write(self, data: bytes) -> None:
        if self.stalls:
            raise ClientStalled
        self.sent.append(data)

    async def close(self) -> None:
        self.is_closed = True

    def watch(self, on_gone: Callable[[], None]) -> None:
        self.leave = on_gone

    async def whole(self, *_: Any) -> None:
        raise AssertionError("the stream is open")

    async def open_stream(self, headers: list[tuple[bytes, bytes]]) -> None:
        raise AssertionError("the stream is open")


def call(id: Any = 5) -> Any:
    return Mock(request_id=id)


BODY = b'{"jsonrpc":"2.0","id":5,"result":{}}'


async def test_an_answer_is_the_last_event_of_the_stream() -> None:
    wire = Wire()
    await HeldReply(wire, call()).whole(200, b"application/json", BODY, [])
    assert wire.sent == [b"event: message\ndata: " + BODY + b"\n\n"]
    assert wire.is_closed


async def test_what_is_no_message_becomes_an_error_of_the_call() -> None:
    wire = Wire()
    await HeldReply(wire, call()).whole(502, b"text/html", b"<h1>bad</h1>", [])
    message = json.loads(wire.sent[0].split(b"data: ")[1])
    assert message["id"] == 5
    assert "HTTP 502" in message["error"]["message"]


async def test_a_client_that_leaves_ends_the_call_unless_it_survives_that() -> None:
    wire, gone = Wire(), Mock()
    HeldReply(wire, call()).watch(gone)
    wire.leave()
    gone.assert_called_once()
    survivor, missed = HeldReply(wire, call(), missed_by := Mock()), Mock()
    survivor.watch(missed)
    wire.leave()
    await survivor.whole(200, b"application/json", BODY, [])
    missed.assert_not_called()
    missed_by.assert_called_once()
    assert wire.sent == []


async def test_a_client_that_does_not_read_ends_the_call_unless_it_survives_that() -> None:
    wire = Wire()
    wire.stalls = True
    with pytest.raises(ClientStalled):
        await HeldReply(wire, call()).write(b": ka\n\n")
    survivor = HeldReply(wire, call(), missed := Mock())
    await survivor.write(b": ka\n\n")
    wire.stalls = False
    await survivor.whole(200, b"application/json", BODY, [])
    missed.assert_called_once()
    assert wire.sent == []


async def test_who_was_there_to_the_end_has_missed_nothing() -> None:
    wire, missed = Wire(), Mock()
    await HeldReply(wire, call(), missed).whole(200, b"application/json", BODY, [])
    missed.assert_not_called()
    assert wire.is_closed
