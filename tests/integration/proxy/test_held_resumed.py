"""A legacy client that loses its connection has cancelled nothing; the end of a modern client's is the cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

from .approvals import decide, pending, request
from .calls import ACCEPT, post, rpc, tool
from .held import PYTHON, Held, calls_seen
from .test_held_calls import MODERN
from .test_sessions_and_streams import initialize

META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "mcp", "version": "2"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN_HEADERS = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "refund_order"}


def is_used(gateway: LiveGateway, code: str) -> Callable[[], bool]:
    return lambda: request(gateway, code)["state"] == "used"


@contextmanager
def another_process(first: LiveGateway, folder: Path) -> Iterator[LiveGateway]:
    """Run one more gateway process on the same database, with the same keys and address."""
    second = LiveGateway(dsn=first.dsn, folder=folder, environment=first.environment)
    second.issuer = first.issuer
    second.start()
    try:
        yield second
    finally:
        second.stop()


def test_the_stream_of_a_held_call_begins_with_the_id_to_come_back_with(
    live_gateway: LiveGateway, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=101))
    waiting = pending(live_gateway)
    assert call.id.startswith("wgs.")
    assert call.retries == [2000]
    assert waiting["code"] not in call.id
    decide(live_gateway, waiting["code"])
    assert call.text == "fine"
    assert len(call.ids) == 1


def test_a_call_whose_connection_broke_waits_on_and_its_client_fetches_the_answer(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold({**tool("refund_order", id=102), "id": "mine"})
    waiting = pending(live_gateway)
    stream_id = call.id
    call.leave()
    back = hold(None, resume=stream_id)
    assert back.id.startswith("wgs.")
    assert request(live_gateway, waiting["code"])["state"] == "held"
    decide(live_gateway, waiting["code"])
    assert (back.message["id"], back.text) == ("mine", "fine")
    assert len(calls_seen(upstream)) == 1
    assert [seen.verb for seen in upstream.seen].count("GET") == 0
    noted = live_gateway.events("approval:client:%")
    assert [event["name"] for event in noted[-2:]] == ["approval:client:left", "approval:client:returned"]


def test_what_was_approved_while_nobody_was_there_runs_once_and_its_answer_is_kept(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold({**tool("refund_order", id=103), "id": 7})
    waiting = pending(live_gateway)
    stream_id = call.id
    call.leave()
    decide(live_gateway, waiting["code"])
    wait_until(is_used(live_gateway, waiting["code"]), seconds=5, what="the run")
    for _ in range(2):
        back = hold(None, resume=stream_id)
        assert (back.message["id"], back.text) == (7, "fine")
    assert len(calls_seen(upstream)) == 1


def test_a_client_that_only_sends_the_same_call_again_gets_the_answer_of_the_run_it_missed(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=104))
    waiting = pending(live_gateway)
    assert call.id
    call.leave()
    decide(live_gateway, waiting["code"])
    live_gateway.wait_for_outcomes()
    owed = "SELECT is_owed FROM policies_approvalrun WHERE request_id = %s"
    wait_until(lambda: live_gateway.sql(owed, waiting["id"]) == [{"is_owed": True}], seconds=5, what="the note")
    again = hold({**tool("refund_order", id=104), "id": "again"})
    assert (again.message["id"], again.text) == ("again", "fine")
    assert len(calls_seen(upstream)) == 1
    # It has its answer now: the next one asks anew.
    third = hold(tool("refund_order", id=104))
    assert pending(live_gateway)["id"] != waiting["id"]
    decide(live_gateway, pending(live_gateway)["code"], approve=False)
    assert "Denied" in third.text


def test_a_client_that_sends_the_same_call_again_joins_the_request_and_one_of_them_runs(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=105))
    waiting = pending(live_gateway)
    assert call.id
    call.leave()
    again = hold({**tool("refund_order", id=105), "id": 2})
    assert again.id
    reasons = lambda: [event["body"]["reason"] for event in live_gateway.events("gateway:call:denied")]  # noqa: E731
    wait_until(lambda: "repeated" in reasons(), seconds=5, what="the end of the first call")
    decide(live_gateway, waiting["code"])
    assert (again.message["id"], again.text) == (2, "fine")
    assert len(calls_seen(upstream)) == 1


def test_a_call_whose_client_has_ended_its_session_runs_for_whoever_sends_it_again_and_for_nobody_else(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    first = initialize(live_gateway, upstream)
    call = hold(tool("refund_order", id=107), **{"mcp-session-id": first})
    waiting = pending(live_gateway)
    assert call.id
    call.leave()
    headers = {**live_gateway.headers(), **ACCEPT, "mcp-session-id": first}
    assert httpx.delete(live_gateway.url("orders"), headers=headers, timeout=10).status_code == 200
    ended = "SELECT count(*) FROM gateway_sessions_session WHERE id = %s AND ended_at IS NOT NULL"
    wait_until(
        lambda: live_gateway.sql(ended, waiting["session_id"])[0]["count"] == 1,
        seconds=5,
        what="the end of the session",
    )
    decide(live_gateway, waiting["code"])

    def is_denied() -> bool:
        return "session_over" in [event["body"]["reason"] for event in live_gateway.events("gateway:call:denied")]

    wait_until(is_denied, seconds=5, what="the end of the call")
    assert calls_seen(upstream) == []
    second = initialize(live_gateway, upstream)
    again = hold({**tool("refund_order", id=107), "id": 9}, **{"mcp-session-id": second})
    assert (again.message["id"], again.text) == (9, "fine")
    assert len(calls_seen(upstream)) == 1
    assert request(live_gateway, waiting["code"])["state"] == "used"


def test_nobody_else_gets_at_a_stream_and_nothing_of_that_reaches_the_upstream(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=106))
    waiting = pending(live_gateway)
    stream_id = call.id
    changed = stream_id[:-1] + ("A" if stream_id[-1] != "A" else "B")
    for tried in (
        hold(None, resume=stream_id, who={"sub": "mallory"}),
        hold(None, resume=stream_id, who={"client_id": "another-client"}),
        hold(None, resume=changed),
        hold(None, resume="wgs."),
        hold(None, resume="wgs." + "A" * 3000),
    ):
        assert tried.message["error"]["message"] == "Unknown Last-Event-ID"
        assert tried.status == 404
    assert [seen.verb for seen in upstream.seen].count("GET") == 0
    decide(live_gateway, waiting["code"])
    assert call.text == "fine"


def test_a_stream_goes_on_at_another_gateway_process(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held], tmp_path: Path
) -> None:
    with another_process(live_gateway, tmp_path) as second:
        call = hold({**tool("refund_order", id=107), "id": "a"})
        waiting = pending(live_gateway)
        stream_id = call.id
        call.leave()
        back = Held(second, None, resume=stream_id)
        assert back.id
        decide(live_gateway, waiting["code"])
        assert (back.message["id"], back.text) == ("a", "fine")
        again = Held(second, None, resume=stream_id)
        assert again.text == "fine"
    assert len(calls_seen(upstream)) == 1


def test_a_stream_goes_on_after_the_gateway_was_killed(
    start_gateway: Callable[..., LiveGateway], gateway_seed: dict[str, Any], upstream: ScriptedUpstream
) -> None:
    gateway = start_gateway(gateway_seed)
    call = Held(gateway, {**tool("refund_order", id=108), "id": "a"})
    waiting = pending(gateway)
    stream_id = call.id
    gateway.kill()
    gateway.start()
    back = Held(gateway, None, resume=stream_id)
    assert back.id
    decide(gateway, waiting["code"])
    assert (back.message["id"], back.text) == ("a", "fine")
    assert [message["params"]["arguments"] for message in calls_seen(upstream)] == [{"id": 108}]


def test_a_stream_that_comes_back_with_what_was_decided_meanwhile_is_told(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=109))
    waiting = pending(live_gateway)
    stream_id = call.id
    call.leave()
    decide(live_gateway, waiting["code"], approve=False, reason="not today")
    back = hold(None, resume=stream_id)
    assert "not today" in back.text
    assert calls_seen(upstream) == []


def test_an_ordinary_stream_still_goes_to_the_upstream(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    headers = {**live_gateway.headers(), "accept": "text/event-stream", "last-event-id": "theirs-7"}
    httpx.get(live_gateway.url("orders"), headers=headers, timeout=10)
    [seen] = [seen for seen in upstream.seen if seen.verb == "GET"]
    assert seen.headers["last-event-id"] == "theirs-7"


def test_a_modern_client_that_leaves_has_cancelled_and_its_call_does_not_run(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    params = {"name": "refund_order", "arguments": {"id": 110}, "_meta": META}
    call = hold(rpc("tools/call", params), **MODERN_HEADERS)
    waiting = pending(live_gateway)
    call.waits()
    assert call.ids == []
    call.leave()
    decide(live_gateway, waiting["code"])
    post(live_gateway, tool("get_order"), **PYTHON)
    assert [message["params"]["name"] for message in calls_seen(upstream)] == ["get_order"]
    assert request(live_gateway, waiting["code"])["state"] == "approved"


def test_the_head_of_a_modern_stream_is_there_at_once(live_gateway: LiveGateway, hold: Callable[..., Held]) -> None:
    params = {"name": "refund_order", "arguments": {"id": 111}, "_meta": META}
    call = hold(rpc("tools/call", params), **MODERN_HEADERS)
    wait_until(lambda: call.status == 200, seconds=1, what="the head of the stream")
    decide(live_gateway, pending(live_gateway)["code"], approve=False)
    assert "Denied" in call.text
