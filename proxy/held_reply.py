"""The way back to a client that was kept waiting on an event stream: whatever its call ends with goes there."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from proxy.ports import Call, ClientStalled, ReplyPort
from proxy.protocol import jsonrpc, sse

_JSON = b"application/json"


class HeldReply:
    """A reply whose stream is open already.

    Args:
        reply: with an open event stream.
        call: whose answer is awaited.
        on_missed: called when the last of the answer was written and nobody was there. With it the call survives its
            client, which may come back for the answer: a client that leaves, or does not read, ends nothing.
    """

    def __init__(self, reply: ReplyPort, call: Call, on_missed: Callable[[], None] | None = None) -> None:
        self._reply, self._call, self._on_missed = reply, call, on_missed
        self._is_deaf = False

    @property
    def is_streaming(self) -> bool:
        """Always."""
        return True

    async def whole(self, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a complete answer as the last event; what is no JSON-RPC message becomes an error."""
        if content_type.partition(b";")[0] != _JSON or not body:
            text = f"The upstream server answered with HTTP {status}."
            body = jsonrpc.error(self._call.request_id, jsonrpc.UPSTREAM_UNAVAILABLE, text)
        elif status >= 400:
            body = _with_id(body, self._call)
        await self.write(sse.encode(sse.ServerEvent(body, b"message")))
        await self.close()

    async def open_stream(self, headers: list[tuple[bytes, bytes]]) -> None:
        """The stream is open."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the stream."""
        if self._on_missed is None:
            await self._reply.write(data)
        elif not self._is_deaf:
            try:
                await self._reply.write(data)
            except ClientStalled:
                self._is_deaf = True

    async def close(self) -> None:
        """End the stream."""
        if self._on_missed is not None and self._is_deaf:
            self._on_missed()
            return
        await self._reply.close()

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` once when the client leaves before the reply is complete, unless the call survives that."""
        if self._on_missed is None:
            self._reply.watch(on_gone)
        else:
            self._reply.watch(self._leave)

    def _leave(self) -> None:
        self._is_deaf = True


def _with_id(body: bytes, call: Call) -> bytes:
    """Give an upstream's HTTP error the id of the call, without which no client could tell what it answers."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = None
    if isinstance(message, dict) and "error" in message and message.get("id") is None:
        return orjson.dumps({**message, "jsonrpc": "2.0", "id": call.request_id})
    if isinstance(message, dict) and {"jsonrpc", "id"} <= message.keys():
        return body
    text = "The upstream server answered with an error that is not MCP."
    return jsonrpc.error(call.request_id, jsonrpc.UPSTREAM_UNAVAILABLE, text)
