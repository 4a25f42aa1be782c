"""The caps on addresses, principals, connections and sessions, at a gateway that was given small ones."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.callers import Answer, Caller
from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen, default_script

from .calls import ACCEPT
from .test_sessions_and_streams import INITIALIZE, session_script

PATIENCE_SECONDS = 5


@pytest.fixture(scope="module")
def gateway_environment() -> dict[str, str]:
    return {
        "WARDGATE_ADDRESS_FAILURES_PER_SECOND": "5",
        "WARDGATE_ADDRESS_DOOR_REQUESTS_PER_SECOND": "4",
        "WARDGATE_PRINCIPAL_CALLS": "2",
        "WARDGATE_CONNECTION_CALLS": "3",
        "WARDGATE_PRINCIPAL_SESSIONS": "3",
        "WARDGATE_SESSIONS": "25",
        "WARDGATE_PRINCIPAL_REQUESTS_PER_SECOND": "100",
    }


def waiting_script(seen: Seen, connection: socket.socket) -> None:
    """Answer everything but the tool `wait`."""
    if seen.verb == "POST" and b'"wait"' in seen.body:
        connection.recv(1)
    else:
        default_script(seen, connection)


def assert_refused(answer: Answer, code: str, status: int = 429) -> None:
    assert answer.status == status
    assert int(answer.headers["retry-after"]) >= 1
    assert code.encode() in answer.body


def wait_for_refusal(gateway: LiveGateway, code: str) -> dict[str, Any]:
    """Return the recorded refusal of `code`."""

    def found() -> list[Any]:
        return [event for event in gateway.events("gateway:request:refused") if event["body"]["code"] == code]

    wait_until(lambda: bool(found()), seconds=PATIENCE_SECONDS, what=f"a recorded {code}")
    return dict(found()[-1]["body"])


async def test_a_principal_has_so_many_calls_under_way_and_others_go_on(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script = waiting_script
    greedy = live_gateway.token("greedy")
    waiting = [asyncio.create_task(Caller(live_gateway.port).call(greedy, "wait")) for _ in range(2)]
    await asyncio.to_thread(wait_until, lambda: len(upstream.seen) == 2, seconds=PATIENCE_SECONDS, what="both calls")
    assert_refused(await Caller(live_gateway.port).call(greedy), "too_many_calls")
    assert (await Caller(live_gateway.port).call(live_gateway.token("modest"))).is_served
    event = await asyncio.to_thread(wait_for_refusal, live_gateway, "too_many_calls")
    assert event["subject"] == "greedy"
    third = asyncio.create_task(Caller(live_gateway.port).call(live_gateway.token("modest"), "wait"))
    await asyncio.to_thread(
        wait_until,
        lambda: sum(b'"wait"' in seen.body for seen in upstream.seen) == 3,
        seconds=PATIENCE_SECONDS,
        what="the third call",
    )
    assert_refused(await Caller(live_gateway.port).call(live_gateway.token("late")), "connection_busy")
    for task in (*waiting, third):
        task.cancel()
    await asyncio.gather(*waiting, third, return_exceptions=True)


async def test_a_principal_has_so_many_sessions_and_an_ended_one_makes_room(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script = session_script
    token, caller = live_gateway.token("opener"), Caller(live_gateway.port)
    opened = [await caller.post(token, INITIALIZE) for _ in range(3)]
    assert [answer.status for answer in opened] == [200] * 3
    before = live_gateway.sql("SELECT count(*) AS n FROM gateway_sessions_session")[0]["n"]
    refused = await caller.post(token, INITIALIZE)
    assert_refused(refused, "too_many_sessions")
    assert live_gateway.sql("SELECT count(*) AS n FROM gateway_sessions_session")[0]["n"] == before
    assert (await caller.call(token)).is_served
    assert (await caller.post(live_gateway.token("other opener"), INITIALIZE)).status == 200
    headers = {**ACCEPT, "authorization": f"Bearer {token}", "mcp-session-id": opened[0].headers["mcp-session-id"]}
    assert httpx.delete(live_gateway.url("orders"), headers=headers, timeout=10).status_code == 200
    assert (await caller.post(token, INITIALIZE)).status == 200


async def test_a_principal_sends_so_many_requests_a_second(live_gateway: LiveGateway) -> None:
    token, caller = live_gateway.token("runner"), Caller(live_gateway.port)
    answers = [await caller.post(token, b"{") for _ in range(400)]
    statuses = {answer.status for answer in answers}
    assert statuses == {400, 429}
    assert sum(answer.status == 400 for answer in answers) >= 200
    assert_refused(next(answer for answer in answers if answer.status == 429), "rate_limited")


async def test_failures_of_an_address_are_limited_and_its_verified_callers_are_not(live_gateway: LiveGateway) -> None:
    known, new = live_gateway.token("honest"), live_gateway.token("newcomer")
    honest = Caller(live_gateway.port)
    assert (await honest.call(known)).is_served
    failing = [Caller(live_gateway.port) for _ in range(4)]
    answers = [
        answer
        for token in ("", "garbage", "a.b.c")
        for answer in await asyncio.gather(*(one.call(token) for one in failing))
    ]
    # On a slow machine the bucket fills up a little meanwhile.
    while answers[-1].status == 401 and len(answers) < 200:
        answers += await asyncio.gather(*(one.call("garbage") for one in failing))
    assert {answer.status for answer in answers} == {401, 429}
    assert_refused(next(answer for answer in answers if answer.status == 429), "too_many_failures")
    assert (await honest.call(known)).is_served
    assert_refused(await Caller(live_gateway.port).call(new), "too_many_failures")
    assert (await Caller(live_gateway.port, address="127.0.0.2").call(new)).is_served
    event = await asyncio.to_thread(wait_for_refusal, live_gateway, "too_many_failures")
    assert (event["address"], event["connection"]) == ("127.0.0.1", "orders")


async def test_all_together_have_so_many_sessions(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    upstream.script = session_script
    caller = Caller(live_gateway.port, address="127.0.0.3")
    answers = [await caller.post(live_gateway.token(f"crowd-{number}"), INITIALIZE) for number in range(26)]
    assert answers[0].status == 200
    assert_refused(answers[-1], "gateway_full", 503)


@pytest.mark.parametrize("door", ["/oauth/token", "/oauth/revoke", "/oidc/backchannel-logout", "/events/push"])
def test_an_address_knocks_so_often_where_nobody_is_known_yet(live_gateway: LiveGateway, door: str) -> None:
    # Each test from an address of its own.
    address = f"127.0.1.{sum(door.encode()) % 250 + 1}"
    with httpx.Client(base_url=live_gateway.origin, transport=httpx.HTTPTransport(local_address=address)) as client:
        answers = [client.post(door, data={"token": "garbage"}) for _ in range(20)]
        assert {answer.status_code for answer in answers[:8]} <= {200, 400, 401}
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1
        assert refused[0].json()["error"] == "rate_limited"
        assert client.get("/healthz").status_code == 200
