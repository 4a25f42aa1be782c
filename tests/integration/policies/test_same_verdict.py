"""The simulator and the data path give the same verdict.

`WARDGATE_SAME_VERDICT_CASES=10000` asks for more than a normal run does.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from accounts.models import Group, IdentityProvider
from accounts.tokens import Identity
from connections import definitions
from connections.models import Connection, Tool
from policies import services
from policies.engine import rules
from policies.explaining import explain
from policies.reading import rehearsal_now
from policies.rehearsal import read_case
from proxy import catalogue, exchange, store
from proxy.app import _client_info
from proxy.history import HistoryBounds, StoredHistory, caller_key
from proxy.ports import Call, SessionRef
from proxy.protocol import json_strict, mcp
from sessions.models import Activity
from tests.support import cases

CASES = int(os.environ.get("WARDGATE_SAME_VERDICT_CASES", "1000"))
CALLS_OF_A_POLICY = 100
VERSION = "2025-11-25"
LIMITS = json_strict.Limits()
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class HistoryHere:
    """The stored history of the data path, in the thread and the transaction of the test."""

    def __init__(self, clock):
        self._clock = clock
        self._stored = StoredHistory(None, HistoryBounds(86400.0, 1000, 10.0, b"key"))

    async def decide(self, call):
        return self._stored._decide(call, self._clock.time())


def result_of(coroutine):
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


@pytest.fixture
def world(db):
    provider = IdentityProvider.objects.create(name="Login", issuer=cases.ISSUER)
    for name in cases.GROUPS:
        Group.objects.create(provider=provider, name=name)
    for slug, labels in cases.CONNECTIONS.items():
        row = Connection.objects.create(
            slug=slug, name=slug, labels=labels, upstream_url="https://up.example.com/mcp", pins_tools=slug != "wiki"
        )
        for name, said in cases.TOOLS.items():
            if said is None:
                continue
            definition = {"name": name, "annotations": said, "inputSchema": {}}
            digest = definitions.digest(definition)
            state = Tool.State.QUARANTINED if (slug, name) == ("pay", "query") else Tool.State.ACCEPTED
            Tool.objects.create(
                connection=row, name=name, definition=definition, digest=digest, seen_definition=definition,
                seen_digest=digest, state=state, taints=cases.TAINTS.get(name, []),
            )  # fmt: skip


def on_the_data_path(route, generated, moment):
    """Return the call of the data path that a case stands for, made as `proxy.app` makes it."""
    given = generated.identity
    body = json.dumps(generated.message).encode()
    message = mcp.classify(json_strict.loads(body, LIMITS), {}, negotiated=VERSION)
    is_request = isinstance(message, mcp.Request)
    identity = Identity(
        issuer=given["issuer"], subject=given["subject"],
        groups=None if given["groups"] is None else frozenset(given["groups"]), expires_at=int(moment) + 60,
        display_name="", email="", client_id=given["client_id"], token_digest=bytes(32), provider_id="", token_id="",
        audiences=frozenset(), kind=given["kind"],
    )  # fmt: skip
    return Call(
        call_id=os.urandom(16), identity=identity, route=route, policy=route.policy,
        ref=SessionRef(bytes(16), mcp.Era.LEGACY, VERSION), message=message, verb=b"POST", method=message.method,
        name=message.name if is_request else None, kind=message.kind if is_request else None, outbound=body, headers=[],
        received_us=0, address=generated.given["address"], client=_client_info(message),
    )  # fmt: skip


def remember(call, generated):
    """Write the earlier calls of a case as the data path keeps them."""
    Activity.objects.bulk_create(
        Activity(
            caller=caller_key(call), call_id=os.urandom(16).hex(), connection_slug=past["connection"],
            name=past["name"], labels=past["labels"], values=past["values"], bytes=past["bytes"],
            at=datetime.fromtimestamp(generated.at - past["seconds_ago"], UTC),
        )
        for past in sorted(generated.history, key=lambda past: -past["seconds_ago"])
    )  # fmt: skip


def test_the_simulator_and_the_data_path_give_the_same_verdict(world, monkeypatch, settings):
    settings.WARDGATE_PUBLIC_URL = "https://gate.example.com"
    clock = SimpleNamespace(time=lambda: 0.0)
    monkeypatch.setattr(exchange, "time", clock)
    ports = SimpleNamespace(history=HistoryHere(clock))
    seen = Counter()
    for seed_of_policy in range(-(-CASES // CALLS_OF_A_POLICY)):
        chance = random.Random(seed_of_policy)
        services.document_apply(document=cases.policy(chance), by=services.Publisher(), now=NOW)
        routes, rehearsal = store._policy(1).routes, rehearsal_now()
        for number in range(CALLS_OF_A_POLICY):
            generated = cases.call(chance, seed_of_policy * CALLS_OF_A_POLICY + number)
            moment = generated.at
            clock.time = lambda moment=moment: moment
            route = routes[generated.given["connection"]]
            call = on_the_data_path(route, generated, moment)
            case = read_case(generated.given, now=0)
            has_access = rules.has_access(route.policy, call.identity, now=moment, facts=call.facts(moment))
            assert rehearsal.has_access(case) == has_access, (seed_of_policy, generated)
            if route.records_history:
                remember(call, generated)
            decided = result_of(exchange._decided(call, ports))
            said = explain(rehearsal, case)
            assert said.verdict == decided, (seed_of_policy, generated)
            if catalogue.refusal(call) is None:
                assert said.decision.observed == call.observed, (seed_of_policy, generated)
            seen[decided.effect, decided.rule.partition(" ")[0]] += 1
    # A test that only ever denies would say nothing.
    assert {effect for effect, _ in seen} == {"allow", "hold", "deny"}
    assert {rule for _, rule in seen} >= {"grant", "no-grant", "default", "rule", "tool-review", "unknown-tool"}
    assert all(seen[effect, rule] > CASES / 1000 for effect, rule in seen)
    assert sum(seen.values()) >= CASES
