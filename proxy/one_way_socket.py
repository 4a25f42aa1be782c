"""WebSocket connections on which only the server speaks (RFC 6455), for uvicorn's HTTP protocol to hand over to.

The live pages need a bell and nothing else. So a client may open, answer pings, ping and close; a message from it ends
the connection (1003), and nothing is kept of what it sent. There are no extensions, no fragments and no subprotocols:
what is left to get wrong is small. A client that does not answer a ping, or does not read, is cut off.

To the application this is ASGI's `websocket` (ASGI WebSocket specification 2.4).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from typing import Any, Final
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

PLACES: Final = frozenset({b"/inbox/live/"})
"""Where connections are handed over; everywhere else an upgrade is not offered, and HTTP stays HTTP."""
PING_SECONDS: Final = 20.0
"""How often a client is pinged; one of which nothing came for two of them is gone."""
CLOSE_SECONDS: Final = 5.0
MAX_CONTROL_BYTES: Final = 125
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_NORMAL, _GOING_AWAY, _PROTOCOL_ERROR, _UNSUPPORTED = 1000, 1001, 1002, 1003
_KNOWN = frozenset({0x0, _TEXT, 0x2, _CLOSE, _PING, _PONG})

logger = logging.getLogger(__name__)


class FrameRefused(ValueError):
    """The client has sent what ends the connection; `code` is that of RFC 6455 section 7.4.1."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Disconnected(OSError):
    """The client is gone."""


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one whole frame from the server (RFC 6455 section 5.2): final, unmasked."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def read_control(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take the next frame of a client from `buffer`: opcode and payload; None while it is not complete.

    Raises:
        FrameRefused: it is a message (1003), or breaks the protocol (1002).
    """
    if not buffer:
        return None
    opcode = buffer[0] & 0x0F
    if buffer[0] & 0x70 or opcode not in _KNOWN:
        raise FrameRefused(_PROTOCOL_ERROR)
    if opcode < _CLOSE:
        raise FrameRefused(_UNSUPPORTED)
    if len(buffer) < 2:
        return None
    size = buffer[1] & 0x7F
    # Section 5.1: a client masks every frame. Section 5.5: a control frame is whole and short.
    if not buffer[1] & 0x80 or size > MAX_CONTROL_BYTES or not buffer[0] & 0x80:
        raise FrameRefused(_PROTOCOL_ERROR)
    if len(buffer) < 6 + size:
        return None
    mask = bytes(buffer[2:6]) * (size // 4 + 1)
    payload = bytes(given ^ key for given, key in zip(buffer[6 : 6 + size], mask, strict=False))
    del buffer[: 6 + size]
    return opcode, payload


def accept_key(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the answer to an opening handshake (RFC 6455 section 4.2.2); None when it is none of version 13."""
    given: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(b"sec-websocket-"):
            if name in given:
                return None
            given[name] = value.strip()
    key = given.get(b"sec-websocket-key", b"")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        is_key = False
    if not is_key or given.get(b"sec-websocket-version") != b"13":
        return None
    # SHA-1 as section 1.3 asks for it: it proves nothing but that the server has read the key.
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


