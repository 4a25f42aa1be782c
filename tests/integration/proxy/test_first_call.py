"""One call through a real gateway: verified, judged, recorded, sent, masked, answered."""

from __future__ import annotations

import json
import socket

import httpx2 as httpx
import pytest

from tests.support.gateway import UPSTREAM_SECRET, LiveGateway
from tests.support.upstream import ScriptedUpstream, Seen, json_answer, result

from .calls import ACCEPT, post, rpc, tool


def test_an_allowed_call_reaches_the_upstream_with_the_connections_credential_only(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    answer = post(live_gateway, tool("get_order", order=7))
    assert (answer.status_code, answer.json()["result"]["content"][0]["text"]) == (200, "fine")
    seen = upstream.seen[-1]
    assert seen.headers["authorization"] == f"Bearer {UPSTREAM_SECRET}"
    assert live_gateway.token() not in str(seen)


def test_the_intent_holds_the_digest_of_the_bytes_that_the_upstream_saw(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    post(live_gateway, tool("get_order", order=8))
    intent = live_gateway.events("gateway:call:intent")[-1]
    assert intent["body"]["outbound_sha256"] == upstream.seen[-1].sha256


def test_what_matches_a_pattern_is_masked_for_the_client_and_in_the_record(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script = lambda seen, connection: connection.sendall(result(seen, "write to ann@example.com now"))
    answer = post(live_gateway, tool("get_order", contact="bob@example.com"))
    assert "ann@example.com" not in answer.text
    assert answer.json()["result"]["content"][0]["text"] == "write to [MASKED:email] now"
    recorded = str([row["payload"] for row in live_gateway.events()])
    assert "ann@example.com" not in recorded
    assert "bob@example.com" not in recorded


def test_an_echoed_credential_never_comes_back(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    upstream.script = lambda seen, connection: connection.sendall(result(seen, f"got {seen.headers['authorization']}"))
    answer = post(live_gateway, tool("get_order"))
    assert UPSTREAM_SECRET not in answer.text


@pytest.mark.parametrize(
    ("name", "words"),
    [("delete_order", "blocked by policy"), ("refund_order", "needs approval APR-")],
)
def test_a_refused_call_is_an_error_result_and_the_upstream_sees_nothing(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, name: str, words: str
) -> None:
    answer = post(live_gateway, tool(name), accept="application/json", x_approval_wait="1")
    assert answer.status_code == 200
    assert answer.json()["result"]["isError"] is True
    assert words in answer.json()["result"]["content"][0]["text"]
    assert upstream.bytes_seen == 0


def test_a_tool_without_a_rule_is_unknown(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    answer = post(live_gateway, tool("drop_everything"), groups=["readers"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32602)
    assert upstream.bytes_seen == 0


def test_without_a_grant_the_connection_does_not_exist(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    headers = {**live_gateway.headers(groups=["strangers"]), **ACCEPT}
    known, unknown = (
        httpx.post(live_gateway.url(slug), json=tool("get_order"), headers=headers) for slug in ("orders", "nothing")
    )
    assert known.status_code == unknown.status_code == 404
    assert known.content == unknown.content
    assert upstream.bytes_seen == 0


def test_lists_show_what_a_call_would_be_allowed(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    tools = [{"name": name, "inputSchema": {}} for name in ("get_order", "delete_order", "refund_order", "put_order")]

    def script(seen: Seen, connection: socket.socket) -> None:
        answer = {"jsonrpc": "2.0", "id": seen.message["id"], "result": {"tools": tools, "nextCursor": "c1"}}
        connection.sendall(json_answer(json.dumps(answer).encode()))

    upstream.script = script
    listed = post(live_gateway, rpc("tools/list"), groups=["readers"]).json()["result"]
    assert [entry["name"] for entry in listed["tools"]] == ["get_order"]
    assert listed["nextCursor"] == "c1"


@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("token", [None, "Bearer x", "Basic eDp4", "Bearer a.b.c"])
def test_nobody_passes_without_a_valid_token(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, verb: str, token: str | None
) -> None:
    headers = {} if token is None else {"authorization": token}
    answer = httpx.request(verb, live_gateway.url("orders"), headers=headers)
    assert answer.status_code == 401
    assert "/.well-known/oauth-protected-resource/mcp/orders" in answer.headers["www-authenticate"]
    assert upstream.bytes_seen == 0
