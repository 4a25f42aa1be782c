from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine import rules as engine
from policies.engine.globs import Globs
from policies.engine.masking import Masker
from policies.engine.rules import Call, ConnectionPolicy, Grant, Rule, decide, has_access, visible
from policies.engine.verdicts import Allow, Deny, Effect, Hold

NOW = 1_000.0
NOTHING_MASKED = Masker.compile([])
NO_RULE = Deny("default", "no rule allows this call")
NO_GRANT = Deny("no-grant", "no access to this connection")


@dataclass(frozen=True)
class Someone:
    issuer: str = "https://idp"
    subject: str = "ann"
    groups: frozenset[str] | None = frozenset()
    narrowing: None = None


ANN = Someone()
ANY = Globs.compile(["*"])


def globs(*items: str) -> Globs:
    return Globs.compile(items)


def grant(*, principal=("https://idp", "ann"), group=None, tools=(), prompts=(), resources=(), start=None, end=None):
    return Grant(
        "g1", None if group else principal, group, globs(*tools), globs(*prompts), globs(*resources), start, end
    )


def rule(name: str, effect: Effect, names=("*",), methods=("*",), reason="because") -> Rule:
    return Rule(name, name, effect, globs(*methods), globs(*names), reason)


def policy(*rules: Rule, grants=None) -> ConnectionPolicy:
    return ConnectionPolicy(tuple(grants or [grant(tools=["get_*"])]), tuple(rules), NOTHING_MASKED)


def tool(name: str) -> Call:
    return Call("tools/call", "tool", name)


ALLOW = rule("allow-list", Effect.ALLOW, names=["list_*"])
HOLD = rule("hold-delete", Effect.HOLD, names=["*_order"], methods=["tools/call"])
DENY = rule("deny-drop", Effect.DENY, names=["drop_*", "get_secret"])


@pytest.mark.parametrize("rules", list(itertools.permutations([ALLOW, HOLD, DENY])))
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("get_user", Allow("grant")),
        ("list_users", Allow("allow-list", "because")),
        ("get_order", Hold("hold-delete", "because")),
        ("list_order", Hold("hold-delete", "because")),
        ("delete_order", NO_RULE),
        ("drop_order", Deny("deny-drop", "because")),
        ("get_secret", Deny("deny-drop", "because")),
        ("unknown", NO_RULE),
    ],
)
def test_the_strictest_matching_effect_wins_whatever_the_order(rules, name, expected):
    assert decide(policy(*rules), ANN, tool(name), now=NOW) == expected


@given(st.lists(st.sampled_from([ALLOW, HOLD, DENY]), max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_rules_never_changes_the_verdict(rules, random):
    shuffled = rules.copy()
    random.shuffle(shuffled)
    for name in ("get_user", "list_users", "get_order", "drop_order", "get_secret", "unknown"):
        assert decide(policy(*rules), ANN, tool(name), now=NOW) == decide(policy(*shuffled), ANN, tool(name), now=NOW)


def test_of_several_rules_with_one_effect_the_same_one_is_shown_whatever_their_order():
    first, second = rule("a", Effect.DENY), rule("b", Effect.DENY)
    for rules in ((first, second), (second, first)):
        assert decide(policy(*rules), ANN, tool("get_x"), now=NOW).rule == "a"


@pytest.mark.parametrize("groups", [frozenset(), frozenset({"devs"}), None])
def test_without_a_grant_nothing_is_allowed_not_even_by_a_guardrail(groups):
    someone = Someone(subject="bob", groups=groups)
    open_policy = policy(rule("allow-all", Effect.ALLOW))
    assert decide(open_policy, someone, tool("get_user"), now=NOW) == NO_GRANT
    assert decide(open_policy, someone, Call("initialize", None, None), now=NOW) == NO_GRANT
    assert not has_access(open_policy, someone, now=NOW)
    assert not visible(open_policy, someone, "tool", "get_user", now=NOW)


@pytest.mark.parametrize(
    ("start", "end", "live"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + 0.001, None, False),
        (None, NOW, False),
        (None, NOW + 0.001, True),
        (NOW - 1, NOW + 1, True),
        (NOW - 2, NOW - 1, False),
    ],
)
def test_a_grant_is_in_force_from_its_start_and_no_longer_at_its_end(start, end, live):
    timed = policy(grants=[grant(tools=["*"], start=start, end=end)])
    assert has_access(timed, ANN, now=NOW) is live
    assert decide(timed, ANN, tool("x"), now=NOW) == (Allow("grant") if live else NO_GRANT)


def test_a_group_grant_is_for_the_groups_of_its_issuer_only():
    of_group = policy(grants=[grant(group=("https://idp", "devs"), tools=["*"])])
    for someone, expected in [
        (Someone(subject="bob", groups=frozenset({"ops", "devs"})), True),
        (Someone(subject="bob", groups=frozenset({"ops"})), False),
        (Someone(subject="bob", groups=frozenset()), False),
        (Someone(subject="bob", groups=None), False),
        (Someone(issuer="https://other", subject="bob", groups=frozenset({"devs"})), False),
    ]:
        assert has_access(of_group, someone, now=NOW) is expected


def test_the_same_subject_of_another_issuer_is_somebody_else():
    assert not has_access(policy(), Someone(issuer="https://other"), now=NOW)


def test_several_grants_add_up():
    several = policy(
        grants=[
            grant(tools=["get_*"]),
            grant(group=("https://idp", "devs"), tools=["put_*"]),
            grant(tools=["old_*"], end=NOW),
        ]
    )
    dev = Someone(groups=frozenset({"devs"}))
    for name, allowed in [("get_x", True), ("put_x", True), ("old_x", False)]:
        assert (decide(several, dev, tool(name), now=NOW) == Allow("grant")) is allowed


@pytest.mark.parametrize("kind", ["tool", "prompt", "resource"])
def test_a_grant_for_one_kind_says_nothing_about_the_others(kind):
    only = policy(grants=[grant(**{f"{kind}s": ["x*"]})])
    for other in ("tool", "prompt", "resource"):
        assert visible(only, ANN, other, "xy", now=NOW) is (other == kind)


@pytest.mark.parametrize(
    "method",
    [*sorted(engine.PLUMBING), "notifications/initialized", "notifications/cancelled", "tasks/get", "tasks/cancel"],
)
def test_plumbing_needs_a_grant_and_no_name(method):
    assert decide(policy(), ANN, Call(method, None, None), now=NOW) == Allow("grant")


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "completion/complete", "Ping", "x/tasks/get", ""])
def test_a_method_without_a_name_that_is_no_plumbing_is_denied(method):
    everything = policy(grants=[grant(tools=["*"], prompts=["*"], resources=["*"])])
    assert decide(everything, ANN, Call(method, None, None), now=NOW) == NO_RULE
    assert decide(everything, ANN, Call(method, "tool", None), now=NOW) == NO_RULE