class OneWaySocket(asyncio.Protocol):
    """One WebSocket connection; uvicorn's HTTP protocol makes it with the head that asked for the upgrade."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        app = config.loaded_app
        # As in `GatewayProtocol`: whom to believe about addresses is a setting of ours.
        self.app: Any = app.app if isinstance(app, ProxyHeadersMiddleware) else app
        self._loop = _loop or asyncio.get_event_loop()
        self._state, self._app_state, self._root_path = server_state, app_state, config.root_path
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=4)
        self._buffer = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._key: bytes | None = None
        self._has_begun = self._is_open = self._is_over = self._is_silent = False
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is this protocol's from now on."""
        self._transport = transport
        self._state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """The head, as uvicorn has read it, and after it the client's frames."""
        if not self._has_begun:
            self._has_begun = True
            self._open(data)
            return
        self._is_silent = False
        # Before the answer to the handshake a client has nothing to say, and after the end nothing that matters.
        if not self._is_open or self._is_over:
            return
        self._buffer += data
        try:
            while (found := read_control(self._buffer)) is not None:
                self._take(*found)
        except FrameRefused as refused:
            self._end(refused.code)

    def eof_received(self) -> None:
        """The client sends no more; it is gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._state.connections.discard(self)
        self._stop_timer()
        self._is_over = True
        self._writable.set()
        self._tell_end(1006)

    def pause_writing(self) -> None:
        """The client does not read what it was sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()

    def shutdown(self) -> None:
        """The server stops."""
        if self._is_open:
            self._end(_GOING_AWAY)
        self._transport.close()

    # The application.

    async def receive(self) -> dict[str, Any]:
        """Return the next event: that the client has come, or has gone."""
        return await self._events.get()

    async def send(self, message: dict[str, Any]) -> None:
        """Accept, send a text, or close.

        Raises:
            Disconnected: the client is gone.
        """
        await self._writable.wait()
        if self._is_over:
            raise Disconnected
        kind = message["type"]
        if kind == "websocket.accept":
            self._accept()
        elif kind == "websocket.send" and self._is_open:
            self._transport.write(frame(_TEXT, message["text"].encode()))
        elif kind == "websocket.close" and self._is_open:
            self._end(int(message.get("code") or _NORMAL))
        elif kind == "websocket.close":
            self._refuse(b"403 Forbidden")

    def _open(self, head: bytes) -> None:
        request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, _ = request.split(b" ", 2)
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        raw_path, _, query = target.partition(b"?")
        self._key = accept_key(headers)
        if method != b"GET" or self._key is None:
            self._refuse(b"426 Upgrade Required", b"sec-websocket-version: 13\r\n")
            return
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": self._root_path,
            "path": self._root_path + unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [],
            "state": self._app_state.copy(),
        }
        self._events.put_nowait({"type": "websocket.connect"})
        task = self._loop.create_task(self._run(scope))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self.app(scope, self.receive, self.send)
        except Disconnected:
            pass
        except Exception as error:
            logger.error("a live page's connection ends: %s", type(error).__name__)
        finally:
            if self._is_open:
                self._end(_GOING_AWAY)
            elif not self._is_over:
                self._refuse(b"500 Internal Server Error")

    def _accept(self) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        self._transport.write(head + b"sec-websocket-accept: " + (self._key or b"") + b"\r\n\r\n")
        self._is_open = True
        self._timer = self._loop.call_later(PING_SECONDS, self._beat)

    def _refuse(self, status: bytes, header: bytes = b"") -> None:
        self._is_over = True
        self._transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n" + header + b"\r\n"
        )
        self._transport.close()

    # Frames.

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._transport.write(frame(_PONG, payload))
        elif opcode == _CLOSE:
            # Section 5.5.1: a body of one byte is no code.
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self._end(_PROTOCOL_ERROR if len(payload) == 1 else _NORMAL, told=code)

    def _end(self, code: int, told: int = 1006) -> None:
        """Say that this is the end; what the client does not read is dropped after `CLOSE_SECONDS`."""
        if self._is_over:
            return
        self._is_over, self._is_open = True, False
        self._stop_timer()
        self._transport.write(frame(_CLOSE, code.to_bytes(2, "big")))
        self._transport.close()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)
        self._writable.set()
        self._tell_end(told)

    def _tell_end(self, code: int) -> None:
        if not self._events.full():
            self._events.put_nowait({"type": "websocket.disconnect", "code": code})

    def _beat(self) -> None:
        """Ping; end a client of which nothing has come since the last one."""
        if self._is_silent:
            self._transport.abort()
            return
        self._is_silent = True
        self._transport.write(frame(_PING, b""))
        self._timer = self._loop.call_later(PING_SECONDS, self._beat)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
