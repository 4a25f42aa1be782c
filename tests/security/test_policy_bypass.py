"""What walks around rules at other gateways, at a real one: names and methods that look alike, batches, later pages,
other names of arguments. The upstream's own log is the judge.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.security.policy_tricks import confusable
from tests.security.test_policy_methods import variants
from tests.support.gateway import BEARER, LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen, default_script, json_answer, scripted_upstream

PAGES = (["get_order", "run_sql"], ["delete_order", "refund_order"], ["drop_all"])
HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
    "content-type": "application/json",
}


def listing(seen: Seen, connection: socket.socket) -> None:
    """List the tools in three pages, and answer everything else as usual."""
    if seen.verb != "POST" or isinstance(seen.message, list) or seen.message.get("method") != "tools/list":
        default_script(seen, connection)
        return
    number = int(seen.message.get("params", {}).get("cursor", "0"))
    result: dict[str, Any] = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in PAGES[number]]}
    if number + 1 < len(PAGES):
        result["nextCursor"] = str(number + 1)
    connection.sendall(json_answer(json.dumps({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}).encode()))


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream() as server:
        server.script = listing
        yield server


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [{"slug": "orders", "upstream_url": upstream.url, "credential": BEARER}],
        "grants": [{"connection": "orders", "group": "sre", "tools": ["*"], "prompts": ["*"], "resources": ["*"]}],
        "guardrails": [
            {"name": "no deletes", "effect": "deny", "methods": ["tools/call"], "names": ["delete_*", "drop_*"]},
            {"name": "refunds", "effect": "deny", "methods": ["tools/call"], "names": ["refund_*"]},
            {
                "name": "answers",
                "effect": "deny",
                "names": ["run_sql"],
                "condition": "texts(request.input).exists(t, t.contains('drop'))",
            },
            {
                "name": "reads only",
                "effect": "deny",
                "names": ["run_sql"],
                "condition": "!texts(args).all(t, sql.statements(t).all(s, s.is_read_only))",
            },
        ],
    }


@pytest.fixture(scope="module")
def client(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    """Return a client of the connection that has listed all pages, so that every tool is in the catalogue."""
    with httpx.Client(headers={**live_gateway.headers(), **HEADERS}, timeout=15) as found:
        shown: list[str] = []
        for cursor in (None, "1", "2"):
            params = {} if cursor is None else {"cursor": cursor}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
            answer = found.post(live_gateway.url("orders"), json=body).json()
            shown += [entry["name"] for entry in answer["result"]["tools"]]
        assert shown == ["get_order", "run_sql"]
        live_gateway.sql("UPDATE connections_tool SET state='accepted', digest=seen_digest, definition=seen_definition")

        def is_known() -> bool:
            return "Unknown tool" in found.post(live_gateway.url("orders"), json=call("nothing")).text

        wait_until(is_known, seconds=5, what="the catalogue in force")
        yield found


def call(name: Any, arguments: Any = None, method: str = "tools/call") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, "arguments": arguments or {}}}


def forwarded(upstream: ScriptedUpstream, before: int) -> list[Any]:
    return [seen.message for seen in upstream.seen[before:]]


def post(gateway: LiveGateway, client: httpx.Client, message: Any) -> httpx.Response:
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    return client.post(gateway.url("orders"), content=content)


def test_of_names_that_look_like_a_tool_none_is_forwarded(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client
) -> None:
    names = [*confusable("delete_order"), *confusable("refund_order")]
    assert len(set(names)) >= 500
    before = len(upstream.seen)
    answers = {name: post(live_gateway, client, call(name)) for name in names}
    assert forwarded(upstream, before) == []
    assert not [name for name, answer in answers.items() if answer.status_code >= 500]


def test_of_methods_that_look_like_a_call_none_is_forwarded(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client
) -> None:
    before = len(upstream.seen)
    for method in (*variants("tools/call"), "tools/execute", "tools/run", "call_tool", "rpc.call", "$/tools/call"):
        post(live_gateway, client, call("delete_order", method=method))
    assert forwarded(upstream, before) == []


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"delete_order"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order","name":"delete_order"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order","Name":"delete_order"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"x","params":{"name":"delete_order"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order"},"PARAMS":{"name":"delete_order"}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{},"params":{"name":"delete_order"}}'.encode(),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["delete_order"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["delete_order"]}}',
        b'{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{"name":"delete_order"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools\\u002fcall","params":{"name":"delete\\u005forder"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_order"}}{"jsonrpc":"2.0"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_order"}}]',
        b'[[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_order"}}]]',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_order"}}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"delete_order"}}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_order"}}'.encode("utf-16"),
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_order"}}',
    ],
    ids=lambda text: text[:90].decode("utf-8", "replace"),
)
def test_a_call_in_disguise_is_not_forwarded(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client, text: bytes
) -> None:
    before = len(upstream.seen)
    assert post(live_gateway, client, text).status_code < 500
    assert forwarded(upstream, before) == []


def test_each_element_of_a_batch_is_decided_by_itself(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client
) -> None:
    before, version = len(upstream.seen), {"mcp-protocol-version": "2025-03-26"}
    batch = [{**call(name), "id": number} for number, name in enumerate(["get_order", "delete_order", "drop_all"])]
    client.post(live_gateway.url("orders"), json=batch, headers=version)
    names = [message["params"]["name"] for message in forwarded(upstream, before)]
    assert set(names) <= {"get_order"}


def test_tools_of_later_pages_are_decided_like_those_of_the_first(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client
) -> None:
    before = len(upstream.seen)
    for name in ("delete_order", "refund_order", "drop_all"):
        assert post(live_gateway, client, call(name)).json()["result"]["isError"] is True
    assert forwarded(upstream, before) == []


@pytest.mark.parametrize(
    "key", ["sql", "SQL", "Sql", "query", "q", "statement", "sql ", "\u0455ql", "sql\u200b", "", "0"]
)
@pytest.mark.parametrize("shape", ["plain", "nested", "listed", "as_name"])
def test_a_rule_about_all_texts_sees_an_argument_by_whatever_name(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client, key: str, shape: str
) -> None:
    text = "select 1; drop table users"
    arguments: dict[str, Any] = {
        "plain": {key: text},
        "nested": {key: {"a": {"b": text}}},
        "listed": {key: ["select 1", ["select 2", text]]},
        "as_name": {key: {text: True}},
    }[shape]
    before = len(upstream.seen)
    assert post(live_gateway, client, call("run_sql", arguments)).json()["result"]["isError"] is True
    assert forwarded(upstream, before) == []


def test_what_a_client_answers_to_a_question_of_the_tool_counts_as_well(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client
) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "run_sql"}
    before = len(upstream.seen)
    for text, count in (("drop table users", 0), ("select 1", 1)):
        answered = {"q": {"action": "accept", "content": {"sql": text}}}
        body = call("run_sql", {"sql": "select 1"})
        body["params"] |= {"_meta": meta, "requestState": "s", "inputResponses": answered}
        client.post(live_gateway.url("orders"), json=body, headers=headers)
        assert len(forwarded(upstream, before)) == count


def test_what_the_rules_let_through_is_forwarded(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, client: httpx.Client
) -> None:
    before = len(upstream.seen)
    post(live_gateway, client, call("run_sql", {"sql": "select 'drop table users'"}))
    post(live_gateway, client, call("get_order"))
    assert [message["params"]["name"] for message in forwarded(upstream, before)] == ["run_sql", "get_order"]
