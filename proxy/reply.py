"""The way back to the client over ASGI."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any, TypeVar

from proxy.ports import ClientStalled

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

HEAD, BODY = "wardgate.head", "wardgate.body"
"""Keys of a scope, set by our own server: what the application has read from the head, and the body when all of it is
there. A server that knows neither is served as well."""
_JSON = b"application/json"
_HEAD_WAITS_SECONDS = 0.005
"""The first event mostly comes with the head of its stream, and both leave in one piece; a head alone waits so long."""
_WATCH_AFTER_SECONDS = 0.05
"""Most answers come sooner; only a call that takes longer pays for watching whether its client is still there."""
_STREAM_HEAD = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Watch:
    """Looks after the replies that take long; one timer for all of them, and none while there are none."""

    def __init__(self) -> None:
        self._replies: dict[Reply, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reply: Reply) -> None:
        """Start watching `reply` for its client's leaving, unless it is done soon."""
        loop = asyncio.get_running_loop()
        self._replies[reply] = loop.time() + _WATCH_AFTER_SECONDS
        if self._timer is None:
            self._timer = loop.call_later(_WATCH_AFTER_SECONDS, self._look)

    def discard(self, reply: Reply) -> None:
        """The reply is done."""
        self._replies.pop(reply, None)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        # In order of arrival, so the first that is young enough ends the look.
        while self._replies:
            reply, due = next(iter(self._replies.items()))
            if due > now:
                self._timer = loop.call_at(due, self._look)
                return
            del self._replies[reply]
            reply.start_watching()


class Deadline:
    """Cancels the current task after some seconds; a lighter `asyncio.timeout` for the hot path.

    Use as a context manager; raises TimeoutError when the time was over.
    """

    __slots__ = ("_is_over", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._is_over = False
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def __enter__(self) -> None:
        """Nothing more to do: the time runs since the construction."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Stop the time, and turn the cancellation that it caused into a TimeoutError."""
        self._timer.cancel()
        if self._is_over and self._task is not None and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()


async def in_time(work: Awaitable[T], seconds: float) -> T:
    """Return the result of `work`; the time is only counted when `work` has to wait at all, which it mostly has not.

    Raises:
        TimeoutError: the time was over.
    """
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    with Deadline(seconds):
        return await _go_on(steps, waits_for)


@types.coroutine
def _go_on(steps: Generator[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await what has begun already, and waits for `waits_for`."""
    while True:
        try:
            yield waits_for
        except BaseException as error:
            step, argument = steps.throw, error
        else:
            step, argument = steps.send, None  # type: ignore[assignment]
        try:
            waits_for = step(argument)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


class Reply:
    """One answer: whole, or as an event stream.

    Args:
        watch: shared by the replies of one event loop.
        receive: ASGI, after the body has been read: the next message is the client's leaving.
        send: ASGI; waits while the server's buffer to the client is full.
        stall_seconds: how long one piece may wait for a client that does not read.
    """

    def __init__(self, receive: Receive, send: Send, watch: Watch, *, stall_seconds: float) -> None:
        self._receive, self._send, self._watch, self._stall_seconds = receive, send, watch, stall_seconds
        self._watcher: asyncio.Task[None] | None = None
        self._on_gone: Callable[[], None] | None = None
        self._head: list[tuple[bytes, bytes]] | None = None
        self._head_timer: asyncio.Handle | None = None
        self.is_streaming = self.is_done = False

    async def whole(self, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a complete answer; an empty `content_type` is left out."""
        head = [*headers, (b"content-length", b"%d" % len(body))]
        if content_type:
            head.append((b"content-type", content_type))
            if content_type != _JSON:
                # Nobody takes JSON for a page; text that came from an upstream might be.
                head.append((b"x-content-type-options", b"nosniff"))
        if not any(name == b"cache-control" for name, _ in headers):
            head.append((b"cache-control", b"no-store"))
        self.stop_watching()
        self.is_done = True
        await self._send({"type": "http.response.start", "status": status, "headers": head})
        await self._send({"type": "http.response.body", "body": body})

    async def open_stream(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin an event stream: its head goes with the first event, or alone when that takes longer."""
        self.is_streaming = True
        self._head = [*_STREAM_HEAD, *(pair for pair in headers if pair[0] != b"cache-control")]
        self._head_timer = asyncio.get_running_loop().call_later(_HEAD_WAITS_SECONDS, self._send_head_late)

    async def write(self, data: bytes) -> None:
        """Send a piece of the stream.

        Raises:
            ClientStalled: the client has not read for `stall_seconds`.
        """
        try:
            if self._head is not None:
                await in_time(self._send_head(), self._stall_seconds)
            await in_time(
                self._send({"type": "http.response.body", "body": data, "more_body": True}), self._stall_seconds
            )
        except TimeoutError:
            raise ClientStalled from None

    async def close(self) -> None:
        """End the stream."""
        self.stop_watching()
        self.is_done = True
        await self._send_head()
        await self._send({"type": "http.response.body", "body": b""})

    async def _send_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        head, self._head = self._head, None
        if head is not None:
            await self._send({"type": "http.response.start", "status": 200, "headers": head})

    def _send_head_late(self) -> None:
        self._head_timer = None
        self._late = asyncio.ensure_future(self._send_head_alone())

    async def _send_head_alone(self) -> None:
        if self._head is None:
            # The first event, or the end, came in the same turn of the loop and took the head along.
            return
        await self._send_head()
        # A server may keep the head until something follows it; an empty piece is nothing on the wire.
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` once when the client leaves before the reply is complete."""
        self._on_gone = on_gone
        if self._watcher is None:
            self._watch.add(self)

    def stop_watching(self) -> None:
        """Nobody needs to know any more whether the client is there."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._on_gone is None:
            return
        self._on_gone = None
        self._watch.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def start_watching(self) -> None:
        """Wait in the background for the client's leaving."""
        self._watcher = asyncio.ensure_future(self._wait_until_gone())

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._on_gone is not None:
            self._on_gone()
