"""The server's side of HTTP: uvicorn's protocol, with a shorter way for requests whose head has been seen before.

A client that keeps its connection sends the same head again and again. So the head of an admitted request, its exact
bytes, is remembered for the connection that it came on; when the next message on that connection begins with the same
bytes, and its body is complete, the parser would say what it said before, and is not asked. What the application has
read from the head is kept with it (`HEAD` in the scope). Everything that belongs to the moment, such as the token's
expiry, the policy and the body, is looked at each time.

Only a head that the parser has taken as one whole message is remembered, at a border between messages, without a doubt
about where it ends: see `GatewayProtocol._learn`. Whatever else comes goes to uvicorn's own code: other paths, bodies
in pieces, pipelined requests, transfer encodings, upgrades, malformed bytes.

On top of uvicorn: a head has to be complete within `HEAD_SECONDS` and `HEAD_BYTES`, also the first one. And of the
connections of one address on which nobody was let in yet, the oldest gives way when there are `STRANGERS` of them: a
flood of silent connections keeps out its own, and never a client that has come before or comes now.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from proxy import gate
from proxy.limits import place_of
from proxy.one_way_socket import PLACES, OneWaySocket
from proxy.reply import BODY, HEAD

HEAD_SECONDS = 10.0
"""How long a head may take from its first byte, and how long a new connection may be silent."""
HEAD_BYTES = 256 * 1024
"""Bytes of a head that is not complete yet; the data path refuses a complete one at a lower bound (431)."""
STRANGERS = 256
"""Connections of one address (one /64 with IPv6) to this process without an admitted request or an answer."""
REMEMBERED_HEADS = 4
REMEMBERED_HEAD_BYTES = 8 * 1024
REMEMBERED_BODY_BYTES = 64 * 1024
"""What one connection remembers at most, and how long a body may be that waits for its last byte here."""

_BUSY_SECONDS = 1.0
_END_OF_HEAD = b"\r\n\r\n"
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CLOSE = b"connection: close\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Scope = dict[str, Any]
_strangers: WeakKeyDictionary[ServerState, dict[str, dict[GatewayProtocol, None]]] = WeakKeyDictionary()
"""For each server and address, the connections on which nobody was let in yet, oldest first."""


class Flow(FlowControl):
    """uvicorn's flow control, whose event is made when a client stops reading: of thousands that wait, hardly one does.

    The event of each connection would be as large as what is known of its call.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False

    def pause_writing(self) -> None:
        """The client does not read: whoever writes waits."""
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event = asyncio.Event()

    async def drain(self) -> None:
        """Wait until the client reads again."""
        if self.write_paused:
            await self._is_writable_event.wait()


class _Pipeline(list[Any]):
    """Requests that came before their turn: the same as a deque, which is large also when it is empty."""

    def appendleft(self, entry: Any) -> None:
        self.insert(0, entry)


