"""The way to the upstream: pooled keep-alive HTTP/1.1 over asyncio and httptools.

Why a pool of our own: see docs/adr and bench/. What it promises:
- The answer of a call is an object of its own and never the pooled connection, so a connection that serves the next
  call cannot change what an earlier one still reads.
- A POST is sent once. If the connection breaks after its first byte may have left, the outcome is unknown and nobody
  sends it again. If it breaks before, `was_sent` is False.
- Every address that the name resolves to is checked; the connection goes to a checked address and to no other.
- No redirects, no cookies, no decompression, no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import httptools

from accounts import addresses
from proxy.ports import Abort, Call, UpstreamFailed

_HEAD_BYTES = 64 * 1024
_HIGH_WATER_BYTES = 256 * 1024
_DRAIN_SECONDS = 1.0
_ADDRESS_SECONDS = 30.0

PoolKey = tuple[str, str, int, tuple[str, ...]]


class HttpAnswer:
    """One HTTP answer: head, then body. It reads from a connection until that connection's message is complete."""

    __slots__ = (
        "_connection", "_error", "_head", "_is_closed", "_is_complete", "_parts", "_size", "_waiter",
        "headers", "status",
    )  # fmt: skip

    def __init__(self, connection: _Connection) -> None:
        self._connection: _Connection | None = connection
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._is_complete = self._is_closed = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._head: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def head(self) -> None:
        """Wait for the status and the headers.

        Raises:
            UpstreamFailed: they do not come.
        """
        try:
            await self._head
        except asyncio.CancelledError:
            self.abort(UpstreamFailed("cancelled", was_sent=True))
            raise

    async def whole(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            UpstreamFailed: it is cut off, silent for too long, or longer than `limit` bytes.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            if self._parts:
                parts += self._parts
                size += self._size
                self._take()
                if size > limit:
                    self.close()
                    raise UpstreamFailed("answer_too_large", was_sent=True)
            if self._is_complete:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            await self._more()

    async def piece(self, idle_seconds: float) -> bytes | None:
        """Return the next bytes of the body, b"" after `idle_seconds` of silence, None at the proper end.

        Raises:
            UpstreamFailed: the body is cut off.
        """
        while not self._parts:
            if self._is_complete:
                return None
            if not await self._more(idle_seconds):
                return b""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._take()
        return data

    def nudge(self) -> None:
        """Make a `piece` that waits return b"" now."""
        self._wake()

    def close(self) -> None:
        """Give a clean connection back to its pool; close one that still owes bytes unless they come at once."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish(self)

    def abort(self, reason: Exception) -> None:
        """Wake whoever waits for this answer with `reason`, and close the connection."""
        connection, self._connection = self._connection, None
        if not self._is_complete:
            # Whoever ends a call from outside wants nothing more of it to pass.
            self._parts, self._size = [], 0
        self._fail(reason)
        if connection is not None:
            connection.abort()

    def _take(self) -> None:
        self._parts = []
        self._size = 0
        if self._connection is not None:
            self._connection.resume()

    async def _more(self, idle_seconds: float | None = None) -> bool:
        """Wait for bytes, the end or an error; False after `idle_seconds`."""
        if self._error is not None:
            raise self._error
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if idle_seconds is None else loop.call_later(idle_seconds, _resolve, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if self._error is not None:
            raise self._error
        return bool(self._parts) or self._is_complete

    def _feed(self, data: bytes) -> int:
        self._size += len(data)
        if self._is_closed:
            return self._size
        self._parts.append(data)
        self._wake()
        return self._size

    def _complete(self) -> None:
        self._is_complete = True
        self._wake()

    def _fail(self, error: Exception) -> None:
        if not self._is_complete and self._error is None:
            self._error = error
            if not self._head.done():
                self._head.set_exception(error)
                # Whoever waits gets it; when nobody does any more, that is no fault worth a log line.
                self._head.exception()
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One TCP or TLS connection; serves one call at a time."""

    __slots__ = (
        "_answer", "_has_length", "_head_bytes", "_is_chunked", "_is_paused", "_last_byte", "_loop",
        "_parser", "_pool", "_silence", "_timer", "_transport", "is_alive",
    )  # fmt: skip

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: HttpAnswer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_alive = False
        self._is_paused = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        # The request leaves at once, and not at the end of the loop's turn.
        transport.set_write_buffer_limits(high=0)
        self.is_alive = True

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            # Bytes that no call asked for: whatever they are, this connection cannot be trusted with the next call.
            self.abort()
            return
        self._last_byte = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError):
            self._break("answer_not_http")

    def eof_received(self) -> bool:
        answer = self._answer
        if answer is not None and answer.status and not self._has_length and not self._is_chunked:
            # A body without a length ends with the connection; the JSON and stream parsers judge what came.
            self._answer = None
            answer._complete()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_alive = False
        self._pool.forget(self)
        self._break("connection_lost")

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _HEAD_BYTES:
            raise ValueError
        name = name.lower()
        if name == b"content-length":
            self._has_length = True
        elif name == b"transfer-encoding":
            self._is_chunked = True
        answer = self._answer
        if answer is not None:
            answer.headers[name] = value

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            # An interim answer; the real head follows.
            answer.headers = {}
            return
        answer.status = status
        if not answer._head.done():
            answer._head.set_result(None)

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        if answer._feed(data) > _HIGH_WATER_BYTES and not self._is_paused and self._transport is not None:
            if answer._is_closed:
                self.abort()
                return
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None or not answer.status:
            return
        self._answer = None
        is_reusable = self._parser.should_keep_alive() and (
            self._has_length or self._is_chunked or answer.status == 204
        )
        answer._complete()
        # The answer's reader may not have come round yet; the connection is free for the next call all the same.
        answer._connection = None
        self.resume()
        if is_reusable and self.is_alive:
            self._pool.give_back(self)
        else:
            self.abort()

    # What the pool and the answer call.

    def begin(self, silence_seconds: float) -> HttpAnswer:
        """Make ready for one exchange and return its answer, which is still empty."""
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._has_length = self._is_chunked = False
        self._answer = answer = HttpAnswer(self)
        self._silence = silence_seconds
        self._last_byte = self._loop.time()
        due = self._last_byte + silence_seconds
        if self._timer is None or self._timer.when() > due:
            self._arm(due)
        return answer

    def write(self, data: bytes) -> None:
        """Send the request."""
        if self._transport is not None and self.is_alive:
            self._transport.write(data)

    def finish(self, answer: HttpAnswer) -> None:
        """The reader of `answer` needs no more of it."""
        if self._answer is not answer:
            return
        self.resume()
        # The end of the body is usually on its way; a connection that does not get it soon is closed.
        self._loop.call_later(_DRAIN_SECONDS, self._close_if_busy_with, answer)

    def resume(self) -> None:
        """Read on, after the reader has taken what was buffered."""
        if self._is_paused and self.is_alive and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        self.is_alive = False
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def _close_if_busy_with(self, answer: HttpAnswer) -> None:
        if self._answer is answer:
            self.abort()

    def _on_silence(self) -> None:
        # One timer serves every call of the connection: re-arming it for each would cost more than this late look.
        self._timer = None
        if self._answer is None:
            return
        left = self._last_byte + self._silence - self._loop.time()
        if left > 0.001:
            self._arm(self._loop.time() + left)
        else:
            self._break("timeout")

    def _arm(self, due: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(due, self._on_silence)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break(self, reason: str) -> None:
        self._stop_timer()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer._fail(UpstreamFailed(reason, was_sent=True))
        if self.is_alive:
            self.abort()


class _Pool:
    """Connections to one upstream."""

    def __init__(self, *, connect_seconds: float, idle_seconds: float, limit: int) -> None:
        self._connect_seconds, self._idle_seconds, self._limit = connect_seconds, idle_seconds, limit
        self._idle: list[tuple[_Connection, float]] = []
        self._count = 0
        self._addresses: list[str] = []
        self._resolved_at = float("-inf")

    async def take(
        self, target: addresses.Upstream, allowed: tuple[str, ...], tls: ssl.SSLContext | None
    ) -> _Connection:
        """Return an idle connection, the freshest first, or a new one."""
        loop = asyncio.get_running_loop()
        oldest_useful = loop.time() - self._idle_seconds
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_alive and since >= oldest_useful:
                return connection
            connection.abort()
        if self._count >= self._limit:
            raise UpstreamFailed("too_many_connections", was_sent=False)
        self._count += 1
        try:
            return await self._connect(target, allowed, tls)
        except BaseException:
            self._count -= 1
            raise

    def give_back(self, connection: _Connection) -> None:
        """Keep an unused connection for the next call."""
        self._idle.append((connection, asyncio.get_running_loop().time()))

    def forget(self, connection: _Connection) -> None:
        """Count a closed connection out."""
        self._count -= 1
        self._idle = [pair for pair in self._idle if pair[0] is not connection]

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop()[0].abort()

    async def _connect(
        self, target: addresses.Upstream, allowed: tuple[str, ...], tls: ssl.SSLContext | None
    ) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                last: Exception | None = None
                for address in await self._checked(target, allowed):
                    try:
                        _, connection = await loop.create_connection(
                            lambda: _Connection(self),
                            address,
                            target.port,
                            ssl=tls,
                            server_hostname=target.host if tls is not None else None,
                        )
                    except (OSError, ssl.SSLError) as error:
                        last = error
                        continue
                    return connection
                reason = "tls_failed" if isinstance(last, ssl.SSLError) else "unreachable"
                raise UpstreamFailed(reason, was_sent=False)
        except TimeoutError:
            raise UpstreamFailed("connect_timeout", was_sent=False) from None

    async def _checked(self, target: addresses.Upstream, allowed: tuple[str, ...]) -> list[str]:
        """Return the addresses of the upstream; if one of them is not allowed, none is used."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._resolved_at < _ADDRESS_SECONDS:
            return self._addresses
        try:
            infos = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError:
            raise UpstreamFailed("name_not_found", was_sent=False) from None
        found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        if not found or any(addresses.refusal(address, allowed) for address in found):
            raise UpstreamFailed("address_refused", was_sent=False)
        self._addresses, self._resolved_at = found, loop.time()
        return found


class HttpUpstream:
    """Sends calls over pooled connections; one pool for each upstream and its allowed networks."""

    def __init__(self, *, connect_seconds: float, idle_seconds: float, limit: int, stream_seconds: float) -> None:
        self._stream_seconds = stream_seconds
        self._settings = {"connect_seconds": connect_seconds, "idle_seconds": idle_seconds, "limit": limit}
        self._pools: dict[PoolKey, _Pool] = {}
        self._tls: ssl.SSLContext | None = None

    def prepare(self, call: Call) -> None:
        """Put the bytes of the request together, while the call's intent is being made durable."""
        if call.route.upstream is not None:
            call.request = _request(call, call.route.upstream)

    async def send(self, call: Call, on_connected: Callable[[Abort], None]) -> HttpAnswer:
        """Send the call's exact bytes with the connection's credential and return the answer's head.

        `on_connected` gets the function that ends the exchange from outside, before the first byte leaves.

        Raises:
            UpstreamFailed: with `was_sent` False when not a byte can have left.
        """
        route = call.route
        if route.upstream is None:
            raise UpstreamFailed("not_configured", was_sent=False)
        pool, tls = self._pool(route.upstream, route.allowed_networks)
        connection = await pool.take(route.upstream, route.allowed_networks, tls)
        answer = connection.begin(self._stream_seconds if call.verb == b"GET" else route.timeout_seconds)
        on_connected(answer.abort)
        connection.write(call.request or _request(call, route.upstream))
        call.request = b""
        await answer.head()
        return answer

    async def fetch(self, url: str, allowed: tuple[str, ...], *, limit: int, seconds: float) -> bytes:
        """Return the body of a GET without credentials, for key sets and discovery documents.

        Raises:
            UpstreamFailed: anything but a 200 of at most `limit` bytes within `seconds`.
            addresses.UrlRefused: the URL is not acceptable.
        """
        target = addresses.parse_upstream_url(url)
        pool, tls = self._pool(target, allowed)
        head = b"GET %b HTTP/1.1\r\nhost: %b\r\naccept: application/json\r\naccept-encoding: identity\r\n\r\n"
        try:
            async with asyncio.timeout(seconds):
                connection = await pool.take(target, allowed, tls)
                answer = connection.begin(seconds)
                try:
                    connection.write(head % (target.target, target.authority))
                    await answer.head()
                    if answer.status != 200:
                        raise UpstreamFailed("fetch_status", was_sent=True)
                    return await answer.whole(limit)
                finally:
                    answer.close()
        except TimeoutError:
            raise UpstreamFailed("fetch_timeout", was_sent=True) from None

    def close(self) -> None:
        """Close every idle connection."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, target: addresses.Upstream, allowed: tuple[str, ...]) -> tuple[_Pool, ssl.SSLContext | None]:
        key = (target.scheme, target.host, target.port, allowed)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(**self._settings)  # type: ignore[arg-type]
        if target.scheme != "https":
            return pool, None
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return pool, self._tls


def _request(call: Call, target: addresses.Upstream) -> bytes:
    """Return the bytes of the HTTP request; the only place where the credential is revealed."""
    parts = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (call.verb, target.target, target.authority)]
    parts += [b"%b: %b\r\n" % pair for pair in call.headers]
    if call.route.credential is not None:
        name, secret = call.route.credential
        parts.append(b"%b: %b\r\n" % (name, secret.reveal()))
    if call.ref.upstream_id is not None:
        parts.append(b"mcp-session-id: %b\r\n" % call.ref.upstream_id.encode("latin-1"))
    if call.verb == b"POST":
        parts.append(b"content-length: %d\r\n" % len(call.outbound))
    parts.append(b"\r\n")
    parts.append(call.outbound)
    return b"".join(parts)
