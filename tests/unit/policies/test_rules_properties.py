"""What has to be so for every policy and every call: order, monotony, and the same answer for lists and calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.engine.compile import GrantRow, GuardrailRow, compile_connection
from policies.engine.facts import Facts, History, Past, ToolFacts
from policies.engine.rules import GRANTED, Call, decide, decision, has_access, visible
from policies.engine.verdicts import Allow, Deny, Effect
from policies.rehearsal import Somebody

ISSUER = "https://idp.example"
NOW = 1_773_828_000.0
STRICTNESS = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}
TOOLS = {
    "get_order": ToolFacts({"readOnlyHint": True}),
    "drop_table": ToolFacts({"destructiveHint": True}, ("egress",)),
    "run_sql": ToolFacts(),
}
CONDITIONS = (
    "",
    "args.n > 5",
    "has(args.q) && size(args.q) > 3",
    "sql.kinds(args.q).exists(k, k == 'drop')",
    "'sre' in identity.groups",
    "identity.kind == 'machine'",
    "in_cidr(request.ip, '10.0.0.0/8')",
    "hour(request.time, 'Europe/Berlin') < 12",
    "session.count('*') > 1",
    "'untrusted' in session.labels",
    "tool.is_read_only",
    "shell.commands(args.q).exists(c, c.name == 'rm')",
)
GRANT_CONDITIONS = tuple(
    found for found in CONDITIONS if not any(word in found for word in ("args", "session", "tool"))
)
GLOBS = st.lists(
    st.sampled_from(["*", "get_*", "*_order", "drop_table", "run_*", "*t*", "zzz", "?et_order"]), min_size=1, max_size=3
)
METHODS = st.lists(st.sampled_from(["*", "tools/call", "tools/*", "ping", "resources/read"]), min_size=1, max_size=2)

rules = st.builds(
    GuardrailRow,
    id=st.uuids().map(str),
    name=st.sampled_from(["a", "b", "c", "d"]),
    effect=st.sampled_from(["deny", "hold", "allow"]),
    methods=METHODS,
    names=GLOBS,
    groups=st.lists(st.tuples(st.just(ISSUER), st.sampled_from(["sre", "devs"])), max_size=2),
    principals=st.lists(st.tuples(st.just(ISSUER), st.sampled_from(["ann", "bob"])), max_size=1),
    annotations=st.sampled_from([{}, {"readOnlyHint": True}, {"destructiveHint": True}]),
    condition=st.sampled_from(CONDITIONS),
    is_observed=st.booleans(),
)
grants = st.builds(
    GrantRow,
    id=st.uuids().map(str),
    connection_id=st.just("c"),
    group=st.tuples(st.just(ISSUER), st.sampled_from(["sre", "devs"])),
    tools=GLOBS,
    resources=GLOBS,
    valid_until=st.sampled_from([None, NOW, NOW + 1]),
    networks=st.sampled_from([(), ("10.0.0.0/8",)]),
    condition=st.sampled_from(GRANT_CONDITIONS),
)
callers = st.builds(
    Somebody,
    issuer=st.just(ISSUER),
    subject=st.sampled_from(["ann", "bob"]),
    groups=st.none() | st.frozensets(st.sampled_from(["sre", "devs"])),
    kind=st.sampled_from(["human", "machine"]),
)
asked = st.sampled_from(
    [
        *(Call("tools/call", "tool", name) for name in (*TOOLS, "unknown")),
        Call("ping", None, None),
        Call("resources/read", "resource", "get_x"),
    ]
)
facts = st.builds(
    Facts,
    now=st.sampled_from([NOW, NOW + 5 * 3600]),
    address=st.sampled_from(["10.1.1.1", "::ffff:10.1.1.1", "192.0.2.1", ""]),
    arguments=st.sampled_from(
        [{}, {"n": 7}, {"n": "7"}, {"q": "drop table x"}, {"q": "((("}, {"q": "rm -rf /", "n": 1}, None]
    ),
    input=st.sampled_from([{}, {"q": "drop table x"}]),
    history=st.sampled_from(
        [None, History(), History([Past(NOW - 9, "w", "f", labels=("untrusted",)), Past(NOW - 5, "w", "f")])]
    ),
)
policies = st.tuples(st.lists(grants, max_size=3), st.lists(rules, max_size=6))


def compiled(found, more=()):
    return compile_connection("c", grants=found[0], guardrails=[*found[1], *more], patterns=(), tools=TOOLS)


def strictness(policy, identity, call, given_facts):
    return STRICTNESS[decide(policy, identity, call, now=given_facts.now, facts=given_facts).effect]


@settings(max_examples=80, deadline=None)
@given(policies, callers, asked, facts, st.randoms(use_true_random=False))
def test_the_order_of_grants_and_rules_never_changes_the_decision(found, identity, call, given_facts, random):
    shuffled = ([*found[0]], [*found[1]])
    random.shuffle(shuffled[0])
    random.shuffle(shuffled[1])
    first = decision(compiled(found), identity, call, given_facts)
    second = decision(compiled(shuffled), identity, call, given_facts)
    assert (first.verdict.effect, first.verdict.rule) == (second.verdict.effect, second.verdict.rule)


@settings(max_examples=80, deadline=None)
@given(policies, rules, callers, asked, facts)
def test_adding_a_deny_or_a_hold_never_allows_more(found, rule, identity, call, given_facts):
    for effect in ("deny", "hold"):
        more = replace(rule, effect=effect, is_observed=False)
        before = strictness(compiled(found), identity, call, given_facts)
        assert strictness(compiled(found, [more]), identity, call, given_facts) >= before


@settings(max_examples=80, deadline=None)
@given(policies, rules, callers, asked, facts)
def test_adding_an_allow_never_overrides_a_deny_or_a_hold(found, rule, identity, call, given_facts):
    more = replace(rule, effect="allow", is_observed=False)
    spoken = decision(compiled(found), identity, call, given_facts).verdict
    after = strictness(compiled(found, [more]), identity, call, given_facts)
    guardrails = {row.name for row in found[1]}
    if spoken.rule in guardrails and spoken.effect is not Effect.ALLOW:
        assert after >= STRICTNESS[spoken.effect]
    assert after >= 0


@settings(max_examples=80, deadline=None)
@given(policies, rules, callers, asked, facts)
def test_a_hold_never_widens_what_is_allowed(found, rule, identity, call, given_facts):
    without = [row for row in found[1] if row.effect != "hold"]
    base = decide(compiled((found[0], without)), identity, call, now=given_facts.now, facts=given_facts)
    held = decide(compiled(found), identity, call, now=given_facts.now, facts=given_facts)
    if base.effect is Effect.DENY:
        assert held.effect is Effect.DENY


@settings(max_examples=80, deadline=None)
@given(policies, callers, asked, facts)
def test_a_rule_that_is_only_observed_changes_no_verdict(found, identity, call, given_facts):
    without = (found[0], [row for row in found[1] if not row.is_observed])
    first, second = (decision(compiled(each), identity, call, given_facts) for each in (found, without))
    assert first.verdict.effect == second.verdict.effect
    assert second.observed == ()
    assert {seen.rule for seen in first.observed} <= {row.name for row in found[1] if row.is_observed}


@settings(max_examples=80, deadline=None)
@given(policies, callers, asked, facts)
def test_without_a_grant_in_force_everything_is_denied(found, identity, call, given_facts):
    policy = compiled(found)
    if not has_access(policy, identity, now=given_facts.now, facts=given_facts):
        assert strictness(policy, identity, call, given_facts) == STRICTNESS[Effect.DENY]


@settings(max_examples=80, deadline=None)
@given(policies, callers, st.sampled_from(sorted(TOOLS)), facts)
def test_a_tool_that_is_hidden_is_never_allowed_and_one_that_can_be_called_is_shown(found, identity, name, given_facts):
    policy = compiled(found)
    is_shown = visible(policy, identity, "tool", name, now=given_facts.now, facts=given_facts)
    if not is_shown:
        assert strictness(policy, identity, Call("tools/call", "tool", name), given_facts) == STRICTNESS[Effect.DENY]


@settings(max_examples=80, deadline=None)
@given(policies, callers, asked, facts)
def test_a_decision_that_was_asked_for_before_is_the_same_again(found, identity, call, given_facts):
    policy = compiled(found)
    first = decision(policy, identity, call, given_facts)
    assert decision(policy, identity, call, given_facts) == first
    assert decision(compiled(found), identity, call, given_facts) == first


def one(effect, condition, *, is_observed=False, tools=("*",)):
    return compile_connection(
        "c",
        grants=[GrantRow("g", "c", principal=(ISSUER, "ann"), tools=tools)],
        guardrails=[GuardrailRow("r", "rule", effect, condition=condition, is_observed=is_observed)],
        patterns=(),
    )


ANN = Somebody(ISSUER, "ann")
RUN = Call("tools/call", "tool", "run")


@pytest.mark.parametrize(
    ("effect", "tools", "arguments", "expected"),
    [
        ("deny", ("*",), {"n": 6}, Deny("rule", "", ("condition: args",))),
        ("deny", ("*",), {"n": 5}, GRANTED),
        (
            "deny",
            ("*",),
            {},
            Deny("rule", "a condition of this policy could not be checked", ("condition: member_missing",)),
        ),
        (
            "deny",
            ("*",),
            {"n": "6"},
            Deny("rule", "a condition of this policy could not be checked", ("condition: wrong_type",)),
        ),
        (
            "hold",
            ("*",),
            {},
            Deny("rule", "a condition of this policy could not be checked", ("condition: member_missing",)),
        ),
        (
            "allow",
            (),
            {},
            Deny("default", "a condition of this policy could not be checked", ("condition: member_missing",)),
        ),
        ("allow", ("*",), {}, GRANTED),
        ("allow", (), {"n": 6}, Allow("rule", "", ("condition: args",))),
    ],
)
def test_a_condition_that_fails_denies_and_says_why(effect, tools, arguments, expected):
    found = decide(one(effect, "args.n > 5", tools=tools), ANN, RUN, now=NOW, facts=Facts(NOW, arguments=arguments))
    assert found == expected


@pytest.mark.parametrize(("effect", "expected"), [("deny", Effect.DENY), ("hold", Effect.HOLD), ("allow", Effect.DENY)])
def test_a_text_that_cannot_be_read_makes_a_rule_as_strict_as_it_is(effect, expected):
    policy = one(effect, "size(sql.kinds(args.q)) > 9", tools=() if effect == "allow" else ("*",))
    assert decide(policy, ANN, RUN, now=NOW, facts=Facts(NOW, arguments={"q": "((("})).effect is expected


def test_what_an_observed_rule_would_have_done_is_told_with_why():
    policy = one("deny", "args.n > 5", is_observed=True)
    for arguments, told in [
        ({"n": 6}, [("rule", "deny", "")]),
        ({}, [("rule", "deny", "member_missing")]),
        ({"n": 1}, []),
    ]:
        found = decision(policy, ANN, RUN, Facts(NOW, arguments=arguments))
        assert (found.verdict, [tuple(seen) for seen in found.observed]) == (GRANTED, told)


def test_groups_that_are_unknown_are_every_group_for_rules_that_deny_and_none_for_those_that_allow():
    unknown = replace(ANN, groups=None)
    for effect, tools, expected in [
        ("deny", ("*",), Effect.DENY),
        ("hold", ("*",), Effect.HOLD),
        ("allow", (), Effect.DENY),
    ]:
        policy = compile_connection(
            "c",
            grants=[GrantRow("g", "c", principal=(ISSUER, "ann"), tools=tools)],
            guardrails=[GuardrailRow("r", "rule", effect, groups=((ISSUER, "sre"),))],
            patterns=(),
        )
        assert decide(policy, unknown, RUN, now=NOW).effect is expected
