"""Locks, revocations and ended access, on two gateway processes under load and without Redis."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.callers import Caller, percentile, steady_load
from tests.support.gateway import ISSUER, LiveGateway, gateway_running
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen, default_script

from .calls import ACCEPT, rpc, tool

CALLS_PER_SECOND = 300
NEW_CALLS_SECONDS = 2.0
STREAMS_SECONDS = 5.0
SETTLE_SECONDS = 0.5
"""How long the load goes on after the last stream was cut."""
BACKGROUND = [f"caller-{number}" for number in range(8)]
GUESTS = {"connection": "orders", "group": "guests", "tools": ["*"]}
INITIALIZE = rpc(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
)
_PAUSE = threading.Event()


def streaming_script(seen: Seen, connection: socket.socket) -> None:
    """Answer the tool `stream` with events for ever, `quiet` with a head and nothing, `wait` not at all."""
    name = seen.message.get("params", {}).get("name") if seen.verb == "POST" else "quiet"
    if name in {"stream", "quiet", "flood"}:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        text = "x" * (60_000 if name == "flood" else 10)
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}
        while True:
            if name != "quiet":
                connection.sendall(b"data: " + json.dumps(note).encode() + b"\n\n")
            elif connection.recv(1) == b"":
                return
            if name == "stream":
                _PAUSE.wait(0.05)
    elif name == "wait":
        connection.recv(1)
    else:
        default_script(seen, connection)


@pytest.fixture(autouse=True)
def _streaming(upstream: ScriptedUpstream, _clean_upstream: None) -> None:
    upstream.script = streaming_script


@pytest.fixture(scope="module")
def silent_redis() -> Iterator[str]:
    """Return the URL of a Redis that was stopped: it takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture(scope="module")
def pair(
    gateway_seed: dict[str, Any], silent_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveGateway, LiveGateway]]:
    """Run two processes of one gateway: one database, the same keys, the default polling, a Redis that is stopped."""
    environment = {"REDIS_URL": silent_redis, "WARDGATE_POLICY_POLL_MILLISECONDS": "1000"}
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("first")
        seed = {**gateway_seed, "grants": [*gateway_seed["grants"], GUESTS]}
        first = stack.enter_context(gateway_running(seed, folder, environment=environment))
        second = second_process(first, tmp_path_factory.mktemp("second"))
        stack.callback(second.stop)
        second.start()
        yield first, second


def second_process(first: LiveGateway, folder: Path) -> LiveGateway:
    shared = ("SECRET_KEY", "WARDGATE_MASTER_KEYS", "WARDGATE_PUBLIC_URL", "WARDGATE_CHANNEL_PREFIX", "REDIS_URL")
    environment = {name: first.environment[name] for name in (*shared, "WARDGATE_POLICY_POLL_MILLISECONDS")}
    return LiveGateway(dsn=first.dsn, folder=folder, environment=environment)


def token_of(gateway: LiveGateway, subject: str, **claims: Any) -> str:
    """Return a token that names only the group `sre` and a session."""
    return gateway.token(subject, **{"sid": f"sid-{subject}", "jti": f"jti-{subject}", **claims})


def lock(gateway: LiveGateway, kind: str, source: str = "console", **target: Any) -> None:
    columns = {"kind": kind, "source": source, "reason": "test", "token": "", "agent": "", **target}
    gateway.sql(
        f"INSERT INTO accounts_lock (id, created_at, {', '.join(columns)}) "
        f"VALUES (gen_random_uuid(), now(){', %s' * len(columns)})",
        *columns.values(),
    )


def principal(gateway: LiveGateway, subject: str) -> Any:
    gateway.sql(
        "INSERT INTO accounts_principal (id, issuer, subject, kind, is_kind_fixed, display_name, email, notes, "
        "first_seen, last_address, last_client) VALUES (gen_random_uuid(), %s, %s, 'unknown', false, '', '', '', "
        "now(), '', '') ON CONFLICT DO NOTHING",
        ISSUER,
        subject,
    )
    return gateway.sql("SELECT id FROM accounts_principal WHERE issuer = %s AND subject = %s", ISSUER, subject)[0]["id"]


def revoke(gateway: LiveGateway, kind: str, value: str, *, issuer: str = ISSUER, until: str | None = None) -> None:
    gateway.sql(
        "INSERT INTO accounts_revokedtoken (kind, issuer, value, issued_until, source, reason, revoked_at, expires_at) "
        f"VALUES (%s, %s, %s, {until or 'NULL'}, 'event', '', now(), now() + interval '1 hour')",
        kind,
        issuer,
        value,
    )


