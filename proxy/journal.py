"""Group commit: appended events become durable together, in order, on one PostgreSQL connection.

One statement is in flight at a time; whatever was appended meanwhile goes with the next one, so a commit serves as many
calls as are waiting and a lone call waits for nothing. There is no timer that lingers for company.

The order of the chain is decided when a batch is taken, not when an event is appended: an event whose caller gave up
while it was queued is never written and leaves no gap. An event that was taken is written, whatever its caller does; if
the connection breaks while a batch is in flight, the database is asked how far it got before anything is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq

from proxy import journal_rows
from proxy.ports import RecordUnavailable
from sessions import chain

logger = logging.getLogger(__name__)

_RECONNECT_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
_WATCH_SECONDS = 0.05
_STUCK_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_MORE_TURNS = 2
_SAY_EVERY = 10
_APPROVALS = b"wardgate_approval"
_KNOCKS = b"wardgate_held"


@dataclass(slots=True, eq=False)
class _Pending:
    name: str
    session: bytes
    call: bytes
    body: bytes
    payload: bytes | None
    at_us: int
    expires: float
    opens: bool
    closes: bool
    future: asyncio.Future[None]
    claim: bytes | None = None
    is_handed_over: bool = False
    is_taken: bool = False


@dataclass(slots=True)
class Statistics:
    """Counters since the process started; the metrics page reads them."""

    events: int = 0
    batches: int = 0
    refused: int = 0
    reconnects: int = 0
    largest_batch: int = field(default=0)


class Journal:
    """The durable, chained log of one gateway process.

    Args:
        conninfo: libpq connection string.
        instance: 16 bytes, the id of this process's row.
        lock_key: key of the advisory lock that tells other processes that this one is alive.
        queue_events: most events that wait; a further intent is refused.
        batch_events: most events of one commit.
        on_bell: called when the database notifies that the policy moved.
        on_decision: called with the id of an approval request whose state has moved.
        on_knock: called with what another gateway process was told about a call that waits.
    """

    def __init__(
        self,
        conninfo: str,
        instance: bytes,
        lock_key: int,
        *,
        queue_events: int,
        batch_events: int,
        on_bell: Callable[[], None] = lambda: None,
        on_decision: Callable[[str], None] = lambda request_id: None,
        on_knock: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._conninfo, self._instance, self._lock_key = conninfo, instance, lock_key
        self._queue_events, self._batch_events, self._on_bell = queue_events, batch_events, on_bell
        self._on_decision, self._on_knock = on_decision, on_knock
        self._queue: deque[_Pending] = deque()
        self._in_flight: list[_Pending] = []
        self._sent_at = 0.0
        self._batch: list[tuple[chain.Entry, bytes, bytes]] = []
        self._seq, self._head = 0, chain.GENESIS
        self._open: dict[bytes, int] = {}
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._pgconn: pq.abc.PGconn | None = None
        self._socket = -1
        self._broken: asyncio.Event = asyncio.Event()
        self._is_fenced = False
        self._is_pump_scheduled = self._has_failed = False
        self._turns = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.statistics = Statistics()

    @property
    def is_up(self) -> bool:
        """Whether events are being written right now."""
        return self._pgconn is not None

    @property
    def is_fenced(self) -> bool:
        """Whether another process has ended this one's chain; it must not write again."""
        return self._is_fenced

    @property
    def open_from_seq(self) -> int:
        """The smallest sequence number of an intent without a durable outcome, or the next number."""
        return next(iter(self._open.values()), self._seq + 1)

    @property
    def waiting(self) -> int:
        """How many events wait for their commit."""
        return len(self._queue) + len(self._in_flight)

    async def start(self) -> None:
        """Connect and begin to write.

        Raises:
            psycopg.Error: the database cannot be reached, or does not commit durably.
        """
        self._loop = asyncio.get_running_loop()
        await self._connect()
        self._tasks = [asyncio.create_task(self._keep_connected()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """Write what is queued, for at most five seconds, and close."""
        deadline = time.monotonic() + 5
        while self.waiting and self.is_up and time.monotonic() < deadline:  # noqa: ASYNC110  (the pump is callbacks)
            await asyncio.sleep(0.005)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()

    def append(
        self,
        name: str,
        *,
        session: bytes,
        call: bytes,
        body: bytes,
        payload: bytes | None = None,
        patience: float | None,
        opens: bool = False,
        closes: bool = False,
        is_last: bool = False,
        claim: bytes | None = None,
        is_handed_over: bool = False,
    ) -> asyncio.Future[None]:
        """Queue an event; the future is done when it is durable.

        `patience` is how many seconds the caller waits (None: for ever, for what must be written sooner or later); then
        the future fails with `RecordUnavailable`. `opens` marks an intent, `closes` its outcome. `is_last` tells that
        the caller appends no more before it waits: then a lone call's events are sent at once. `claim` is the id of the
        use of an approval (16 bytes) that the same statement consumes. With `is_handed_over` the future is done sooner:
        when the statement that writes the event has left this process whole, which the database then carries out though
        this process be killed (ADR 0016).

        Raises:
            RecordUnavailable: at once, for an intent, while nothing can be written or the queue is full.
        """
        if opens and (self._pgconn is None or self._is_fenced or len(self._queue) >= self._queue_events):
            self.statistics.refused += 1
            raise RecordUnavailable(maybe_recorded=False)
        future: asyncio.Future[None] = self._loop.create_future()
        expires = float("inf") if patience is None else self._loop.time() + patience
        at_us = time.time_ns() // 1000
        self._queue.append(
            _Pending(name, session, call, body, payload, at_us, expires, opens, closes, future, claim, is_handed_over)
        )
        if self._in_flight:
            return future
        if is_last and len(self._open) <= 1:
            self._pump()
        elif not self._is_pump_scheduled:
            self._is_pump_scheduled = True
            self._loop.call_soon(self._pump)
        return future

    def _pump(self) -> None:
        self._is_pump_scheduled = False
        if self._in_flight or not self._queue or self._pgconn is None:
            return
        if self._turns < _MORE_TURNS and 2 * len(self._queue) < len(self._open):
            # Most calls that are under way have nothing in the queue yet. What the next turns of the loop bring from
            # their sockets can share this commit; a lone call never waits here.
            self._turns += 1
            self._is_pump_scheduled = True
            self._loop.call_soon(self._pump)
            return
        self._turns = 0
        queue, taken = self._queue, self._in_flight
        for _ in range(min(len(queue), self._batch_events)):
            pending = queue.popleft()
            pending.is_taken = True
            taken.append(pending)
        for pending in taken:
            self._seq += 1
            entry = chain.Entry(
                self._seq, pending.at_us, pending.session, pending.call, pending.name, pending.body, pending.payload
            )
            previous = self._head
            self._head = chain.link(self._instance, previous, entry)
            self._batch.append((entry, previous, self._head))
            if pending.opens:
                self._open[pending.call] = self._seq
        self._send()

    def _pump_next_turn(self) -> None:
        """Let one turn of the loop pass first: what its sockets bring along can still go with this commit."""
        self._loop.call_soon(self._pump)

    def _send(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        self._sent_at, self._has_failed = self._loop.time(), False
        try:
            # A lone call is common and waits for two commits: the plain form saves a tenth of each.
            claims = [pending.claim for pending in self._in_flight if pending.claim is not None]
            formats = journal_rows.FORMATS
            parameters: Sequence[bytes | None]
            if claims:
                name, parameters = b"wg_append_claim", journal_rows.parameters(self._instance, self._batch)
                parameters, formats = [*parameters, journal_rows.uuids(claims)], journal_rows.FORMATS_CLAIM
            elif len(self._batch) == 1:
                name, parameters = b"wg_append_one", journal_rows.row(self._instance, *self._batch[0])
            else:
                name, parameters = b"wg_append", journal_rows.parameters(self._instance, self._batch)
            pgconn.send_query_prepared(name, parameters, formats)
            self._flush()
        except psycopg.Error:
            self._lost()

    def _flush(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        if pgconn.flush():
            self._loop.add_writer(self._socket, self._on_writable)
        else:
            self._handed_over()

    def _on_writable(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        try:
            if not pgconn.flush():
                self._loop.remove_writer(self._socket)
                self._handed_over()
        except psycopg.Error:
            self._lost()

    def _handed_over(self) -> None:
        """The database has the whole statement: whoever waits for no more than that goes on."""
        for pending in self._in_flight:
            if pending.is_handed_over and not pending.future.done():
                pending.future.set_result(None)

    def _on_readable(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        try:
            pgconn.consume_input()
            while (notice := pgconn.notifies()) is not None:
                if notice.relname == _APPROVALS:
                    self._on_decision(notice.extra.decode())
                elif notice.relname == _KNOCKS:
                    self._on_knock(notice.extra.decode())
                else:
                    self._on_bell()
            if not self._in_flight:
                return
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                self._has_failed = self._has_failed or result.status != pq.ExecStatus.COMMAND_OK
            else:
                return
        except psycopg.Error:
            self._lost()
            return
        if self._has_failed:
            self._lost()
        else:
            self._committed(len(self._in_flight))
            if self._queue and not self._is_pump_scheduled:
                self._is_pump_scheduled = True
                self._loop.call_soon(self._pump_next_turn)

    def _committed(self, count: int) -> None:
        done, self._in_flight = self._in_flight[:count], self._in_flight[count:]
        self._batch = self._batch[count:]
        self.statistics.events += count
        self.statistics.batches += 1
        self.statistics.largest_batch = max(self.statistics.largest_batch, count)
        for pending in done:
            if pending.closes:
                self._open.pop(pending.call, None)
            if not pending.future.done():
                pending.future.set_result(None)

    def _lost(self) -> None:
        """Give up the connection; the batch in flight stays, for the database may have it already."""
        if self._pgconn is None:
            return
        logger.error("the record cannot be written; new calls are refused until the database is back")
        self._let_go()
        self._broken.set()

    def _let_go(self) -> None:
        """Stop using the connection."""
        if self._pgconn is None:
            return
        # By the number that was registered: libpq has closed a broken connection's socket by now and no longer tells
        # which it was. A loop that goes on watching it would see nothing of the next socket that gets this number.
        try:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        except (OSError, ValueError):
            pass
        self._pgconn = None

    async def _disconnect(self) -> None:
        self._let_go()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _keep_connected(self) -> None:
        while True:
            await self._broken.wait()
            self._broken.clear()
            await self._disconnect()
            for attempt in range(1_000_000_000):
                try:
                    await self._connect()
                except (psycopg.Error, OSError, TimeoutError) as error:
                    if attempt % _SAY_EVERY == _SAY_EVERY - 1:
                        logger.error("the record still cannot be written (%s)", type(error).__name__)
                    await asyncio.sleep(_RECONNECT_SECONDS[min(attempt, len(_RECONNECT_SECONDS) - 1)])
                    continue
                except Exception:
                    # Whatever it is: were this to end, no call would run until the process is started again.
                    logger.exception("the record cannot be reached")
                    await asyncio.sleep(_RECONNECT_SECONDS[-1])
                    continue
                self.statistics.reconnects += 1
                break
            if self._is_fenced:
                return

    async def _connect(self) -> None:
        connection = await asyncio.wait_for(
            psycopg.AsyncConnection.connect(self._conninfo, autocommit=True), _CONNECT_SECONDS
        )
        try:
            await asyncio.wait_for(self._prepare(connection), _CONNECT_SECONDS)
        except BaseException:
            await connection.close()
            raise
        if self._is_fenced:
            await connection.close()
            self._refuse_all()
            return
        self._connection, self._pgconn = connection, connection.pgconn
        self._pgconn.nonblocking = 1
        self._socket = self._pgconn.socket
        self._loop.add_reader(self._socket, self._on_readable)
        if self._in_flight:
            self._send()
        else:
            self._pump()
        self._on_bell()

    async def _prepare(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Make the session fit for the record and settle how far the batch in flight got."""
        await connection.execute("SET synchronous_commit = on")
        await connection.execute("SET statement_timeout = '10s'")
        lock = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", [self._lock_key])).fetchone()
        if lock is None or not lock[0]:
            # The old session of this very process may need a moment to be noticed as gone.
            raise psycopg.OperationalError("the lock of this gateway process is held elsewhere")
        row = await (
            await connection.execute(
                "SELECT ended_at, (SELECT max(seq) FROM gateway_sessions_event e WHERE e.instance_id = i.id) "
                "FROM gateway_sessions_gatewayinstance i WHERE id = %s",
                [self._instance.hex()],
            )
        ).fetchone()
        if row is None or row[0] is not None:
            logger.critical("another gateway process has ended this one's chain; it writes no more")
            self._is_fenced = True
            return
        if self._batch:
            written = (row[1] or 0) - (self._batch[0][0].seq - 1)
            if written > 0:
                self._committed(written)
        # The plan never depends on the values, and planning anew costs as much as inserting.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        # Prepared in SQL: libpq's own call would wait for the answer and stop the event loop meanwhile.
        await connection.execute(b"PREPARE wg_append AS " + journal_rows.INSERT)
        await connection.execute(b"PREPARE wg_append_one AS " + journal_rows.INSERT_ONE)
        await connection.execute(b"PREPARE wg_append_claim AS " + journal_rows.INSERT_CLAIM)
        await connection.execute("LISTEN wardgate_policy")
        await connection.execute("LISTEN wardgate_approval")
        await connection.execute("LISTEN wardgate_held")

    def _refuse_all(self) -> None:
        for pending in [*self._in_flight, *self._queue]:
            if not pending.future.done():
                pending.future.set_exception(RecordUnavailable(maybe_recorded=pending.is_taken))
        self._queue.clear()

    async def _watch(self) -> None:
        """Fail what waited longer than its caller's patience, and break a connection that hangs."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = self._loop.time()
            if self._in_flight and self._pgconn is not None and now - self._sent_at > _STUCK_SECONDS:
                self._lost()
            for pending in self._in_flight:
                _expire(pending, now)
            if self._queue and min(pending.expires for pending in self._queue) <= now:
                kept = deque(pending for pending in self._queue if not _expire(pending, now))
                self._queue = kept


def _expire(pending: _Pending, now: float) -> bool:
    """Fail the future of an event whose caller's patience is over; tell whether it was."""
    if pending.expires > now:
        return False
    if not pending.future.done():
        pending.future.set_exception(RecordUnavailable(maybe_recorded=pending.is_taken))
    return True
