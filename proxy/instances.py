"""The life of this gateway process in the database, and what is done for processes that died.

A process is registered before it serves, holds an advisory lock through its journal's connection, and beats. One whose
lock is free and whose beat is old, or whose process is gone from this very host, is dead: its open intents become
`outcome_unknown`, appended to the chain of whoever finds it, and its own chain is ended. The lock is held meanwhile, so
that two finders cannot both do it and a dead process that wakes up cannot write on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import psycopg

from proxy.journal import Journal
from proxy.ports import RecordUnavailable
from proxy.store import Store
from sessions import services

logger = logging.getLogger(__name__)

OUTCOMES = (
    "gateway:call:completed",
    "gateway:call:upstream_error",
    "gateway:call:not_sent",
    "gateway:call:aborted_by_client",
    "gateway:call:outcome_unknown",
)
INTENT = "gateway:call:intent"
_RECONCILE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """One gateway process, as others may look it up."""

    instance_id: UUID
    lock_key: int
    host: str
    pid: int
    started: str


def this_process() -> Process:
    """Return who we are; every start is a new instance with a new chain."""
    instance_id = UUID(bytes=os.urandom(16))
    lock_key = int.from_bytes(instance_id.bytes[:8], "big", signed=True)
    return Process(instance_id, lock_key, socket.gethostname(), os.getpid(), process_start(os.getpid()) or "")


def process_start(pid: int) -> str | None:
    """Return when process `pid` of this host started, in the kernel's clock ticks and boot; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot[:8]}.{fields[19]}"


class Instances:
    """Registers and beats for this process, and reconciles those that died.

    Args:
        dead_seconds: age of the last beat after which a process on another host counts as dead.
    """

    def __init__(
        self, store: Store, journal: Journal, process: Process, conninfo: str, *, beat_seconds: float, dead_seconds: int
    ) -> None:
        self._store, self._journal, self._process, self._conninfo = store, journal, process, conninfo
        self._beat_seconds, self._dead_seconds = beat_seconds, dead_seconds
        self._tasks: list[asyncio.Task[None]] = []

    async def register(self) -> None:
        """Create this process's row; before the journal starts."""
        process = self._process
        await self._store.run(
            services.instance_open,
            instance_id=process.instance_id,
            lock_key=process.lock_key,
            host=process.host,
            pid=process.pid,
            process_started=process.started,
            now=datetime.now(UTC),
        )

    async def start(self) -> None:
        """Reconcile what earlier processes left, and only then return; go on beating and looking."""
        await self.reconcile()
        self._tasks = [asyncio.create_task(self._keep_beating()), asyncio.create_task(self._keep_reconciling())]

    async def stop(self) -> None:
        """Stop the tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """End this process's chain; after the journal has written everything."""
        try:
            await self._store.run(
                services.instance_end,
                instance_id=self._process.instance_id,
                reason="stopped",
                now=datetime.now(UTC),
            )
        except psycopg.Error:
            logger.warning("the end of this gateway process could not be written; another one will find it")

    async def reconcile(self) -> int:
        """Close the open intents of every dead process; return how many there were."""
        closed = 0
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        async with connection:
            rows = await (
                await connection.execute(
                    "SELECT id, lock_key, host, pid, process_started, open_from_seq, "
                    "heartbeat_at < now() - make_interval(secs => %s) "
                    "FROM gateway_sessions_gatewayinstance WHERE ended_at IS NULL AND id <> %s",
                    [self._dead_seconds, self._process.instance_id],
                )
            ).fetchall()
            for identifier, lock_key, host, pid, started, open_from, is_silent in rows:
                is_gone = host == self._process.host and process_start(pid) != started
                if is_gone or is_silent:
                    closed += await self._end_dead(connection, identifier, lock_key, open_from)
        return closed

    async def _end_dead(
        self, connection: psycopg.AsyncConnection, identifier: UUID, lock_key: int, open_from: int
    ) -> int:
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", [lock_key])).fetchone()
        if row is None or not row[0]:
            return 0
        try:
            still = await (
                await connection.execute(
                    "SELECT ended_at IS NULL FROM gateway_sessions_gatewayinstance WHERE id = %s", [identifier]
                )
            ).fetchone()
            if still is None or not still[0]:
                return 0
            left = await self._open_calls(connection, identifier, open_from)
            body = orjson.dumps({"reason": "gateway_crash", "instance": str(identifier)})
            waiting = [
                self._journal.append(
                    "gateway:call:outcome_unknown",
                    session=session.bytes,
                    call=call.bytes,
                    body=body,
                    patience=30,
                    closes=True,
                )
                for call, session in left.items()
            ]
            for durable in waiting:
                await durable
            await connection.execute(
                "UPDATE gateway_sessions_gatewayinstance SET ended_at = now(), end_reason = 'crashed' WHERE id = %s",
                [identifier],
            )
        finally:
            await connection.execute("SELECT pg_advisory_unlock(%s)", [lock_key])
        if left:
            logger.warning("%d calls of a gateway process that died are now outcome_unknown", len(left))
        return len(left)

    async def _open_calls(
        self, connection: psycopg.AsyncConnection, identifier: UUID, open_from: int
    ) -> dict[UUID, UUID]:
        """Return call to session of the dead process's intents without an outcome, in any chain."""
        rows = await connection.execute(
            "SELECT call_id, session_id, name FROM gateway_sessions_event "
            "WHERE instance_id = %s AND seq >= %s AND (name = %s OR name = ANY(%s)) ORDER BY seq",
            [identifier, open_from, INTENT, list(OUTCOMES)],
        )
        left: dict[UUID, UUID] = {}
        async for call, session, name in rows:
            if name == INTENT:
                left[call] = session
            else:
                left.pop(call, None)
        for call, session in list(left.items()):
            # An earlier finder may have got this far and died before it ended the chain.
            closed = await (
                await connection.execute(
                    "SELECT 1 FROM gateway_sessions_event "
                    "WHERE session_id = %s AND call_id = %s AND name = ANY(%s) LIMIT 1",
                    [session, call, list(OUTCOMES)],
                )
            ).fetchone()
            if closed is not None:
                del left[call]
        return left

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._beat_seconds)
            try:
                await self._store.run(
                    services.instance_beat,
                    instance_id=self._process.instance_id,
                    open_from_seq=self._journal.open_from_seq,
                    now=datetime.now(UTC),
                )
            except Exception:
                logger.warning("this gateway process cannot beat: the database is away")

    async def _keep_reconciling(self) -> None:
        while True:
            await asyncio.sleep(_RECONCILE_SECONDS)
            try:
                await self.reconcile()
            except (psycopg.Error, OSError, RecordUnavailable):
                logger.warning("processes that died cannot be looked for: the database is away")