Stop = Callable[[LiveGateway, str], None]
STOPS: dict[str, tuple[Stop, int, str]] = {
    "lock on the principal": (
        lambda gateway, who: lock(gateway, "principal", principal_id=principal(gateway, who)), 403, "locked",
    ),
    "lock by SCIM": (
        lambda gateway, who: lock(gateway, "principal", "scim", principal_id=principal(gateway, who)), 403, "locked",
    ),
    "lock on the agent": (lambda gateway, who: lock(gateway, "agent", agent=f"client-{who}"), 403, "locked"),
    "lock on the token": (
        lambda gateway, who: lock(
            gateway, "token", token=f"jti-{who}",
            provider_id=gateway.sql("SELECT id FROM accounts_identityprovider")[0]["id"],
        ), 401, "token_revoked",
    ),
    "revoked session": (lambda gateway, who: revoke(gateway, "session", f"sid-{who}"), 401, "token_revoked"),
    "revoked subject": (
        lambda gateway, who: revoke(gateway, "subject", who, until="now()"), 401, "token_revoked",
    ),
}  # fmt: skip


async def stopped_within(
    pair: tuple[LiveGateway, LiveGateway], who: str, stop: Callable[[], None]
) -> tuple[list[float], list[float], list[bytes]]:
    """Stop `who` under load; return how long after that calls still passed, and streams ended, and what they said.

    The first list has one value for each gateway process: the age of the stop when the last call that still passed was
    sent.
    """
    token = token_of(pair[0], who, client_id=f"client-{who}")
    tokens = {who: token, **{name: token_of(pair[0], name) for name in BACKGROUND}}
    ports = [gateway.port for gateway in pair]
    opened = asyncio.Semaphore(0)
    streams = [
        asyncio.create_task(Caller(port).stream(token, name, opened.release))
        for port in ports
        for name in ("stream", "quiet")
    ]
    async with asyncio.timeout(10):
        for _ in streams:
            await opened.acquire()
    async with steady_load(tokens, ports, calls_per_second=CALLS_PER_SECOND) as load:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(stop)
        stopped_at = time.monotonic()
        ended = await asyncio.wait_for(asyncio.gather(*streams), STREAMS_SECONDS + 5)
        await asyncio.sleep(SETTLE_SECONDS)
    assert [answer for answer in load.of(*BACKGROUND) if not answer.is_served] == []
    passed = [answer.sent_at - stopped_at for answer in load.of(who) if answer.is_served]
    assert passed and not load.of(who)[-1].is_served
    late = max(at - stopped_at for _, at in ended)
    print(
        f"{who}: the last call that passed was sent {1000 * max(passed):.0f} ms after, "
        f"the last stream ended {1000 * late:.0f} ms after"
    )
    return passed, [at - stopped_at for _, at in ended], [read for read, _ in ended]


@pytest.mark.parametrize("kind", STOPS)
async def test_whoever_is_stopped_is_refused_and_cut_off_at_once_on_every_process(
    pair: tuple[LiveGateway, LiveGateway], kind: str
) -> None:
    stop, status, code = STOPS[kind]
    who = "victim-" + kind.replace(" ", "-")
    passed, ends, reads = await stopped_within(pair, who, lambda: stop(pair[0], who))
    assert percentile(passed, 0.99) <= NEW_CALLS_SECONDS
    assert max(ends) <= STREAMS_SECONDS
    for read in reads:
        assert b"The call may have run" in read or b"It may have run" in read
    for gateway in pair:
        answer = post_as(gateway, who)
        assert answer.status_code == status
        assert code in answer.text
        assert ("www-authenticate" in answer.headers) is (status == 401)
        if status == 401:
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert reasons_of(pair[0], who) == {code}
    events = [event["body"] for event in refused_events(pair[0], code) if event["body"].get("subject") == who]
    assert events and all(bool(event.get("lock")) is (code == "locked") for event in events)


def post_as(gateway: LiveGateway, who: str, message: Any = None, **claims: Any) -> httpx.Response:
    """Call a tool with a token that was issued before whatever the test did."""
    issued = int(time.time()) - 5
    token = token_of(gateway, who, **{"client_id": f"client-{who}", "iat": issued, "nbf": issued, **claims})
    headers = {**ACCEPT, "authorization": f"Bearer {token}"}
    return httpx.post(gateway.url("orders"), json=message or tool("get_order"), headers=headers, timeout=10)


