"""Rules over arguments, time, place and the past, on a real gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.gateway import LiveGateway
from tests.support.upstream import ScriptedUpstream, Seen, json_answer

from . import calls
from .calls import post, rpc, tool


@pytest.fixture
def rule(live_gateway: LiveGateway) -> Callable[..., None]:
    """Return how a guardrail is written; it is in force when this returns, and gone after the test."""
    names: list[str] = []

    def write(**values: object) -> None:
        names.append(str(values["name"]))
        in_force(live_gateway, {"guardrails": [values]})

    yield write
    # What a test listed would otherwise be all that the next one may call.
    live_gateway.sql("DELETE FROM connections_tool")
    gone = [{"name": name, "effect": "deny", "names": ["nothing"], "is_active": False} for name in names]
    in_force(live_gateway, {"guardrails": gone})


def in_force(gateway: LiveGateway, document: dict[str, list[dict[str, object]]]) -> None:
    """Save `document`, and return once calls are decided by it."""
    gateway.seed(document)
    calls.in_force(gateway)


def is_error(answer: object) -> bool:
    return answer.json()["result"].get("isError", False)  # type: ignore[attr-defined]


def test_a_rule_over_arguments_denies_the_calls_that_it_means_and_no_others(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, rule: Callable[..., None]
) -> None:
    rule(name="large orders", effect="deny", names=["get_*"], condition="has(args.amount) && args.amount > 100")
    seen = len(upstream.seen)
    assert is_error(post(live_gateway, tool("get_order", amount=101)))
    assert len(upstream.seen) == seen
    assert not is_error(post(live_gateway, tool("get_order", amount=100)))


def test_sql_in_an_argument_is_read_and_not_searched(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, rule: Callable[..., None]
) -> None:
    rule(name="reads only", effect="deny", names=["get_*"], condition="!sql.statements(args.q).all(s, s.is_read_only)")
    for text in ("select 1; drop table x", "with a as (delete from t returning 1) select * from a", "((("):
        assert is_error(post(live_gateway, tool("get_order", q=text)))
    assert not is_error(post(live_gateway, tool("get_order", q="select 'drop table x'")))


def test_a_condition_that_fails_denies_and_the_record_says_why(
    live_gateway: LiveGateway, rule: Callable[..., None]
) -> None:
    rule(name="needs an amount", effect="hold", names=["get_*"], condition="args.amount > 100")
    assert is_error(post(live_gateway, tool("get_order")))
    denied = live_gateway.events("gateway:call:denied")[-1]["body"]
    assert (denied["verdict"], denied["rule"], denied["attributes"]) == (
        "deny",
        "needs an amount",
        ["condition: member_missing"],
    )


def test_a_rule_that_is_only_observed_lets_pass_and_is_told_in_the_record(
    live_gateway: LiveGateway, rule: Callable[..., None]
) -> None:
    rule(name="watched", effect="deny", names=["get_*"], condition="request.ip != ''", is_observed=True)
    assert not is_error(post(live_gateway, tool("get_order")))
    intent = live_gateway.events("gateway:call:intent")[-1]["body"]
    assert intent["observed"] == [{"rule": "watched", "verdict": "deny", "why": ""}]


def test_a_list_shows_a_tool_that_some_arguments_may_call_and_hides_one_that_none_may(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, rule: Callable[..., None]
) -> None:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("get_order", "get_secret")]
    upstream.script = lambda seen, connection: connection.sendall(_listed(seen, tools))
    rule(name="by amount", effect="deny", names=["get_order"], condition="has(args.amount) && args.amount > 1")
    rule(name="from here", effect="deny", names=["get_secret"], condition="in_cidr(request.ip, '127.0.0.0/8')")
    answer = post(live_gateway, rpc("tools/list"))
    assert [entry["name"] for entry in answer.json()["result"]["tools"]] == ["get_order"]


def test_a_budget_lets_through_what_it_allows_and_no_more_also_at_once(
    live_gateway: LiveGateway, rule: Callable[..., None]
) -> None:
    rule(name="three in all", effect="deny", names=["get_budget*"], condition="session.count('get_budget*') >= 3")
    with ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(lambda n: is_error(post(live_gateway, tool(f"get_budget{n}"))), range(12)))
    assert refused.count(False) == 3


def test_what_a_connection_leaves_on_the_caller_is_seen_by_later_calls(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, rule: Callable[..., None]
) -> None:
    orders = {"slug": "orders", "upstream_url": upstream.url}
    rule(name="no way out", effect="deny", names=["get_mail"], condition="'untrusted' in session.labels")
    assert not is_error(post(live_gateway, tool("get_mail")))
    in_force(live_gateway, {"connections": [{**orders, "taints": ["untrusted"]}]})
    try:
        assert not is_error(post(live_gateway, tool("get_page")))
        assert is_error(post(live_gateway, tool("get_mail")))
    finally:
        in_force(live_gateway, {"connections": [orders]})


def _listed(seen: Seen, tools: list[dict[str, object]]) -> bytes:
    return json_answer(json.dumps({"jsonrpc": "2.0", "id": seen.message["id"], "result": {"tools": tools}}).encode())