class GatewayProtocol(HttpToolsProtocol):
    """One client connection; name it in uvicorn's `--http`."""

    # Beside those of uvicorn's class: a dictionary that both filled would be one of its own for each connection, and
    # thousands of connections may wait.
    __slots__ = (
        "_begun",
        "_body_bytes",
        "_due",
        "_head_bytes",
        "_heads",
        "_held",
        "_is_between",
        "_is_in_head",
        "_learned",
        "_may_remember",
        "_next",
        "_place",
        "_repeated",
        "_strangers",
        "_timer",
        "_waiter",
        "_worker",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = _Pipeline()  # type: ignore[assignment]
        if isinstance(self.app, ProxyHeadersMiddleware):
            # It believes any peer on the loopback by default. Whom to believe is a setting of ours (`client_address`).
            self.app = self.app.app
        if self.ws_protocol_class is None:
            self.ws_protocol_class = OneWaySocket
        self._may_remember = config.limit_concurrency is None and not self.access_log and not config.reset_contextvars
        self._heads: dict[bytes, tuple[Scope, int]] = {}
        self._learned: tuple[bytes, Scope, int] | None = None
        self._held = b""
        # Where the parser stands, and what it has reported of the bytes that it was given last.
        self._is_between = True
        self._is_in_head = False
        self._head_bytes = self._begun = self._body_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._next: RepeatedCycle | None = None
        self._repeated: RepeatedCycle | None = None
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._place = ""
        self._strangers = _strangers.setdefault(server_state, {})

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected, and owes a head."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._place = place_of(self.client[0]) if self.client else ""
        self._make_way()
        self._due = self.loop.time() + HEAD_SECONDS
        self._timer = self.loop.call_at(self._due, self._look)

    def data_received(self, data: bytes) -> None:
        """Answer a request whose head is known, or hand the bytes to the parser."""
        if self._held:
            data, self._held = self._held + data, b""
        if self._heads and self._is_between and self.cycle.response_complete:
            end = data.find(_END_OF_HEAD) + 4
            known = self._heads.get(data[:end])
            if known is not None:
                scope, length = known
                if len(data) == end + length:
                    self._repeat(scope, data[end:])
                    return
                if len(data) == end:
                    # Many clients send the body apart. It is on its way; if it comes in pieces, the parser gets all.
                    self._held = data
                    self._due = self.loop.time() + self.timeout_keep_alive
                    return
        self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client or the server has closed the connection."""
        if self._repeated is not None:
            self._repeated.leave()
        if isinstance(self.cycle, RepeatedCycle):
            self.cycle = None  # type: ignore[assignment]
        super().connection_lost(exc)
        self._leave_strangers()
        self._stop_timer()
        self._heads.clear()
        if self._waiter is not None and self._worker is not None:
            self._worker.cancel()

    def shutdown(self) -> None:
        """Close now, or after the answer that is under way."""
        self._heads.clear()
        super().shutdown()

    def _should_upgrade_to_ws(self) -> bool:
        """Offer our own WebSockets where there are any; elsewhere the header changes nothing."""
        is_free = self.cycle is None or self.cycle.response_complete
        return self.ws_protocol_class is not OneWaySocket or (is_free and self.url.partition(b"?")[0] in PLACES)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; its time is the other protocol's business."""
        self._stop_timer()
        self._leave_strangers()
        super().handle_websocket_upgrade()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin the next request."""
        self._begun += 1
        self._is_between, self._is_in_head = False, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there: the client owes nothing for the moment, its body is the application's to wait for."""
        self._is_in_head = False
        self._head_bytes = 0
        self._due = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._is_between = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request: one that is waiting, or one that has to come in time."""
        learned, self._learned = self._learned, None
        if learned is not None and HEAD in learned[1]:
            if len(self._heads) >= REMEMBERED_HEADS:
                self._heads.clear()
            self._heads[learned[0]] = learned[1:]
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._due = self.loop.time() + (HEAD_SECONDS if self._is_in_head else self.timeout_keep_alive)

    # Strangers.

    def _make_way(self) -> None:
        """Take this connection among the strangers of its address, and end the oldest one when they are too many."""
        strangers = self._strangers.setdefault(self._place, {})
        while len(strangers) >= STRANGERS:
            oldest = next(iter(strangers))
            is_known = oldest.cycle is not None and (oldest.cycle.response_started or HEAD in oldest.cycle.scope)
            oldest._leave_strangers()
            if not is_known:
                oldest.transport.close()
        self._strangers.setdefault(self._place, strangers)[self] = None

    def _leave_strangers(self) -> None:
        strangers = self._strangers.get(self._place)
        if strangers is not None:
            strangers.pop(self, None)
            if not strangers:
                del self._strangers[self._place]

    # The long way.

    def _parse(self, data: bytes) -> None:
        was_between, before = self._is_between, self.cycle
        self._begun = self._body_bytes = 0
        super().data_received(data)
        if self._is_in_head:
            if self._begun and (before is None or before.response_complete):
                self._due = self.loop.time() + HEAD_SECONDS
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._close_with(_TOO_LARGE)
        elif was_between and self._begun == 1 and self.cycle is not before and self._may_remember:
            self._learn(data, self.cycle)

    def _learn(self, data: bytes, cycle: RequestResponseCycle) -> None:
        """Note the head that `data` begins with, if it is beyond doubt which bytes are the head.

        `data` began at a border between messages and the parser saw one head in it, with every line ended by CR LF. So
        the head ends at the first empty line; and what follows it is the whole body or nothing, as the length says.
        """
        scope: Scope = cycle.scope  # type: ignore[assignment]
        if scope["method"] != "POST" or not cycle.keep_alive or self.expect_100_continue:
            return
        if scope["http_version"] != "1.1" or not gate.is_ours(scope["raw_path"]):
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if len(length) > 6 or not length.isdigit() or int(length) > REMEMBERED_BODY_BYTES:
            return
        if len(headers) != len(scope["headers"]) or headers.keys() & {b"transfer-encoding", b"upgrade", b"expect"}:
            return
        head = data[: data.find(_END_OF_HEAD) + 4]
        lines = head.count(b"\r\n")
        is_clear = head.count(b"\r") == lines and head.count(b"\n") == lines == len(headers) + 2
        is_whole = len(head) + self._body_bytes == len(data) and self._body_bytes in {0, int(length)}
        if is_clear and is_whole and len(head) <= REMEMBERED_HEAD_BYTES:
            self._learned = (head, scope, int(length))

    # The short way.

    def _repeat(self, scope: Scope, body: bytes) -> None:
        """Answer a request whose head is that of `scope`."""
        self._due = None
        scope[BODY] = body
        cycle = RepeatedCycle(self, scope, body)
        self.cycle = self._next = self._repeated = cycle
        if self._worker is None:
            self._worker = self.loop.create_task(self._work())
            self._worker.add_done_callback(self._forget_worker)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _work(self) -> None:
        """Run the repeated requests of this connection, one after the other; a task for each would cost more."""
        while True:
            cycle, self._next = self._next, None
            if cycle is not None:
                await self._run(cycle)
            elif self.transport.is_closing():
                return
            else:
                self._waiter = self.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None

    async def _run(self, cycle: RepeatedCycle) -> None:
        worker: Any = self._worker
        self.tasks.add(worker)
        try:
            await cycle.run_asgi(self.app)
        finally:
            self.tasks.discard(worker)
        if worker.cancelling():
            # `run_asgi` has told the client; a task that was asked to end must not serve the next request.
            self.transport.close()
            raise asyncio.CancelledError

    def _forget_worker(self, worker: asyncio.Task[None]) -> None:
        self._worker = None
        if not worker.cancelled() and worker.exception() is not None:
            self.logger.error("a connection ends: %s", type(worker.exception()).__name__)
            self.transport.close()

    # Time.

    def _look(self) -> None:
        """Close a connection whose client is late; one timer is armed anew only when it has run out."""
        self._timer = None
        now = self.loop.time()
        due = now + _BUSY_SECONDS if self._due is None else self._due
        if due > now:
            self._timer = self.loop.call_at(due, self._look)
            return
        if self._held:
            # The body does not come at once: from here on it is the application that waits for it.
            held, self._held = self._held, b""
            self._timer = self.loop.call_later(_BUSY_SECONDS, self._look)
            self._parse(held)
        elif self._is_in_head:
            self._close_with(_TOO_SLOW)
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_with(self, answer: bytes) -> None:
        """Close the connection; with `answer`, unless another one is under way on it."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(answer)
            self.transport.close()


class RepeatedCycle(RequestResponseCycle):
    """A request whose head is known and whose body is complete, and its answer; quicker than the general case."""

    def __init__(self, protocol: GatewayProtocol, scope: Scope, body: bytes) -> None:
        self.scope = scope  # type: ignore[assignment]
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.on_response = protocol.on_response_complete
        self.disconnected = self.response_started = self.response_complete = False
        self.keep_alive = True
        self._state = protocol.server_state
        self._body: bytes | None = body
        self._head = b""
        self._left: int | None = None
        self._leaver: asyncio.Future[None] | None = None

    def leave(self) -> None:
        """The connection is gone."""
        self.disconnected = not self.response_complete
        self._wake()

    async def receive(self) -> Any:
        """Return the whole body, then wait for the client's leaving (ASGI)."""
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if not (self.disconnected or self.response_complete):
            if self._leaver is None:
                self._leaver = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._leaver)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Write the answer (ASGI); its head waits for the first piece of its body, so that both leave together."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected http.response.start and got {kind}.")
            self.response_started = True
            self._begin(message)
            return
        if self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"{kind} is out of turn.")
        body, has_more = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head, b""
        if self._left is None:
            end = b"" if has_more else b"0\r\n\r\n"
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            self.transport.write(b"".join((head, body, end)))
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not has_more):
                raise RuntimeError("The body is not as long as its head says.")
            self.transport.write(head + body)
        if not has_more:
            if self._left is None:
                self.transport.set_write_buffer_limits()
            self._end()

    def _begin(self, message: Mapping[str, Any]) -> None:
        status = message["status"]
        parts = [STATUS_LINE[status], _STANDING.of(self._state)]
        for name, value in message["headers"]:
            if _CONTROLS.search(value) or _CONTROLS.search(name):
                raise RuntimeError("A header of the answer holds a control character.")
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection":
                self.keep_alive = False
                continue
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            parts.append(_CLOSE)
        if self._left is None:
            parts.append(b"transfer-encoding: chunked\r\n")
            # Somebody waits for each event: it leaves at once, and not at the end of the loop's turn.
            self.transport.set_write_buffer_limits(high=0)
        parts.append(b"\r\n")
        self._head = b"".join(parts)

    def _end(self) -> None:
        self.response_complete = True
        self._wake()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _wake(self) -> None:
        if self._leaver is not None and not self._leaver.done():
            self._leaver.set_result(None)


class _Standing:
    """uvicorn's own headers, the date among them, as bytes; it makes a new list of them every second."""

    headers: list[tuple[bytes, bytes]] | None = None
    lines = b""

    def of(self, state: ServerState) -> bytes:
        """Return the lines of `state`'s headers."""
        if self.headers is not state.default_headers:
            self.headers = state.default_headers
            self.lines = b"".join(b"%b: %b\r\n" % pair for pair in self.headers)
        return self.lines


_STANDING = _Standing()