def refused_events(gateway: LiveGateway, code: str) -> list[Any]:
    """Return the counted refusals of `code`, which are written once a second."""
    wait_until(
        lambda: any(event["body"]["code"] == code for event in gateway.events("gateway:request:refused")),
        seconds=5,
        what=f"a recorded refusal {code}",
    )
    return [event for event in gateway.events("gateway:request:refused") if event["body"]["code"] == code]


def reasons_of(gateway: LiveGateway, who: str) -> set[str]:
    """Return the recorded reasons of the calls of `who` that ended without an answer."""
    gateway.wait_for_outcomes()
    outcomes = [call["rows"][-1] for call in gateway.calls() if call["rows"][0]["body"].get("subject") == who]
    return {row["body"]["reason"] for row in outcomes if row["name"] == "gateway:call:outcome_unknown"}


async def cut_by(
    gateway: LiveGateway, who: str, name: str, stop: Callable[[], None], **claims: Any
) -> tuple[bytes, float]:
    """Return what a stream said when `stop` ended it, and how long after."""
    opened = asyncio.Event()
    stream = asyncio.create_task(Caller(gateway.port).stream(token_of(gateway, who, **claims), name, opened.set))
    await asyncio.wait_for(opened.wait(), 10)
    await asyncio.to_thread(stop)
    stopped_at = time.monotonic()
    read, ended_at = await asyncio.wait_for(stream, 10)
    return read, ended_at - stopped_at


async def test_polling_alone_is_quick_enough(pair: tuple[LiveGateway, LiveGateway]) -> None:
    source = pair[0].sql("SELECT pg_get_functiondef('wardgate_revocation_moved'::regproc) AS text")[0]["text"]
    assert "PERFORM pg_notify" in source
    pair[0].sql(source.replace("PERFORM pg_notify('wardgate_policy', '');", "").replace("%", "%%"))
    try:
        passed, ends, _ = await stopped_within(pair, "unheard", lambda: revoke(pair[0], "session", "sid-unheard"))
    finally:
        pair[0].sql(source.replace("%", "%%"))
    assert max(passed) <= NEW_CALLS_SECONDS
    assert max(ends) <= STREAMS_SECONDS


@pytest.mark.parametrize("name", ["stream", "quiet"])
async def test_a_stream_ends_within_a_second_of_its_token(pair: tuple[LiveGateway, LiveGateway], name: str) -> None:
    expires_at = int(time.time()) + 2
    token = token_of(pair[0], "short", exp=expires_at)
    read, _ = await Caller(pair[0].port).stream(token, name)
    late = time.time() - expires_at
    assert 0 <= late <= 1
    assert b"access token expired" in read


async def test_a_stream_ends_when_its_grant_does(pair: tuple[LiveGateway, LiveGateway]) -> None:
    read, late = await cut_by(pair[0], "guest", "quiet", lambda: remove_group(pair[0], "guests"), groups=["guests"])
    assert late <= STREAMS_SECONDS
    assert b"Access to this connection ended" in read
    assert reasons_of(pair[0], "guest") == {"access_ended"}


def remove_group(gateway: LiveGateway, name: str) -> None:
    gateway.sql(
        "DELETE FROM policies_accessgrant WHERE group_id = (SELECT id FROM accounts_group WHERE name = %s)", name
    )


async def test_a_disabled_provider_ends_streams_and_new_calls(pair: tuple[LiveGateway, LiveGateway]) -> None:
    def switch(is_active: bool) -> None:
        pair[0].sql("UPDATE accounts_identityprovider SET is_active = %s", is_active)

    try:
        read, late = await cut_by(pair[1], "employee", "quiet", lambda: switch(False))
        assert late <= STREAMS_SECONDS
        assert b"Access to this connection ended" in read
        answer = post_as(pair[1], "employee")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_issuer")
    finally:
        switch(True)
        wait_until(lambda: post_as(pair[1], "employee").status_code == 200, seconds=5, what="the provider's return")


