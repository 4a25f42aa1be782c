"""A held call waits for a human; what was approved runs once, and the client understands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, json_answer

from .approvals import decide, pending, request
from .calls import in_force, post, tool
from .held import KEY, PYTHON, Held, calls_seen

JSON_ONLY = {"accept": "application/json"}
"""Such a client gets no stream to come back to: with its connection the call ends."""


def test_an_approved_call_runs_with_the_bytes_that_were_held_and_its_client_gets_the_answer(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=1))
    waiting = pending(live_gateway)
    assert calls_seen(upstream) == []
    decide(live_gateway, waiting["code"])
    assert call.text == "fine"
    assert call.status == 200
    assert [message["params"]["arguments"] for message in calls_seen(upstream)] == [{"id": 1}]
    assert request(live_gateway, waiting["code"])["state"] == "used"
    live_gateway.wait_for_outcomes()
    events = [call["events"] for call in live_gateway.calls() if call["name"] == "refund_order"]
    assert events[-1] == [
        "approval:request:held",
        "approval:request:approved",
        "gateway:call:intent",
        "gateway:call:completed",
    ]
    intent = live_gateway.events("gateway:call:intent")[-1]["body"]
    assert (intent["approval"], intent["rule"]) == (waiting["code"], "refunds wait")
    [use] = live_gateway.sql("SELECT consumed_at FROM policies_approvaluse WHERE request_id = %s", waiting["id"])
    assert use["consumed_at"] is not None


def test_a_denied_call_never_reaches_the_upstream_and_says_who_and_why(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=2))
    waiting = pending(live_gateway)
    decide(live_gateway, waiting["code"], approve=False, reason="not in the change window")
    assert call.result["isError"] is True
    assert "Denied by grace" in call.text
    assert "not in the change window" in call.text
    assert call.result["_meta"][KEY]["retry"] == "no"
    assert calls_seen(upstream) == []


def test_an_identical_call_joins_the_request_and_other_arguments_open_another(
    live_gateway: LiveGateway, hold: Callable[..., Held]
) -> None:
    first = hold(tool("refund_order", id=3, note="a"))
    waiting = pending(live_gateway)
    same = {"jsonrpc": "2.0", "id": "other", "method": "tools/call"}
    second = hold({**same, "params": {"name": "refund_order", "arguments": {"note": "a", "id": 3}}})
    other = hold(tool("refund_order", id=4))
    wait_until(lambda: pending(live_gateway)["code"] != waiting["code"], seconds=5, what="another request")
    assert pending(live_gateway)["changed_from_id"] == waiting["id"]
    rows = live_gateway.sql("SELECT count(*) FROM policies_approvalrequest WHERE arguments->>'note' = 'a'")
    assert rows[0]["count"] == 1
    decide(live_gateway, waiting["code"])
    assert (first.text, second.text) == ("fine", "fine")
    assert (first.message["id"], second.message["id"]) == (1, "other")
    decide(live_gateway, pending(live_gateway)["code"], approve=False)
    assert "Denied" in other.text


def test_a_call_that_is_repeated_after_the_approval_runs_as_it_was_approved_under_its_own_id(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=5), **JSON_ONLY)
    waiting = pending(live_gateway)
    call.leave()
    decide(live_gateway, waiting["code"])
    again = {"jsonrpc": "2.0", "id": "again", "method": "tools/call"}
    answer = post(live_gateway, {**again, "params": {"name": "refund_order", "arguments": {"id": 5}}}, **PYTHON)
    assert answer.json()["id"] == "again"
    assert answer.json()["result"]["content"][0]["text"] == "fine"
    assert [message["id"] for message in calls_seen(upstream)] == [1]


def test_a_client_that_can_wait_no_longer_is_told_how_to_go_on(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    principal = live_gateway.sql("SELECT id FROM accounts_principal WHERE subject = 'alice'")
    if not principal:
        post(live_gateway, tool("get_order"))
    live_gateway.sql(
        "INSERT INTO policies_clientpatience (principal_id, connection_id, client_name, user_agent, budget_seconds, "
        "is_fixed, changed_at) SELECT p.id, c.id, '', 'impatient/1', 1.0, true, now() FROM accounts_principal p, "
        "connections_connection c WHERE p.subject = 'alice' AND c.slug = 'orders'"
    )
    call = hold(tool("refund_order", id=6), **{"user-agent": "impatient/1"})
    assert "needs approval APR-" in call.text
    assert call.result["_meta"][KEY]["status"] == "pending"
    assert call.result["_meta"][KEY]["retry"] == "same_arguments"
    assert calls_seen(upstream) == []
    decide(live_gateway, pending(live_gateway)["code"], approve=False)


def test_what_changes_between_the_approval_and_the_run_takes_the_approval_away(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    call = hold(tool("refund_order", id=7), **JSON_ONLY)
    waiting = pending(live_gateway)
    call.leave()
    decide(live_gateway, waiting["code"])
    rule = {"name": "no refunds now", "effect": "deny", "methods": ["tools/call"], "names": ["refund_*"]}
    live_gateway.seed({"guardrails": [rule]})
    in_force(live_gateway)
    answer = post(live_gateway, tool("refund_order", id=7), **PYTHON)
    assert "no refunds now" in answer.json()["result"]["content"][0]["text"]
    live_gateway.seed({"guardrails": [{**rule, "is_active": False}]})
    in_force(live_gateway)
    assert calls_seen(upstream) == []


def test_who_asked_cannot_decide(live_gateway: LiveGateway, hold: Callable[..., Held]) -> None:
    hold(tool("refund_order", id=8))
    waiting = pending(live_gateway)
    with pytest.raises(AssertionError, match="OwnRequest"):
        decide(live_gateway, waiting["code"], by="alice-at-the-console", as_principal="alice")
    decide(live_gateway, waiting["code"], approve=False)


MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "claude-code", "version": "2"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}


def modern(gateway: LiveGateway, method: str, params: dict[str, Any], name: str, **who: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    headers = {
        **gateway.headers(**who),
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
        **({"mcp-name": name} if name else {}),
    }
    return dict(httpx.post(gateway.url("orders"), json=message, headers=headers, timeout=15).json())


def task_of(gateway: LiveGateway, task_id: str, method: str = "tasks/get", **who: Any) -> dict[str, Any]:
    return modern(gateway, method, {"taskId": task_id}, task_id, **who)


def begun(gateway: LiveGateway, **arguments: Any) -> dict[str, Any]:
    """Call a tool that is held, as a client that knows tasks, and return the task."""
    return dict(
        modern(gateway, "tools/call", {"name": "refund_order", "arguments": arguments}, "refund_order")["result"]
    )


def test_a_client_that_knows_tasks_gets_one_at_once_and_its_result_when_it_was_approved(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    task = begun(live_gateway, id=20)
    waiting = pending(live_gateway)
    assert (task["resultType"], task["status"]) == ("task", "working")
    assert task["taskId"].startswith("apr-" + waiting["code"].removeprefix("APR-"))
    assert waiting["code"] in task_of(live_gateway, task["taskId"])["result"]["statusMessage"]
    assert calls_seen(upstream) == []
    decide(live_gateway, waiting["code"])
    done: list[dict[str, Any]] = []

    def is_done() -> bool:
        done[:] = [task_of(live_gateway, task["taskId"])["result"]]
        return bool(done[0]["status"] == "completed")

    wait_until(is_done, seconds=5, what="the end of the task")
    assert done[0]["result"]["content"][0]["text"] == "fine"
    assert len(calls_seen(upstream)) == 1


def test_a_denied_task_is_completed_with_the_reason(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    task = begun(live_gateway, id=21)
    decide(live_gateway, pending(live_gateway)["code"], approve=False, reason="no")
    found = task_of(live_gateway, task["taskId"])["result"]
    assert (found["status"], found["result"]["isError"]) == ("completed", True)
    assert "Denied by grace" in found["result"]["content"][0]["text"]
    assert calls_seen(upstream) == []


def test_a_task_nobody_decided_about_is_completed_as_soon_as_it_has_expired(live_gateway: LiveGateway) -> None:
    task = begun(live_gateway, id=25)
    waiting = pending(live_gateway)
    move = "UPDATE policies_approvalrequest SET expires_at = %s WHERE id = %s"
    live_gateway.sql(move, waiting["opened_at"], waiting["id"])
    found = task_of(live_gateway, task["taskId"])["result"]
    assert (found["status"], found["result"]["isError"]) == ("completed", True)
    assert "expired without a decision" in found["result"]["content"][0]["text"]
    live_gateway.sql(move, waiting["expires_at"], waiting["id"])
    decide(live_gateway, waiting["code"], approve=False)


def test_the_task_of_somebody_else_is_unknown(live_gateway: LiveGateway) -> None:
    task = begun(live_gateway, id=22)
    assert task_of(live_gateway, task["taskId"], sub="mallory")["error"]["message"] == "Unknown task"
    assert task_of(live_gateway, task["taskId"][:-1] + "a", "tasks/cancel")["error"]["message"] == "Unknown task"
    decide(live_gateway, pending(live_gateway)["code"], approve=False)


def test_a_task_that_its_client_cancels_is_withdrawn(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    task = begun(live_gateway, id=23)
    waiting = pending(live_gateway)
    task_of(live_gateway, task["taskId"], "tasks/cancel")
    assert request(live_gateway, waiting["code"])["state"] == "cancelled"
    assert "withdrawn" in task_of(live_gateway, task["taskId"])["result"]["result"]["content"][0]["text"]
    assert calls_seen(upstream) == []


def test_a_legacy_client_takes_a_held_call_back_with_a_notification(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    hold({**tool("refund_order", id=24), "id": "take-back"})
    waiting = pending(live_gateway)
    post(live_gateway, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "take-back"}})
    wait_until(lambda: request(live_gateway, waiting["code"])["state"] == "cancelled", seconds=5, what="the withdrawal")
    assert calls_seen(upstream) == []


def test_where_calls_may_be_held_discovery_offers_tasks(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    offered = {"tools": {}, "extensions": {"example/other": {"x": 1}}}
    body = {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "capabilities": offered}}
    upstream.script = lambda seen, connection: connection.sendall(json_answer(json.dumps(body).encode()))
    found = modern(live_gateway, "server/discover", {}, "")["result"]["capabilities"]
    assert found == {"tools": {}, "extensions": {"example/other": {"x": 1}, "io.modelcontextprotocol/tasks": {}}}


def test_a_task_whose_gateway_was_restarted_runs_when_its_client_asks_for_it(
    start_gateway: Callable[..., LiveGateway], gateway_seed: dict[str, Any], upstream: ScriptedUpstream
) -> None:
    gateway = start_gateway(gateway_seed)
    task = begun(gateway, id=30)
    gateway.kill()
    gateway.start()
    decide(gateway, pending(gateway)["code"])
    done: list[dict[str, Any]] = []

    def is_done() -> bool:
        done[:] = [task_of(gateway, task["taskId"])["result"]]
        return bool(done[0]["status"] == "completed")

    wait_until(is_done, seconds=8, what="the end of the task")
    assert done[0]["result"]["content"][0]["text"] == "fine"
    assert [message["params"]["arguments"] for message in calls_seen(upstream)] == [{"id": 30}]
