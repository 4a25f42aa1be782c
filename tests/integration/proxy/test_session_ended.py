"""A session that a person ends: its calls and streams end on every gateway process, and its id is refused."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.callers import Caller
from tests.support.gateway import LiveGateway, gateway_running
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen, json_answer

from .calls import ACCEPT, rpc, tool
from .test_stopped_at_once import second_process, streaming_script, token_of

WITHIN_SECONDS = 5.0
INITIALIZE = rpc(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
)


def script(seen: Seen, connection: socket.socket) -> None:
    """Give out a session id, and stream as the tests of other stops do."""
    if seen.verb == "POST" and seen.message.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "up", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": seen.message["id"], "result": result}
        connection.sendall(json_answer(json.dumps(body).encode(), headers="mcp-session-id: theirs\r\n"))
    else:
        streaming_script(seen, connection)


@pytest.fixture(autouse=True)
def _streaming(upstream: ScriptedUpstream, _clean_upstream: None) -> None:
    upstream.script = script


@pytest.fixture(scope="module")
def pair(
    gateway_seed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveGateway, LiveGateway]]:
    environment = {"WARDGATE_POLICY_POLL_MILLISECONDS": "1000"}
    with ExitStack() as stack:
        first = stack.enter_context(
            gateway_running(gateway_seed, tmp_path_factory.mktemp("first"), environment=environment)
        )
        second = second_process(first, tmp_path_factory.mktemp("second"))
        stack.callback(second.stop)
        second.start()
        yield first, second


def sessions_of(gateway: LiveGateway, subject: str) -> list[Any]:
    rows = gateway.sql(
        "SELECT s.id FROM gateway_sessions_session s JOIN accounts_principal p ON p.id = s.principal_id "
        "WHERE p.subject = %s ORDER BY s.started_at",
        subject,
    )
    return [row["id"] for row in rows]


def end(gateway: LiveGateway, session: Any) -> None:
    gateway.sql(
        "INSERT INTO gateway_sessions_sessionstop (id, session_id, reason, username, at) "
        "VALUES (gen_random_uuid(), %s, 'test', 'grace', now())",
        session,
    )


async def test_the_streams_of_a_session_end_on_every_process_and_others_go_on(
    pair: tuple[LiveGateway, LiveGateway],
) -> None:
    opened = asyncio.Semaphore(0)
    streams = {
        (gateway.port, who): asyncio.create_task(
            Caller(gateway.port).stream(token_of(gateway, who), "stream", opened.release)
        )
        for gateway in pair
        for who in ("ended", "other")
    }
    async with asyncio.timeout(10):
        for _ in streams:
            await opened.acquire()
    sessions = await asyncio.to_thread(sessions_of, pair[0], "ended")
    assert len(sessions) == 2
    began = time.monotonic()
    for session in sessions:
        await asyncio.to_thread(end, pair[0], session)
    for gateway in pair:
        read, ended_at = await asyncio.wait_for(streams[gateway.port, "ended"], WITHIN_SECONDS)
        assert ended_at - began <= WITHIN_SECONDS
        assert b"The session was ended at the gateway" in read
        assert not streams[gateway.port, "other"].done()
    print(f"the last stream ended {1000 * (time.monotonic() - began):.0f} ms after its session")
    for gateway in pair:
        streams[gateway.port, "other"].cancel()
    await asyncio.gather(*streams.values(), return_exceptions=True)
    outcomes = [call["rows"][-1] for call in pair[0].calls() if call["rows"][0]["body"].get("subject") == "ended"]
    assert {row["body"].get("reason") for row in outcomes} == {"session_ended"}


async def test_a_caller_without_a_session_id_gets_a_new_session(pair: tuple[LiveGateway, LiveGateway]) -> None:
    token = token_of(pair[0], "again")
    headers = {**ACCEPT, "authorization": f"Bearer {token}"}

    def call() -> httpx.Response:
        return httpx.post(pair[0].url("orders"), json=tool("get_order"), headers=headers, timeout=10)

    await asyncio.to_thread(call)
    [session] = sessions_of(pair[0], "again")
    end(pair[0], session)

    def has_another() -> bool:
        call()
        return len(sessions_of(pair[0], "again")) == 2

    await asyncio.to_thread(wait_until, has_another, seconds=WITHIN_SECONDS, what="a new session")


async def test_the_id_of_an_ended_session_is_refused_as_unknown_on_every_process(
    pair: tuple[LiveGateway, LiveGateway], upstream: ScriptedUpstream
) -> None:
    token = token_of(pair[0], "holder")
    headers = {**ACCEPT, "authorization": f"Bearer {token}"}
    begun = await asyncio.to_thread(
        lambda: httpx.post(pair[0].url("orders"), json=INITIALIZE, headers=headers, timeout=10)
    )
    headers["mcp-session-id"] = begun.headers["mcp-session-id"]

    def status(gateway: LiveGateway) -> int:
        return httpx.post(gateway.url("orders"), json=tool("get_order"), headers=headers, timeout=10).status_code

    assert [status(gateway) for gateway in pair] == [200, 200]
    [session] = sessions_of(pair[0], "holder")
    end(pair[0], session)
    for gateway in pair:
        await asyncio.to_thread(
            wait_until, lambda gateway=gateway: status(gateway) == 404, seconds=WITHIN_SECONDS, what="the refusal"
        )
    seen = len(upstream.seen)
    assert [status(gateway) for gateway in pair] == [404, 404]
    assert len(upstream.seen) == seen
