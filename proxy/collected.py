"""The reply of one element of a 2025-03-26 batch: kept here, and put into the array of all answers."""

from __future__ import annotations

from typing import Any

from proxy.protocol import jsonrpc
from proxy.protocol.sse import EventStreamDecoder


class Collected:
    """A reply that keeps what it gets, for one element of a batch."""

    def __init__(self) -> None:
        self.is_streaming = False
        self._body = b""
        self._events: list[bytes] = []

    async def whole(self, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep the body."""
        self._body = body

    async def open_stream(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Expect events."""
        self.is_streaming = True

    async def write(self, data: bytes) -> None:
        """Keep the events; only the last message, the answer, goes into the array."""
        self._events.append(data)

    async def close(self) -> None:
        """Nothing more comes."""

    def watch(self, on_gone: Any) -> None:
        """A batch is not cancelled half way: each element ends in its own outcome."""

    def answer(self, request_id: jsonrpc.RequestId) -> bytes:
        """Return the element's answer; an element that got none has an error of its own."""
        if self.is_streaming:
            for event in reversed(EventStreamDecoder().feed(b"".join(self._events))):
                if event.data and jsonrpc.read_answer(event.data).kind in {"result", "error"}:
                    return event.data
        elif self._body:
            return self._body
        return jsonrpc.error(request_id, jsonrpc.UPSTREAM_UNAVAILABLE, "The upstream gave no answer.")
