"""What holds when the gateway is killed between two steps of a call, and when the database goes away."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from gateway_project.embedded import Postgres
from sessions import chain
from tests.support.database import migrate, nothing_is_committed
from tests.support.gateway import LiveGateway, gateway_running
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen, scripted_upstream

from .calls import ACCEPT, post, rpc, tool

LABELS = [
    "decided",
    "intent_durable",
    "connected",
    "head_received",
    "answer_received",
    "outcome_durable",
]
STREAM_LABELS = ["message_released"]


def stream_script(seen: Seen, connection: Any) -> None:
    """Send one notification as an event, and then nothing until the gateway is gone."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.sendall(head)
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "working"}}
    event = f"event: message\ndata: {json.dumps(note)}\n\n".encode()
    connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
    connection.recv(1)


def assert_nothing_ran_without_an_intent(gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    """I1: every body that the upstream saw has exactly one intent with its digest."""
    intents = [row["body"]["outbound_sha256"] for row in gateway.events("gateway:call:intent")]
    for seen in upstream.seen:
        assert intents.count(seen.sha256) >= 1


def assert_chains_hold(gateway: LiveGateway) -> None:
    """I4: every chain verifies from its first event, without a gap."""
    rows = gateway.sql("SELECT * FROM gateway_sessions_event ORDER BY instance_id, seq")
    for instance in {row["instance_id"] for row in rows}:
        stored = [
            chain.Stored(
                chain.Entry(
                    row["seq"],
                    round(row["at"].timestamp() * 1_000_000),
                    row["session_id"].bytes if row["session_id"] else chain.NOTHING,
                    row["call_id"].bytes if row["call_id"] else chain.NOTHING,
                    row["name"],
                    row["body"].encode(),
                    row["payload"],
                ),
                row["prev_hash"],
                row["hash"],
            )
            for row in rows
            if row["instance_id"] == instance
        ]
        assert isinstance(chain.verify(instance.bytes, stored), chain.Intact)


@pytest.mark.parametrize("label", [*LABELS, *STREAM_LABELS])
def test_a_gateway_killed_at_any_step_leaves_no_call_without_intent_and_none_without_end(
    gateway_seed: dict[str, Any], upstream: ScriptedUpstream, tmp_path: Path, label: str
) -> None:
    if label in STREAM_LABELS:
        upstream.script = stream_script
    crash = {"WARDGATE_CRASH_AT": label}
    with gateway_running(
        gateway_seed, tmp_path, environment=crash, application="tests.support.crash_app:application"
    ) as gateway:
        with pytest.raises(httpx.HTTPError):
            post(gateway, tool("get_order", order=1)).read()
        wait_until(lambda: gateway.process.poll() is not None, what="the end of the killed gateway")
        gateway.server.environment.pop("WARDGATE_CRASH_AT")
        began = time.monotonic()
        gateway.start()
        assert time.monotonic() - began < 8
        calls = [call for call in gateway.calls() if "gateway:call:intent" in call["events"]]
        assert_nothing_ran_without_an_intent(gateway, upstream)
        for call in calls:
            ends = [name for name in call["events"] if name.startswith("gateway:call:") and not name.endswith("intent")]
            assert len(ends) == 1
        was_intended = label != "decided"
        assert bool(calls) is was_intended
        if was_intended and label != "outcome_durable":
            assert calls[0]["events"][-1] == "gateway:call:outcome_unknown"
        assert_chains_hold(gateway)
        upstream.clear()
        assert post(gateway, tool("get_order", order=2)).status_code == 200


@contextlib.contextmanager
def stream_of_a_call_whose_messages_cannot_be_committed(
    gateway: LiveGateway, upstream: ScriptedUpstream
) -> Iterator[tuple[httpx.Response, Callable[[], None]]]:
    """Give a call's stream, whose intent is durable and nothing else, and what lets the rest become so."""
    arrived, release = threading.Event(), threading.Event()

    def script(seen: Seen, connection: Any) -> None:
        arrived.set()
        release.wait(20)
        stream_script(seen, connection)

    upstream.script = script
    answers: list[httpx.Response] = []
    with contextlib.ExitStack() as stack:
        asked = httpx.stream(
            "POST", gateway.url("orders"), json=tool("get_order"), headers={**gateway.headers(), **ACCEPT}, timeout=10
        )
        caller = threading.Thread(target=lambda: answers.append(stack.enter_context(asked)))
        caller.start()
        assert arrived.wait(10)
        with contextlib.ExitStack() as uncommitted:
            uncommitted.enter_context(nothing_is_committed(gateway.dsn))
            release.set()
            caller.join(10)
            yield answers[0], uncommitted.close


def test_a_notification_that_the_client_got_is_in_the_record_though_the_gateway_was_killed_before_its_commit(
    gateway_seed: dict[str, Any], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with gateway_running(gateway_seed, tmp_path) as gateway:
        with stream_of_a_call_whose_messages_cannot_be_committed(gateway, upstream) as (answer, _):
            told = next(line for line in answer.iter_lines() if line.startswith("data: {"))
            gateway.process.kill()
            wait_until(lambda: gateway.process.poll() is not None, what="the end of the killed gateway")
        gateway.start()
        call = next(call for call in gateway.calls() if "gateway:call:intent" in call["events"])
        assert call["events"] == ["gateway:call:intent", "upstream:message:relayed", "gateway:call:outcome_unknown"]
        assert call["rows"][1]["payload"] == told[len("data: ") :].encode()
        assert_chains_hold(gateway)


def test_where_notifications_wait_for_their_commit_the_client_gets_none_before_it(
    gateway_seed: dict[str, Any], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    waits = {"WARDGATE_RECORD_NOTIFICATIONS_WAIT": "true"}
    with (
        gateway_running(gateway_seed, tmp_path, environment=waits) as gateway,
        stream_of_a_call_whose_messages_cannot_be_committed(gateway, upstream) as (answer, commit),
    ):
        got = queue.Queue[str]()

        def read() -> None:
            got.put(next(line for line in answer.iter_lines() if line.startswith("data: {")))

        reader = threading.Thread(target=read)
        reader.start()
        with pytest.raises(queue.Empty):
            got.get(timeout=0.5)
        commit()
        assert "working" in got.get(timeout=10)
        reader.join(10)


@pytest.fixture
def own_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("pg")
    server = Postgres(folder, throwaway=True)
    server.start()
    try:
        migrate(server.url)
        yield server
    finally:
        server.stop()


def test_without_a_database_calls_are_refused_at_once_and_served_again_when_it_is_back(
    gateway_seed: dict[str, Any], own_database: Postgres, tmp_path: Path
) -> None:
    with scripted_upstream() as upstream:
        seed = {**gateway_seed, "connections": [{**gateway_seed["connections"][0], "upstream_url": upstream.url}]}
        with gateway_running(seed, tmp_path, dsn=own_database.url) as gateway:
            assert "result" in post(gateway, tool("get_order", order=1)).json()
            own_database.stop()
            before = upstream.bytes_seen
            for attempt in range(5):
                began = time.monotonic()
                answer = post(gateway, tool("get_order", order=attempt))
                assert time.monotonic() - began < 1.0
                assert answer.status_code == 200
                assert "NOT EXECUTED" in answer.json()["result"]["content"][0]["text"]
            assert upstream.bytes_seen == before
            assert httpx.get(f"{gateway.origin}/readyz").status_code == 503
            own_database.start()
            began = time.monotonic()
            wait_until(
                lambda: not post(gateway, tool("get_order", order=9)).json()["result"].get("isError"),
                seconds=5,
                what="a served call",
            )
            assert time.monotonic() - began < 5
            assert_chains_hold(gateway)
            assert_nothing_ran_without_an_intent(gateway, upstream)


def test_a_long_outage_still_answers_a_call_with_a_result(
    gateway_seed: dict[str, Any], own_database: Postgres, tmp_path: Path
) -> None:
    limits = {"WARDGATE_POLICY_STALE_SECONDS": "1"}
    with gateway_running(gateway_seed, tmp_path, dsn=own_database.url, environment=limits) as gateway:
        own_database.stop()
        wait_until(
            lambda: "cannot read its policy" in post(gateway, tool("get_order")).text,
            what="the refusal for want of a current policy",
        )
        answer = post(gateway, tool("get_order"))
        assert (answer.status_code, answer.json()["result"]["isError"]) == (200, True)
        assert post(gateway, rpc("initialize", {"protocolVersion": "2025-11-25"})).status_code == 503
        own_database.start()


def test_a_connection_that_cannot_be_used_is_known_only_to_whom_it_is_granted(
    start_gateway: Any, gateway_seed: dict[str, Any], upstream: ScriptedUpstream
) -> None:
    gateway = start_gateway(gateway_seed)
    gateway.sql("UPDATE policies_maskingpattern SET pattern = '('")
    wait_until(lambda: "not configured correctly" in post(gateway, tool("get_order")).text, what="the refusal")
    # Calls that came before the gateway had noticed may have passed.
    upstream.clear()
    assert "not configured correctly" in post(gateway, tool("get_order")).text
    stranger = post(gateway, tool("get_order"), groups=["strangers"])
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (404, 40401)
    assert upstream.bytes_seen == 0


def test_an_answer_that_cannot_be_recorded_never_reaches_the_client(
    gateway_seed: dict[str, Any], own_database: Postgres, tmp_path: Path
) -> None:
    with scripted_upstream() as upstream:
        seed = {**gateway_seed, "connections": [{**gateway_seed["connections"][0], "upstream_url": upstream.url}]}
        limits = {"WARDGATE_RECORD_WITHHOLD_SECONDS": "1"}
        with gateway_running(seed, tmp_path, dsn=own_database.url, environment=limits) as gateway:
            post(gateway, tool("get_order", order=1))
            arrived, release = threading.Event(), threading.Event()

            def script(seen: Seen, connection: Any) -> None:
                from tests.support.upstream import result

                arrived.set()
                release.wait(20)
                connection.sendall(result(seen, "the secret answer"))

            upstream.script = script
            answers: list[httpx.Response] = []
            caller = threading.Thread(target=lambda: answers.append(post(gateway, tool("get_order", order=2))))
            caller.start()
            assert arrived.wait(10)
            own_database.stop()
            release.set()
            caller.join(20)
            assert answers, "the call must end while the database is away"
            assert "the secret answer" not in answers[0].text
            assert "could not be recorded" in answers[0].text
            own_database.start()
            wait_until(lambda: httpx.get(f"{gateway.origin}/readyz").status_code == 200, seconds=10, what="readiness")
            calls = gateway.wait_for_outcomes()
            assert calls[-1]["events"][-1] in {"gateway:call:outcome_unknown", "gateway:call:completed"}
            assert_chains_hold(gateway)
