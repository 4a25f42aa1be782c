"""What the simulator says is what a running gateway does."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime

import httpx2 as httpx
import pytest

from policies.reading import rehearsal_now
from policies.rehearsal import read_case
from sessions.recorded import DECIDED
from tests.support.gateway import ISSUER, LiveGateway
from tests.support.seed import seed
from tests.support.upstream import ScriptedUpstream

from .calls import ACCEPT, rpc

CALLS = 50
RULES = {
    "grants": [
        {"connection": "orders", "group": "sre", "tools": ["*_order", "query"], "resources": ["doc://*"]},
        {"connection": "orders", "group": "dev", "tools": ["get_*"], "condition": 'identity.subject != "mallory"'},
    ],
    "guardrails": [
        {"name": "no deletes", "effect": "deny", "names": ["delete_*"]},
        {"name": "large", "effect": "deny", "methods": ["tools/call"], "condition": "args.amount > 100"},
        {"name": "reads", "effect": "deny", "names": ["query"],
         "condition": "!sql.statements(args.q).all(s, s.is_read_only)"},
        {"name": "open", "effect": "allow", "methods": ["resources/*"], "names": ["*"]},
    ],
}  # fmt: skip


def asked(chance: random.Random) -> tuple[str, str, dict[str, object]]:
    """Return method, name and params of a call."""
    if chance.random() < 0.2:
        uri = chance.choice(["doc://1", "file:///etc/passwd"])
        return "resources/read", uri, {"uri": uri}
    name = chance.choice(["get_order", "delete_order", "query", "other"])
    arguments: dict[str, object] = {"amount": chance.choice([5, 500])} if chance.random() < 0.8 else {}
    if name == "query":
        arguments["q"] = chance.choice(["select 1", "drop table x", "(("])
    return "tools/call", name, {"name": name, "arguments": arguments}


@pytest.mark.django_db
def test_a_running_gateway_decides_as_the_simulator_says(start_gateway, upstream: ScriptedUpstream) -> None:
    connections = [{"slug": "orders", "upstream_url": upstream.url}]
    gateway: LiveGateway = start_gateway({"connections": connections, **RULES})
    now = datetime.now(UTC)
    provider = [{"name": "Test", "issuer": ISSUER, "jwks_url": "https://idp.test.example/jwks"}]
    # The same rows for the simulator, in the database of the test.
    seed(copy.deepcopy({"providers": provider, "connections": connections, **RULES}), now=now)
    rehearsal, chance, expected = rehearsal_now(), random.Random(4), []
    with httpx.Client(timeout=20) as http:
        for _ in range(CALLS):
            who, groups = chance.choice(["ada", "mallory"]), chance.choice([["sre"], ["dev"], ["sre", "dev"]])
            method, name, params = asked(chance)
            arguments = params.get("arguments", {}) if method == "tools/call" else params
            given = {"identity": {"issuer": ISSUER, "subject": who, "groups": groups}, "connection": "orders",
                     "method": method, "name": name, "arguments": arguments, "address": "127.0.0.1"}  # fmt: skip
            case = read_case(given, now=now.timestamp())
            answer = http.post(
                gateway.url("orders"),
                json=rpc(method, params),
                headers={**gateway.headers(sub=who, groups=groups), **ACCEPT},
            )
            if not rehearsal.has_access(case):
                assert answer.status_code == 404
                continue
            verdict = rehearsal.decision(case).verdict
            expected.append((method, name, verdict.effect.value, verdict.rule))
    gateway.wait_for_outcomes()
    bodies = [event["body"] for event in gateway.events() if event["name"] in DECIDED]
    assert [(body["method"], body["name"], body["verdict"], body["rule"]) for body in bodies] == expected
    assert {effect for _, _, effect, _ in expected} == {"allow", "deny"}
