"""Codex is sent to the page of the request, and waits as long as nobody has declined to go there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.gateway import LiveGateway, StartGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

from .approvals import decide, pending, request
from .calls import ACCEPT, post, rpc, tool
from .held import KEY, Held, calls_seen
from .test_held_resumed import another_process
from .test_sessions_and_streams import session_script

CODEX = {"user-agent": "codex-mcp-client/0.169.0"}
WAIT = 5.0


@pytest.fixture
def gateway(start_gateway: StartGateway, gateway_seed: dict[str, Any], upstream: ScriptedUpstream) -> LiveGateway:
    """A gateway that people reach by https."""
    upstream.script = session_script
    started: LiveGateway = start_gateway(gateway_seed, environment={"WARDGATE_PUBLIC_URL": "https://127.0.0.1:8443"})
    return started


def session_of(gateway: LiveGateway, capabilities: dict[str, Any]) -> dict[str, str]:
    """Open a session as Codex and return the headers of its requests."""
    who = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "codex-mcp-client"}}
    headers = {**gateway.headers(), **ACCEPT, **CODEX}
    answer = httpx.post(gateway.url("orders"), json=rpc("initialize", who), headers=headers, timeout=10)
    return {**CODEX, "mcp-session-id": str(answer.headers["mcp-session-id"])}


def question(call: Held) -> dict[str, Any]:
    """Return what the client was asked, once it was."""
    wait_until(lambda: bool(call.events), seconds=8, what="the question")
    return call.events[0]


def answer(gateway: LiveGateway, asked: str, action: str, headers: dict[str, str]) -> int:
    """Answer as a client does, and return the status."""
    body = {"jsonrpc": "2.0", "id": asked, "result": {"action": action}}
    sent = {**gateway.headers(), **ACCEPT, **headers}
    return httpx.post(gateway.url("orders"), json=body, headers=sent, timeout=10).status_code


def held(gateway: LiveGateway, order: int, headers: dict[str, str]) -> Held:
    return Held(gateway, tool("refund_order", id=order), **{**headers, "x-approval-wait": f"{WAIT:.0f}"})


def test_who_accepts_waits_as_long_as_the_request_and_who_declines_no_longer_than_usual(
    gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    headers = session_of(gateway, {"elicitation": {"form": {}, "url": {}}})
    began = time.monotonic()
    call = held(gateway, 301, headers)
    waiting = pending(gateway)
    asked = question(call)
    assert time.monotonic() - began >= 3
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["mode"] == "url"
    assert asked["params"]["url"] == f"https://127.0.0.1:8443/approvals/{waiting['code']}/"
    assert waiting["code"] in asked["params"]["message"]
    assert answer(gateway, asked["id"], "accept", headers) == 202
    declined = held(gateway, 302, headers)
    assert answer(gateway, question(declined)["id"], "decline", headers) == 202
    assert declined.result["_meta"][KEY]["status"] == "pending"
    assert time.monotonic() - began > WAIT
    decide(gateway, waiting["code"])
    assert call.text == "fine"
    said = [event["body"]["reason"] for event in gateway.events("approval:client:answered")]
    assert said == ["accept", "decline"]
    posted = [seen.message for seen in upstream.seen if seen.verb == "POST"]
    assert [message for message in posted if "method" not in message] == []
    relayed = [json.loads(event["payload"]) for event in gateway.events("upstream:message:relayed")]
    assert asked in relayed


def test_an_answer_counts_at_any_gateway_process_and_for_nobody_elses_session(
    gateway: LiveGateway, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    headers = session_of(gateway, {"elicitation": {"url": {}}})
    call = held(gateway, 303, headers)
    asked = question(call)["id"]
    with another_process(gateway, tmp_path) as second:
        assert answer(second, asked, "decline", {**CODEX, "x-other": "no session"}) == 202
        assert answer(second, "wardgate-url-" + "0" * 32, "decline", headers) == 202
        assert gateway.events("approval:client:answered") == []
        assert answer(second, asked, "cancel", headers) == 202
        wait_until(lambda: bool(gateway.events("approval:client:answered")), seconds=5, what="the answer")
    assert call.result["_meta"][KEY]["status"] == "pending"
    assert [message for message in calls_seen(upstream) if message.get("id") == asked] == []


def test_a_client_that_opens_no_addresses_is_not_sent_to_one(gateway: LiveGateway) -> None:
    call = held(gateway, 304, session_of(gateway, {"elicitation": {"form": {}}}))
    assert call.result["_meta"][KEY]["status"] == "pending"
    assert len(call.events) == 1


def test_nobody_is_sent_to_an_address_without_encryption(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    upstream.script = session_script
    call = held(live_gateway, 305, session_of(live_gateway, {"elicitation": {"url": {}}}))
    waiting = pending(live_gateway)
    assert call.result["_meta"][KEY]["status"] == "pending"
    assert len(call.events) == 1
    decide(live_gateway, waiting["code"], approve=False)


def test_a_call_is_taken_back_at_another_gateway_process(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held], tmp_path: Path
) -> None:
    upstream.script = session_script
    headers = session_of(live_gateway, {})
    call = hold({**tool("refund_order", id=306), "id": "mine"}, **headers)
    waiting = pending(live_gateway)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}}
    with another_process(live_gateway, tmp_path) as second:
        # In a session of its own it takes nothing back.
        post(second, cancel)
        post(second, {**cancel, "params": {"requestId": "other"}}, **headers)
        assert request(live_gateway, waiting["code"])["state"] == "held"
        post(second, cancel, **headers)
        wait_until(
            lambda: request(live_gateway, waiting["code"])["state"] == "cancelled", seconds=5, what="the withdrawal"
        )
    call.ends()
    assert calls_seen(upstream) == []