async def test_a_locked_connection_answers_everybody_without_ending_their_session(
    pair: tuple[LiveGateway, LiveGateway],
) -> None:
    connection = pair[0].sql("SELECT id FROM connections_connection WHERE slug = 'orders'")[0]["id"]
    try:
        read, late = await cut_by(
            pair[1], "user", "quiet", lambda: lock(pair[0], "connection", connection_id=connection)
        )
        assert late <= STREAMS_SECONDS
        assert b"Access to this connection ended" in read
        answer = post_as(pair[1], "user")
        assert answer.status_code == 200
        assert "This connection is locked" in answer.json()["result"]["content"][0]["text"]
        handshake = post_as(pair[1], "user", INITIALIZE)
        assert handshake.status_code == 403
        assert handshake.json()["error"]["data"]["reason"] == "connection_locked"
        assert post_as(pair[1], "user", groups=[]).status_code == 404
    finally:
        pair[0].sql("UPDATE accounts_lock SET lifted_at = now() WHERE kind = 'connection'")
        wait_until(lambda: "fine" in post_as(pair[1], "user").text, seconds=5, what="the end of the lock")


async def test_a_lock_that_ends_lets_its_caller_in_again_without_a_change(
    pair: tuple[LiveGateway, LiveGateway],
) -> None:
    ends_at = time.time() + 1.5
    who = principal(pair[0], "patient")
    lock(pair[0], "principal", principal_id=who, ends_at=datetime.fromtimestamp(ends_at, UTC))
    wait_until(lambda: post_as(pair[1], "patient").status_code == 403, seconds=1, what="the lock")
    wait_until(lambda: post_as(pair[1], "patient").status_code == 200, seconds=5, what="the end of the lock")
    assert time.time() >= ends_at


async def test_an_answer_that_is_awaited_is_given_up(
    pair: tuple[LiveGateway, LiveGateway], upstream: ScriptedUpstream
) -> None:
    gateway = pair[0]
    call = asyncio.create_task(Caller(gateway.port).call(token_of(gateway, "waiter"), "wait"))
    await asyncio.to_thread(wait_until, lambda: bool(upstream.seen), seconds=5, what="the call at the upstream")
    await asyncio.to_thread(revoke, gateway, "session", "sid-waiter")
    answer = await asyncio.wait_for(call, STREAMS_SECONDS)
    assert answer.status == 200
    assert b"The access token was revoked" in answer.body
    assert reasons_of(gateway, "waiter") == {"token_revoked"}


async def test_a_client_that_does_not_read_cannot_keep_its_stream(
    pair: tuple[LiveGateway, LiveGateway], upstream: ScriptedUpstream
) -> None:
    gateway = pair[0]
    body = json.dumps(tool("flood")).encode()
    head = (
        f"POST /mcp/orders HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n"
        f"authorization: Bearer {token_of(gateway, 'deaf')}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(head.encode() + body)
        client.recv(1)
        grown = -1
        while grown != (grown := len(gateway.events("upstream:message:relayed"))):
            _PAUSE.wait(0.5)
        revoke(gateway, "session", "sid-deaf")
        wait_until(lambda: reasons_of_ended(gateway, "deaf"), seconds=STREAMS_SECONDS, what="the end of the stream")
    assert reasons_of(gateway, "deaf") == {"token_revoked"}


def reasons_of_ended(gateway: LiveGateway, who: str) -> bool:
    return any(
        call["events"][-1].startswith("gateway:call:outcome")
        for call in gateway.calls()
        if call["rows"][0]["body"].get("subject") == who
    )


@pytest.mark.parametrize("token_first", [True, False])
async def test_a_call_whose_body_comes_after_the_lock_is_not_sent(
    pair: tuple[LiveGateway, LiveGateway], upstream: ScriptedUpstream, token_first: bool
) -> None:
    gateway, who = pair[0], f"slow-{token_first}"
    token = token_of(gateway, who)
    if token_first:
        assert (await Caller(gateway.port).call(token)).is_served
    body = json.dumps(tool("late_order")).encode()
    head = (
        f"POST /mcp/orders HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode() + body[:5])
    await writer.drain()
    lock(gateway, "principal", principal_id=principal(gateway, who))
    await asyncio.to_thread(
        wait_until, lambda: post_as(gateway, who).status_code == 403, seconds=NEW_CALLS_SECONDS, what="the lock"
    )
    writer.write(body[5:])
    answer = await asyncio.wait_for(reader.read(65536), 5)
    writer.close()
    assert b"NOT EXECUTED" in answer
    assert not any(b"late_order" in seen.body for seen in upstream.seen)