def test_plumbing_can_be_denied_and_held_by_its_method():
    ruled = policy(
        rule("no-logs", Effect.DENY, methods=["logging/*"]), rule("slow", Effect.HOLD, methods=["subscriptions/listen"])
    )
    assert decide(ruled, ANN, Call("logging/setLevel", None, None), now=NOW) == Deny("no-logs", "because")
    assert decide(ruled, ANN, Call("subscriptions/listen", None, None), now=NOW) == Hold("slow", "because")
    assert decide(ruled, ANN, Call("ping", None, None), now=NOW) == Allow("grant")


def test_a_rule_that_names_names_skips_calls_without_one():
    named = rule("names", Effect.DENY, names=["a*", "?*"])
    assert not named.matches(Call("ping", None, None))
    assert named.matches(tool("a"))
    assert rule("all", Effect.DENY).matches(Call("ping", None, None))


def test_completion_is_decided_by_what_it_refers_to():
    ref = policy(grants=[grant(prompts=["greet"], resources=["db://*"])])
    for kind, name, allowed in [
        ("prompt", "greet", True),
        ("prompt", "other", False),
        ("resource", "db://a", True),
        ("resource", "file:///etc", False),
    ]:
        verdict = decide(ref, ANN, Call("completion/complete", kind, name), now=NOW)
        assert verdict == (Allow("grant") if allowed else NO_RULE)


@pytest.mark.parametrize(
    ("kind", "method"), [("tool", "tools/call"), ("prompt", "prompts/get"), ("resource", "resources/read")]
)
def test_what_a_list_shows_is_what_the_call_would_get(kind, method):
    ruled = policy(
        rule("deny", Effect.DENY, names=["no*"], methods=[method]),
        rule("hold", Effect.HOLD, names=["ask*"], methods=[method]),
        grants=[grant(tools=["*"], prompts=["*"], resources=["*"])],
    )
    for name, shown in [("yes", True), ("ask", True), ("no", False)]:
        assert visible(ruled, ANN, kind, name, now=NOW) is shown
        assert (decide(ruled, ANN, Call(method, kind, name), now=NOW).effect is not Effect.DENY) is shown


def test_the_memo_gives_the_same_answer_and_stays_bounded(monkeypatch):
    monkeypatch.setattr(engine, "MEMO_ENTRIES", 3)
    remembered = policy(DENY, HOLD, ALLOW)
    names = ["drop_a", "get_b", "list_c", "x_order", "get_secret", "y" * 10_000]
    first = [decide(remembered, ANN, tool(name), now=NOW) for name in names]
    assert [decide(remembered, ANN, tool(name), now=NOW) for name in names] == first
    assert [decide(policy(DENY, HOLD, ALLOW), ANN, tool(name), now=NOW) for name in names] == first
    assert len(remembered._memo) <= 3
    assert not any(len(name or "") > 1_000 for _, name in remembered._memo)


def test_the_memo_does_not_remember_who_called():
    shared = policy(ALLOW)
    assert decide(shared, ANN, tool("get_user"), now=NOW) == Allow("grant")
    assert decide(shared, Someone(subject="eve"), tool("get_user"), now=NOW) == NO_GRANT


def test_a_policy_cannot_be_changed():
    with pytest.raises(AttributeError):
        policy().rules = ()
