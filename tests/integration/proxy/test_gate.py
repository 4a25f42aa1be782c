"""The gates before an exchange: what a raw request may look like. Nothing refused here reaches the upstream."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.gateway import LiveGateway
from tests.support.idp import ABSENT
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

from .calls import ACCEPT, post, rpc, tool

CALL = json.dumps(tool("get_order")).encode()


def raw(gateway: LiveGateway, head: str, body: bytes = CALL) -> bytes:
    """Send bytes as they are and return everything that comes back until the server closes."""
    head = head.replace("@TOKEN@", gateway.token()).replace("@HOST@", f"127.0.0.1:{gateway.port}")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + body)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def head(*lines: str, path: str = "/mcp/orders", host: str = "@HOST@", length: int = len(CALL)) -> str:
    given = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Authorization: Bearer @TOKEN@",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Content-Length: {length}",
        "Connection: close",
        *lines,
    ]
    return "\n".join(given) + "\n\n"


def test_the_plain_request_passes(live_gateway: LiveGateway) -> None:
    assert status_of(raw(live_gateway, head())) == 200


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer other",
        "Host: evil.example",
        "Content-Type: application/json",
        "Mcp-Session-Id: a\nMcp-Session-Id: b",
        "MCP-Protocol-Version: 2025-11-25\nMCP-Protocol-Version: 2025-06-18",
        "Origin: http://a\nOrigin: http://b",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
    ],
)
def test_a_doubled_header_is_refused(live_gateway: LiveGateway, upstream: ScriptedUpstream, line: str) -> None:
    assert status_of(raw(live_gateway, head(line))) == 400
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize(
    "path",
    [
        "/mcp/orders/", "/mcp/orders/x", "/mcp//orders", "//mcp/orders", "/mcp/./orders", "/mcp/x/../orders",
        "/mcp/orders%2f", "/mcp/%6frders", "/MCP/orders", "/mcp/orders;a", "/mcp/orders?x=1", "/mcp/orders%00",
        "/mcp", "/mcp/", "/mcp/Orders",
    ],
)  # fmt: skip
def test_only_the_exact_path_leads_to_a_connection(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, path: str
) -> None:
    assert status_of(raw(live_gateway, head(path=path))) in {400, 404}
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil", "", "a b"])
def test_a_foreign_host_is_refused(live_gateway: LiveGateway, upstream: ScriptedUpstream, host: str) -> None:
    assert status_of(raw(live_gateway, head(host=host))) == 400
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1"])
def test_a_foreign_origin_is_refused(live_gateway: LiveGateway, upstream: ScriptedUpstream, origin: str) -> None:
    assert post(live_gateway, tool("get_order"), origin=origin).status_code == 403
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"tools/list"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}', -32700),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/list"}', -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/list"}'.encode("utf-16"), -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"tools/list"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"} x', -32700),
        (b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"get_order","name":"get_x"}}', -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', -32600),
    ],
)
def test_a_body_that_two_parsers_could_read_differently_is_refused(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, body: bytes, code: int
) -> None:
    answer = post(live_gateway, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize(
    "headers", [{"content_encoding": "gzip"}, {"content_type": "text/plain"}, {"content_type": ""}]
)
def test_only_plain_json_is_read(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, headers: dict[str, str]
) -> None:
    assert post(live_gateway, CALL, **headers).status_code == 415
    assert upstream.bytes_seen == 0


def test_a_body_over_the_limit_is_refused_before_it_is_read(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    assert status_of(raw(live_gateway, head(length=5 * 1024 * 1024), b"")) == 413
    assert upstream.bytes_seen == 0


def test_a_chunked_body_over_the_limit_is_refused(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    def pieces() -> Any:
        for _ in range(80):
            yield b" " * 65536

    headers = {**live_gateway.headers(), **ACCEPT, "content-type": "application/json"}
    try:
        answer = httpx.post(live_gateway.url("orders"), content=pieces(), headers=headers, timeout=10)
    except httpx.WriteError:
        return  # The server closed while we were still writing, which is a refusal, too.
    assert answer.status_code == 413
    assert upstream.bytes_seen == 0


def test_an_unknown_method_is_not_forwarded(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    answer = post(live_gateway, rpc("tools/execute", {"name": "get_order"}))
    assert answer.json()["error"]["code"] == -32601
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize(
    "name",
    [
        "get_order ",
        "get_\u200border",
        "get_order\u0000",
        "\uff47et_order",
        "get_order\u202e",
        "../get_order%",
        "get order",
    ],
)
def test_a_tool_name_with_anything_odd_in_it_is_unknown(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, name: str
) -> None:
    answer = post(live_gateway, tool(name))
    assert answer.json()["error"] == {"code": -32602, "message": "Unknown tool"}
    assert upstream.bytes_seen == 0


@pytest.mark.parametrize("claims", [{"hasgroups": True}, {"_claim_names": {"groups": "src1"}}], ids=str)
def test_a_token_that_leaves_its_groups_out_opens_nothing_and_its_bearer_hears_why(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, claims: dict[str, Any]
) -> None:
    token = live_gateway.issuer.token(sub="overage", groups=ABSENT, **claims)
    headers = {**ACCEPT, "Authorization": f"Bearer {token}"}
    answers = [
        httpx.post(live_gateway.url(slug), json=tool("get_order"), headers=headers, timeout=15)
        for slug in ("orders", "nothing-here")
    ]
    assert [(answer.status_code, answer.json()["error"]["data"]["reason"]) for answer in answers] == [
        (404, "groups_unknown")
    ] * 2
    assert answers[0].content == answers[1].content
    assert upstream.seen == []


def test_the_metadata_names_the_url_that_clients_use(live_gateway: LiveGateway) -> None:
    answer = httpx.get(f"{live_gateway.origin}/.well-known/oauth-protected-resource/mcp/orders")
    assert answer.json()["resource"] == live_gateway.url("orders")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_nothing_of_the_client_but_what_the_protocol_needs_leaves(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    canary = "canary-93hf"
    names = [
        "cookie",
        "x-api-key",
        "x-forwarded-for",
        "forwarded",
        "proxy-authorization",
        "x-auth-token",
        "referer",
        "te",
    ]
    post(live_gateway, tool("get_order"), **{name.replace("-", "_"): canary for name in names})
    assert canary not in str(upstream.seen[-1].headers)


def test_refusals_are_counted_in_the_record(live_gateway: LiveGateway) -> None:
    httpx.post(live_gateway.url("orders"), json=tool("get_order"))

    def codes() -> set[str]:
        return {row["body"]["code"] for row in live_gateway.events("gateway:request:refused")}

    wait_until(lambda: "token_missing" in codes(), what="the refusal in the record")


def test_an_upstream_that_floods_a_client_that_does_not_read_is_held_back_and_cut(
    start_gateway: Any, gateway_seed: dict[str, Any], upstream: ScriptedUpstream
) -> None:
    sent, cut = [0], threading.Event()

    def script(seen: Any, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 60_000}}
        data = f"data: {json.dumps(note)}\n\n".encode()
        try:
            while sent[0] < 512 * 1024 * 1024:
                connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
                sent[0] += len(data)
        except OSError:
            cut.set()

    upstream.script = script
    gateway = start_gateway(gateway_seed, environment={"WARDGATE_WRITE_STALL_SECONDS": "1"})
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        request = head().replace("@TOKEN@", gateway.token()).replace("@HOST@", f"127.0.0.1:{gateway.port}")
        client.sendall(request.replace("\n", "\r\n").encode() + CALL)
        assert cut.wait(20), "the gateway must close what nobody reads"
        assert sent[0] < 32 * 1024 * 1024
        ended = gateway.wait_for_outcomes()[-1]["rows"][-1]
        assert (ended["name"], ended["body"]["reason"]) == ("gateway:call:aborted_by_client", "client_stalled")
