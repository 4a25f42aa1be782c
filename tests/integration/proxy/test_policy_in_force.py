"""A published change is in force on two gateway processes within 2 s, on open sessions too, with Redis stopped."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.callers import Caller, percentile
from tests.support.gateway import LiveGateway, gateway_running
from tests.support.upstream import ScriptedUpstream, Seen, default_script, json_answer

from .test_stopped_at_once import INITIALIZE, second_process, silent_redis

__all__ = ["silent_redis"]

IN_FORCE_SECONDS = 2.0
CHANGES = int(os.environ.get("WARDGATE_TEST_POLICY_CHANGES", "12"))
"""How many changes are measured on each process: the suite makes a few, CONTRIBUTING.md says how to make more."""
EVERY_SECONDS = 0.02
"""How often each session calls, which is how exactly a change is timed."""
HEARD = "PERFORM pg_notify('wardgate_policy', '');"
RULE = {"name": "by turns", "effect": "deny", "names": ["get_order"]}
GRANT = {"connection": "orders", "group": "turns", "tools": ["*"]}


@pytest.fixture(scope="module")
def pair(
    gateway_seed: dict[str, Any], silent_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveGateway, LiveGateway]]:
    """Run two processes of one gateway: one database, the default polling, a Redis that is stopped."""
    environment = {"REDIS_URL": silent_redis, "WARDGATE_POLICY_POLL_MILLISECONDS": "1000"}
    seed = {**gateway_seed, "grants": [*gateway_seed["grants"], GRANT]}
    with ExitStack() as stack:
        first = stack.enter_context(gateway_running(seed, tmp_path_factory.mktemp("first"), environment=environment))
        second = second_process(first, tmp_path_factory.mktemp("second"))
        stack.callback(second.stop)
        second.start()
        yield first, second


def with_session(seen: Seen, connection: socket.socket) -> None:
    """Give out a session id, and answer every call."""
    if seen.verb == "POST" and seen.message.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "up", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": seen.message["id"], "result": result}
        connection.sendall(json_answer(json.dumps(body).encode(), headers="mcp-session-id: theirs\r\n"))
    else:
        default_script(seen, connection)


@pytest.fixture(autouse=True)
def _with_session(upstream: ScriptedUpstream, _clean_upstream: None) -> None:
    upstream.script = with_session


@dataclass
class OpenSession:
    """A session that was opened before any change, and what its calls got: when each was sent, and if it was served."""

    gateway: LiveGateway
    token: str
    answers: list[tuple[float, bool]] = field(default_factory=list)
    seen: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Open the session and call again and again, on one connection, until cancelled."""
        caller = Caller(self.gateway.port)
        opened = await caller.post(self.token, INITIALIZE)
        headers = {"mcp_session_id": opened.headers["mcp-session-id"]}
        while True:
            sent_at = time.time()
            answer = await caller.call(self.token, **headers)
            async with self.seen:
                self.answers.append((sent_at, answer.is_served))
                self.seen.notify_all()
            await asyncio.sleep(EVERY_SECONDS)

    async def reached(self, is_served: bool, since: float) -> None:
        """Return once a call that was sent after `since` was served, or not served."""
        async with self.seen, asyncio.timeout(10):
            await self.seen.wait_for(lambda: any(at > since and got is is_served for at, got in self.answers[-50:]))

    def late(self, is_served: bool, since: float, until: float) -> float:
        """Return how long after `since` the last call was sent that was still decided the other way, in seconds."""
        return max([at - since for at, got in self.answers if since < at < until and got is not is_served], default=0.0)


@asynccontextmanager
async def sessions(pair: tuple[LiveGateway, LiveGateway]) -> AsyncIterator[list[OpenSession]]:
    """Keep a session open on each process."""
    opened = [OpenSession(gateway, gateway.token("turner", ["turns"])) for gateway in pair]
    tasks = [asyncio.create_task(session.run()) for session in opened]
    try:
        for session in opened:
            await session.reached(is_served=True, since=0)
        yield opened
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def changed_at(gateway: LiveGateway) -> float:
    """Return when policy was changed last, a moment before the change was committed."""
    [state] = gateway.sql("SELECT extract(epoch FROM changed_at)::float8 AS at FROM policies_policystate")
    return float(state["at"])


async def lateness(pair: tuple[LiveGateway, LiveGateway], changes: int) -> list[float]:
    """Publish `changes` changes, a rule and a grant by turns; return how late each was in force on each process."""
    found: list[float] = []
    async with sessions(pair) as opened:
        for number in range(changes):
            is_served = bool(number % 2)
            if number // 2 % 2:
                document = {"grants": [{**GRANT, "is_active": is_served}]}
            else:
                document = {"guardrails": [{**RULE, "is_active": not is_served}]}
            await asyncio.to_thread(pair[0].seed, document)
            since = changed_at(pair[0])
            for session in opened:
                await session.reached(is_served, since)
            found += [session.late(is_served, since, time.time()) for session in opened]
    return found


async def test_a_published_change_is_in_force_on_both_processes_within_two_seconds(
    pair: tuple[LiveGateway, LiveGateway],
) -> None:
    found = await lateness(pair, CHANGES)
    print(
        f"{len(found)} of {CHANGES} changes: p50 {_told(found, 0.5)}, p99 {_told(found, 0.99)}, max {_told(found, 1)}"
    )
    assert len(found) == 2 * CHANGES >= 20
    assert percentile(found, 0.99) <= IN_FORCE_SECONDS


async def test_a_change_that_nobody_announces_is_in_force_as_soon(pair: tuple[LiveGateway, LiveGateway]) -> None:
    source = pair[0].sql("SELECT pg_get_functiondef('wardgate_policy_moved'::regproc) AS text")[0]["text"]
    assert HEARD in source
    pair[0].sql(source.replace(HEARD, "").replace("%", "%%"))
    try:
        found = await lateness(pair, 4)
    finally:
        pair[0].sql(source.replace("%", "%%"))
    print(f"by polling alone: max {_told(found, 1)}")
    assert max(found) <= IN_FORCE_SECONDS


def _told(values: list[float], share: float) -> str:
    return f"{1000 * percentile(values, share):.0f} ms"
