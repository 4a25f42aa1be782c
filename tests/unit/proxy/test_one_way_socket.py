"""WebSockets on which only the server speaks: the handshake, and what a client may send."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from proxy import one_way_socket
from proxy.http_protocol import GatewayProtocol
from proxy.one_way_socket import FrameRefused, accept_key, frame, read_control

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HEAD = (
    b"GET /inbox/live/ HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
MASK = b"\x11\x22\x33\x44"


def from_client(opcode: int, payload: bytes = b"", *, first: int = 0x80, mask: bytes | None = MASK) -> bytes:
    if mask is None:
        return bytes((first | opcode, len(payload))) + payload
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes((first | opcode, 0x80 | len(payload))) + mask + masked


class Client(asyncio.Transport):
    """The client's end."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.is_closed, self.aborted, self.protocol = b"", False, asyncio.Event(), None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.aborted.set()

    def is_closing(self) -> bool:
        return self.is_closed

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.7", 4000), "sockname": ("127.0.0.1", 80)}.get(name, default)


class App:
    """Accepts, sends what is in `texts`, and waits for the end."""

    def __init__(self, *texts: str, accepts: bool = True) -> None:
        self.texts, self.accepts = texts, accepts
        self.scope: dict[str, Any] = {}
        self.end: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        assert (await receive())["type"] == "websocket.connect"
        if not self.accepts:
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        for text in self.texts:
            await send({"type": "websocket.send", "text": text})
        self.end = await receive()


async def opened(app: Any, head: bytes = HEAD) -> tuple[Client, ServerState]:
    config = Config(app, access_log=False, log_config=None, proxy_headers=False, lifespan="off")
    config.load()
    state, client = ServerState(), Client()
    protocol = GatewayProtocol(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
    protocol.connection_made(client)
    protocol.data_received(head)
    await settle()
    return client, state


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_handshake_is_that_of_the_standard() -> None:
    app = App("moved")
    client, state = await opened(app)
    head, _, frames = client.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    # RFC 6455 section 1.3 has this example.
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert frames == b"\x81\x05moved"
    assert app.scope["type"] == "websocket"
    assert app.scope["path"] == "/inbox/live/"
    assert app.scope["client"][0] == "192.0.2.7"
    assert state.connections == {client.protocol}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Version: 13", b"Version: 8"),
        (b"Key: " + KEY, b"Key: short"),
        (b"Sec-WebSocket-Key", b"X"),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13"),
        (b"GET ", b"PUT "),
    ],
)
async def test_another_handshake_is_refused(old: bytes, new: bytes) -> None:
    client, _ = await opened(App(), HEAD.replace(old, new))
    assert client.written.startswith(b"HTTP/1.1 426 ")
    assert client.is_closed


async def test_what_the_application_refuses_gets_403() -> None:
    client, _ = await opened(App(accepts=False))
    assert client.written.startswith(b"HTTP/1.1 403 ")
    assert client.is_closed


async def test_an_application_that_fails_answers_500() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret-value")

    client, _ = await opened(fails)
    assert client.written.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in client.written


async def test_nowhere_else_an_upgrade_is_offered() -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client, _ = await opened(plain, HEAD.replace(b"/inbox/live/", b"/mcp/orders"))
    assert client.written.startswith(b"HTTP/1.1 204 ")


async def test_a_ping_is_answered_and_a_close_is_returned() -> None:
    app = App()
    client, state = await opened(app)
    client.written = b""
    client.protocol.data_received(from_client(0x9, b"are you there"))
    assert client.written == frame(0xA, b"are you there")
    client.written = b""
    client.protocol.data_received(from_client(0x8, (1001).to_bytes(2, "big")))
    assert client.written == b"\x88\x02\x03\xe8"
    assert client.is_closed
    client.protocol.connection_lost(None)
    await settle()
    assert app.end == {"type": "websocket.disconnect", "code": 1001}
    assert not state.connections
    assert not state.tasks


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (from_client(0x1, b"hello"), 1003),
        (from_client(0x2, b"hello"), 1003),
        (from_client(0x0, b"more"), 1003),
        (from_client(0x9, b"x", mask=None), 1002),
        (from_client(0x9, b"x", first=0x00), 1002),
        (from_client(0x9, b"x", first=0xC0), 1002),
        (from_client(0x3, b"x"), 1002),
        (b"\x89\xfe\x01\x00" + MASK, 1002),
        (from_client(0x8, b"x"), 1002),
    ],
)
async def test_whatever_else_a_client_sends_ends_the_connection(sent: bytes, code: int) -> None:
    client, _ = await opened(App())
    client.written = b""
    client.protocol.data_received(sent)
    assert client.written == b"\x88\x02" + code.to_bytes(2, "big")
    assert client.is_closed


async def test_a_client_of_which_nothing_is_heard_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_way_socket, "PING_SECONDS", 0.01)
    client, _ = await opened(App())
    async with asyncio.timeout(5):
        await client.aborted.wait()
    assert client.written.endswith(frame(0x9, b""))


async def test_a_client_that_does_not_read_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = asyncio.Event()

    async def rings(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await bell.wait()
        await send({"type": "websocket.send", "text": "late"})

    client, _ = await opened(rings)
    client.protocol.pause_writing()
    bell.set()
    await settle()
    assert b"late" not in client.written
    client.protocol.resume_writing()
    await settle()
    assert b"late" in client.written


async def test_when_the_server_stops_it_says_so() -> None:
    app = App()
    client, _ = await opened(app)
    client.written = b""
    client.protocol.shutdown()
    await settle()
    assert client.written == b"\x88\x02\x03\xe9"
    assert app.end["type"] == "websocket.disconnect"


@given(st.lists(st.tuples(st.sampled_from([0x8, 0x9, 0xA]), st.binary(max_size=125)), max_size=6), st.integers(1, 9))
def test_frames_are_read_the_same_however_the_bytes_are_cut(frames: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(from_client(opcode, payload) for opcode, payload in frames)
    buffer, found = bytearray(), []
    for place in range(0, len(data), step):
        buffer += data[place : place + step]
        while (one := read_control(buffer)) is not None:
            found.append(one)
    assert found == frames
    assert not buffer


@given(st.binary(max_size=300))
def test_whatever_bytes_come_are_read_or_refused(data: bytes) -> None:
    buffer = bytearray(data)
    try:
        while read_control(buffer) is not None:
            pass
    except FrameRefused as refused:
        assert refused.code in {1002, 1003}
    assert len(buffer) <= len(data)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_says_how_long_it_is(size: int) -> None:
    made = frame(0x1, b"x" * size)
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    assert len(made) == header + size


def test_a_key_is_sixteen_bytes() -> None:
    def headers(key: bytes) -> list[tuple[bytes, bytes]]:
        return [(b"sec-websocket-key", key), (b"sec-websocket-version", b"13")]

    assert accept_key(headers(base64.b64encode(bytes(16)))) is not None
    assert accept_key(headers(base64.b64encode(bytes(15)))) is None
