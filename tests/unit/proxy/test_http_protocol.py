"""The server's HTTP: a head that is known takes a shorter way, and nothing else may tell the two ways apart."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from proxy import http_protocol
from proxy.http_protocol import GatewayProtocol
from proxy.reply import BODY, HEAD

SETTLED_TURNS = 30


class Client(asyncio.Transport):
    """The other end of a connection: what was written to it, and whether it is closed."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.written = b""
        self.pieces: list[tuple[bytes, bool]] = []
        self.writes_at_once = False
        self.is_closed = False

    def write(self, data: Any) -> None:
        if not self.is_closed:
            self.written += bytes(data)
            self.pieces.append((bytes(data), self.writes_at_once))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.writes_at_once = high == 0

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.address, 4000), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class App:
    """Echoes bodies; `short` counts the requests whose body came with the scope."""

    def __init__(self, *, admits: bool = True, streams: bool = False) -> None:
        self.admits, self.streams = admits, streams
        self.short = self.requests = 0
        self.waits: asyncio.Event | None = None
        self.disconnected = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += 1
        self.short += BODY in scope
        known = scope.pop(BODY, None)
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                self.disconnected.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        assert known is None or known == body
        if self.admits:
            scope[HEAD] = True
        if self.waits is not None:
            gone = asyncio.ensure_future(receive())
            await asyncio.wait([gone, asyncio.ensure_future(self.waits.wait())], return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                self.disconnected.set()
                return
            gone.cancel()
        text = b"%b %b" % (scope["raw_path"], body)
        headers = [(b"content-type", b"text/plain")]
        if not self.streams:
            headers.append((b"content-length", b"%d" % len(text)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self.streams:
            await send({"type": "http.response.body", "body": text, "more_body": True})
            text = b""
        await send({"type": "http.response.body", "body": text})


def connect(
    app: Any,
    kind: Callable[..., Any] = GatewayProtocol,
    *,
    state: ServerState | None = None,
    address: str = "127.0.0.1",
    **options: Any,
) -> tuple[Any, Client]:
    config = Config(app, access_log=False, log_config=None, proxy_headers=False, lifespan="off", **options)
    config.load()
    state = state or ServerState()
    state.default_headers = [(b"date", b"now")]
    protocol = kind(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
    client = Client(address)
    protocol.connection_made(client)
    return protocol, client


async def settle() -> None:
    for _ in range(SETTLED_TURNS):
        await asyncio.sleep(0)


async def feed(protocol: Any, client: Client, *pieces: bytes) -> bytes:
    """Send the pieces and return what is written in answer."""
    before = len(client.written)
    for piece in pieces:
        if not client.is_closed:
            protocol.data_received(piece)
        await settle()
    return client.written[before:]


def request(body: bytes = b"{}", *lines: bytes, path: bytes = b"/mcp/orders", verb: bytes = b"POST") -> bytes:
    given = (verb + b" " + path + b" HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *lines)
    return b"\r\n".join(given) + b"\r\n\r\n" + body


def answered(answer: bytes, body: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"/mcp/orders " + body)


async def test_a_known_head_takes_the_short_way_and_each_request_has_its_own_body() -> None:
    app = App()
    protocol, client = connect(app)
    for body in (b"one", b"two", b"six"):
        assert answered(await feed(protocol, client, request(body)), body)
    assert app.short == 2


async def test_a_head_whose_body_comes_apart_takes_the_short_way_too() -> None:
    app = App()
    protocol, client = connect(app)
    for body in (b"one", b"two", b"six"):
        whole = request(body)
        assert answered(await feed(protocol, client, whole[:-3], whole[-3:]), body)
    assert app.short == 2


async def test_a_body_in_pieces_after_a_known_head_is_put_together() -> None:
    app = App()
    protocol, client = connect(app)
    whole = request(b"one")
    await feed(protocol, client, whole)
    assert answered(await feed(protocol, client, whole[:-3], b"t", b"w", b"o"), b"two")
    assert answered(await feed(protocol, client, whole[:20], whole[20:-1], b"x"), b"onx")
    assert answered(await feed(protocol, client, whole), b"one")


async def test_a_head_that_the_application_did_not_admit_is_not_remembered() -> None:
    app = App(admits=False)
    protocol, client = connect(app)
    for _ in range(3):
        await feed(protocol, client, request())
    assert (app.requests, app.short) == (3, 0)


@pytest.mark.parametrize(
    "message",
    [
        request(path=b"/console/"),
        request(verb=b"PUT"),
        request(b"{}", b"Transfer-Encoding: identity"),
        request(b"{}", b"Expect: 100-continue"),
        request(b"{}", b"Upgrade: h2c", b"Connection: upgrade"),
        request(b"{}", b"Connection: close"),
        request(b"{}", b"X: " + b"x" * 9000),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(b"x" * 70_000),
    ],
)
async def test_anything_out_of_the_ordinary_is_left_to_the_parser(message: bytes) -> None:
    app = App()
    protocol, client = connect(app)
    for _ in range(3):
        await feed(protocol, client, message)
    assert app.short == 0


@pytest.mark.parametrize(
    "trick",
    [
        b"POST /mcp/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /mcp/orders HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
        b"POST /mcp/orders HTTP/1.1\r\nHost: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /mcp/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /mcp/orders HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
        b"POST /mcp/orders HTTP/1.1\r\nHost : a\r\nContent-Length: 2\r\n\r\n{}",
        b"\0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("is_same_segment", [True, False])
async def test_what_the_parser_refuses_is_refused_after_a_known_head_as_well(
    trick: bytes, is_same_segment: bool
) -> None:
    outcomes = []
    for kind in (HttpToolsProtocol, GatewayProtocol):
        app = App()
        protocol, client = connect(app, kind)
        await feed(protocol, client, request(), request())
        pieces = [request() + trick] if is_same_segment else [request(), trick]
        outcomes.append((await feed(protocol, client, *pieces), client.is_closed, app.requests))
    assert outcomes[0] == outcomes[1]


async def test_a_second_request_behind_a_known_one_is_answered_in_its_turn() -> None:
    app = App()
    protocol, client = connect(app)
    await feed(protocol, client, request(b"one"))
    answer = await feed(protocol, client, request(b"two") + request(b"six"))
    assert re.findall(rb"orders (...)", answer) == [b"two", b"six"]
    app.waits = asyncio.Event()
    protocol.data_received(request(b"abc"))
    protocol.data_received(request(b"def"))
    await settle()
    app.waits.set()
    assert re.findall(rb"orders (...)", await feed(protocol, client, b"")) == [b"abc", b"def"]


_BODIES = st.sampled_from([b"{}", b"ab", b"", b"\r\n\r\n", b"POST /mcp/a HTTP/1.1\r\n\r\n", b"0\r\n\r\n"])
_MESSAGES = st.one_of(
    st.builds(request, _BODIES),
    st.builds(request, _BODIES, st.sampled_from([b"A: b", b"Connection: keep-alive", b"Connection: close", b"A:\tb "])),
    st.builds(lambda body: request(body, path=b"/mcp/other"), _BODIES),
    st.sampled_from(
        [
            b"\r\n",
            b"POST /mcp/orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            b"GET /mcp/orders HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /mcp/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{}",
            b"GET / HTTP/1.1\nHost: a\n\n",
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    messages=st.lists(_MESSAGES, min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 600), max_size=6),
    are_apart=st.booleans(),
    streams=st.booleans(),
)
def test_the_answers_are_those_of_uvicorn_however_the_bytes_are_cut(
    messages: list[bytes], cuts: list[int], are_apart: bool, streams: bool
) -> None:
    async def converse(kind: Callable[..., Any]) -> tuple[bytes, bool, int]:
        app = App(streams=streams)
        protocol, client = connect(app, kind)
        stream = b"".join(messages)
        pieces = messages if are_apart else [
            stream[start:end] for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True)
        ]  # fmt: skip
        # The first message is sent once more, as it is: so that there is a known head in most conversations.
        for piece in (messages[0], *pieces):
            if not client.is_closed and piece:
                protocol.data_received(piece)
                await settle()
        if getattr(protocol, "_held", b""):
            protocol._parse(protocol._held)  # What the timer does when the body stays away.
            await settle()
        # A connection with a message that is cut off closes like that; who still reads is told.
        found = client.written, client.is_closed, app.requests
        protocol.connection_lost(None)
        await settle()
        return found

    assert asyncio.run(converse(GatewayProtocol)) == asyncio.run(converse(HttpToolsProtocol))


async def test_the_application_learns_that_the_client_of_a_known_head_has_left() -> None:
    app = App()
    protocol, client = connect(app)
    await feed(protocol, client, request())
    app.waits = asyncio.Event()
    await feed(protocol, client, request())
    assert app.short == 1
    protocol.connection_lost(None)
    await asyncio.wait_for(app.disconnected.wait(), 1)


async def test_the_head_of_a_stream_takes_its_first_piece_along_and_both_leave_at_once() -> None:
    protocol, client = connect(App(streams=True))
    await feed(protocol, client, request())
    client.pieces.clear()
    await feed(protocol, client, request())
    first, end = client.pieces
    assert (first[0].startswith(b"HTTP/1.1 200"), b"/mcp/orders {}" in first[0], first[1]) == (True, True, True)
    assert end == (b"0\r\n\r\n", True)
    assert not client.writes_at_once


async def test_a_stop_lets_the_answer_to_a_known_head_end_and_closes_then() -> None:
    app = App()
    protocol, client = connect(app)
    await feed(protocol, client, request())
    app.waits = asyncio.Event()
    protocol.data_received(request(b"two"))
    await settle()
    protocol.shutdown()
    assert not client.is_closed
    app.waits.set()
    answer = await feed(protocol, client, b"")
    assert answered(answer, b"two")
    assert b"connection: close\r\n" in answer
    assert client.is_closed


async def test_a_stop_cancels_what_does_not_end() -> None:
    app = App()
    protocol, client = connect(app)
    await feed(protocol, client, request())
    app.waits = asyncio.Event()
    protocol.data_received(request())
    await settle()
    (task,) = protocol.tasks
    task.cancel()
    await settle()
    assert client.is_closed
    assert not protocol.tasks


async def test_no_task_is_left_when_the_connection_is_gone() -> None:
    protocol, client = connect(App())
    await feed(protocol, client, request(), request())
    protocol.connection_lost(None)
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_answer_that_fails_midway_closes_the_connection() -> None:
    class Failing(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if BODY not in scope:
                await super().__call__(scope, receive, send)
                return
            raise RuntimeError

    protocol, client = connect(Failing())
    await feed(protocol, client, request())
    assert (await feed(protocol, client, request())).startswith(b"HTTP/1.1 500 ")
    assert client.is_closed


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: b", b"a\0"])
async def test_no_header_of_an_answer_can_begin_another_line(value: bytes) -> None:
    class Splitting(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if BODY not in scope:
                await super().__call__(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": [(b"a", value)]})

    protocol, client = connect(Splitting())
    await feed(protocol, client, request())
    assert b"\r\nSet-Cookie" not in await feed(protocol, client, request())
    assert client.is_closed


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(http_protocol, "_BUSY_SECONDS", 0.02)


async def closed(client: Client) -> bytes:
    async with asyncio.timeout(2):
        while not client.is_closed:  # noqa: ASYNC110  (a transport has no event for this)
            await asyncio.sleep(0.005)
    return client.written


@pytest.mark.usefixtures("soon")
async def test_a_client_that_says_nothing_is_sent_away() -> None:
    _, client = connect(App())
    assert await closed(client) == b""


@pytest.mark.usefixtures("soon")
async def test_a_head_that_drips_is_cut_off() -> None:
    protocol, client = connect(App())
    head, position = request(), 0
    async with asyncio.timeout(2):
        while not client.is_closed and position < len(head):
            protocol.data_received(head[position : position + 1])
            position += 1
            await asyncio.sleep(0.005)
    assert client.written.startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("soon")
async def test_a_connection_without_a_next_request_is_closed() -> None:
    protocol, client = connect(App(), timeout_keep_alive=0)
    await feed(protocol, client, request())
    assert answered(await closed(client), b"{}")


@pytest.mark.usefixtures("soon")
async def test_a_known_head_whose_body_stays_away_becomes_the_applications_to_wait_for() -> None:
    app = App()
    protocol, client = connect(app, timeout_keep_alive=0)
    whole = request(b"two")
    protocol.data_received(whole)
    await settle()
    protocol.data_received(whole[:-3])
    async with asyncio.timeout(2):
        while app.requests < 2:  # noqa: ASYNC110  (the timer is the protocol's own)
            await asyncio.sleep(0.005)
    assert answered(await feed(protocol, client, b"two"), b"two")
    assert app.short == 0


@pytest.mark.usefixtures("soon")
async def test_a_request_that_takes_long_is_not_cut_off() -> None:
    app = App()
    protocol, client = connect(app)
    await feed(protocol, client, request())
    app.waits = asyncio.Event()
    protocol.data_received(request(b"two"))
    await asyncio.sleep(0.15)
    app.waits.set()
    assert answered(await feed(protocol, client, b""), b"two")


async def test_a_head_without_an_end_is_cut_off() -> None:
    protocol, client = connect(App())
    protocol.data_received(b"POST /mcp/orders HTTP/1.1\r\n")
    while not client.is_closed and len(client.written) == 0 and protocol._head_bytes <= http_protocol.HEAD_BYTES:
        protocol.data_received(b"A: " + b"x" * 10_000 + b"\r\n")
    assert client.written.startswith(b"HTTP/1.1 431 ")
    assert client.is_closed


async def test_an_upgrade_to_websocket_hands_the_connection_over() -> None:
    received: list[bytes] = []

    class Socket(asyncio.Protocol):
        def __init__(self, **_: Any) -> None: ...

        def data_received(self, data: bytes) -> None:
            received.append(data)

    protocol, client = connect(App(), ws=Socket)
    client.set_protocol = received.append  # type: ignore[assignment, method-assign]
    head = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    await feed(protocol, client, head)
    assert received[0].startswith(b"GET /ws HTTP/1.1\r\nhost: a\r\n")
    assert isinstance(received[1], Socket)
    assert protocol._timer is None


class TestStrangers:
    """The connections of one address on which nobody was let in yet."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "STRANGERS", 3)

    async def test_the_oldest_gives_way_to_the_newest(self) -> None:
        state = ServerState()
        clients = [connect(App(), state=state)[1] for _ in range(5)]
        assert [client.is_closed for client in clients] == [True, True, False, False, False]

    async def test_another_address_is_not_concerned(self) -> None:
        state = ServerState()
        other = connect(App(), state=state, address="192.0.2.1")[1]
        clients = [connect(App(), state=state)[1] for _ in range(4)]
        assert [client.is_closed for client in (other, *clients)] == [False, True, False, False, False]

    @pytest.mark.parametrize("admits", [True, False])
    async def test_whoever_was_answered_stays(self, admits: bool) -> None:
        state = ServerState()
        protocol, known = connect(App(admits=admits), state=state)
        await feed(protocol, known, request())
        clients = [connect(App(), state=state)[1] for _ in range(5)]
        assert not known.is_closed
        assert sum(client.is_closed for client in clients) == 2

    async def test_whoever_was_let_in_and_waits_for_the_answer_stays(self) -> None:
        state, app = ServerState(), App()
        app.waits = asyncio.Event()
        protocol, waiting = connect(app, state=state)
        await feed(protocol, waiting, request())
        others = [connect(App(), state=state)[1] for _ in range(5)]
        assert not waiting.is_closed
        assert sum(client.is_closed for client in others) == 2
        app.waits.set()
        await settle()

    async def test_a_slow_body_is_a_strangers(self) -> None:
        state = ServerState()
        protocol, slow = connect(App(), state=state)
        await feed(protocol, slow, request()[:-1])
        for _ in range(3):
            connect(App(), state=state)
        assert slow.is_closed

    async def test_nothing_is_kept_of_connections_that_are_gone(self) -> None:
        state = ServerState()
        for _ in range(10):
            protocol, _ = connect(App(), state=state)
            protocol.connection_lost(None)
        assert http_protocol._strangers[state] == {}
