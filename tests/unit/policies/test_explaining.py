"""What is explained is what is decided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connections.definitions import Pinned
from policies.engine.compile import GrantRow, GuardrailRow
from policies.engine.facts import ConnectionFacts
from policies.engine.rules import NO_GRANT, NO_RULE
from policies.engine.verdicts import Effect
from policies.explaining import GRANT_SAYS, RULE_SAYS, explain
from policies.rehearsal import Rehearsal, read_case
from policies.rows import PolicyRows

ISSUER = "https://login.example"
NOW = 1_772_452_800.0  # 2026-03-02 12:00 UTC, a Monday.
OFFICE = {"days": ["mon"], "from": "08:00", "to": "18:00", "zone": "UTC"}
GRANT = GrantRow("g", "c", group=(ISSUER, "ops"), tools=["*"])


def asked(grants=(GRANT,), rules=(), catalogue=None):
    rows = PolicyRows(tuple(grants), tuple(rules), (), {}, catalogue={"c": catalogue or {}})
    return Rehearsal(rows, {"orders": ("c", ConnectionFacts("orders"))}, frozenset({"orders"}))


def case(name="get_order", **members):
    given = {"identity": {"issuer": ISSUER, "subject": "ada", "groups": ["ops"]}, "connection": "orders", "name": name}
    return read_case({**given, **members}, now=NOW)


def rule(name="r", effect="deny", **values):
    return GuardrailRow(name, name, effect, **values)


def said(*grants, **members):
    return [found.said for found in explain(asked(grants), case(**members)).grants]


def test_each_grant_of_the_caller_says_why_it_lets_in_or_not():
    night = {**OFFICE, "from": "20:00", "to": "22:00"}

    def like(**values):
        return GrantRow("g", "c", **{"group": (ISSUER, "ops"), "tools": ["get_*"], **values})

    assert said(like()) == ["allows"]
    assert said(like(), name="put_order") == ["other_name"]
    assert said(like(valid_from=NOW + 1)) == ["not_yet"]
    assert said(like(valid_until=NOW)) == ["over"]
    assert said(like(windows=[night])) == ["closed"]
    assert said(like(windows=[night, OFFICE])) == ["allows"]
    assert said(like(networks=["10.0.0.0/8"]), address="192.0.2.1") == ["elsewhere"]
    assert said(like(condition="identity.kind == 'human'")) == ["not_met"]
    assert said(like(condition="identity.subject > 'a' || request.ip == 'x'")) == ["allows"]
    assert said(like(condition="request.ip == 'x'")) == ["failed"]
    assert said(like(group=(ISSUER, "others"))) == []


def test_each_rule_about_the_call_says_what_it_asks_for():
    rules = [
        rule("speaks", "hold"),
        rule("watched", is_observed=True),
        rule("others", principals=[(ISSUER, "bob")]),
        rule("false", condition="args.n > 1"),
        rule("failed", condition="args.m > 1"),
        rule("unreadable", "hold", condition="sql.statements(args.q).size() > 0"),
        rule("allows", "allow", condition="args.m > 1"),
        rule("elsewhere", names=["put_*"]),
    ]
    found = explain(asked(rules=rules), case(arguments={"n": 1, "q": "((("}))
    assert {entry.name: (entry.said, entry.effect) for entry in found.rules} == {
        "speaks": ("speaks", Effect.HOLD),
        "watched": ("observed", Effect.DENY),
        "others": ("other_caller", None),
        "false": ("not_met", None),
        "failed": ("failed", Effect.DENY),
        "unreadable": ("failed", Effect.HOLD),
        "allows": ("failed", None),
    }
    assert found.other_rules == 1
    assert (found.verdict.rule, found.verdict.effect) == ("failed", Effect.DENY)


def test_a_tool_that_nobody_reviewed_is_refused_like_on_the_data_path():
    catalogue = {"get_order": Pinned("a", "b", False)}
    assert explain(asked(catalogue=catalogue), case()).verdict.rule == "tool-review"
    assert explain(asked(catalogue=catalogue), case("put_order")).verdict.rule == "unknown-tool"
    assert explain(asked(rules=[rule()], catalogue=catalogue), case()).verdict.rule == "r"
    assert explain(asked(grants=(), catalogue=catalogue), case()).verdict == NO_GRANT


conditions = st.sampled_from(["", "args.n > 1", "args.m > 1", "true", "session.calls > 0", "sql.kinds(args.q) == []"])
rule_rows = st.lists(
    st.builds(
        lambda effect, condition, is_observed, principals, names: {
            "effect": effect,
            "condition": condition,
            "is_observed": is_observed,
            "principals": principals,
            "names": names,
        },
        st.sampled_from(["deny", "hold", "allow"]),
        conditions,
        st.booleans(),
        st.sampled_from([(), ((ISSUER, "ada"),), ((ISSUER, "bob"),)]),
        st.sampled_from([["*"], ["get_*"], ["put_*"], ["get_order"]]),
    ),
    max_size=5,
)
grant_rows = st.lists(
    st.builds(
        lambda tools, windows, condition: GrantRow(
            "g", "c", group=(ISSUER, "ops"), tools=tools, windows=windows, condition=condition
        ),
        st.sampled_from([["*"], ["get_*"], ["put_*"]]),
        st.sampled_from([(), (OFFICE,), ({**OFFICE, "days": ["sun"]},)]),
        st.sampled_from(["", "identity.kind == 'human'", "request.ip == 'x'"]),
    ),
    max_size=3,
)


@given(grant_rows, rule_rows, st.sampled_from([{"n": 2}, {"m": 2, "q": "select 1"}, {"q": "((("}, {}]))
def test_the_verdict_follows_from_what_is_explained(grants, rows, arguments):
    rules = [GuardrailRow(str(number), str(number), **values) for number, values in enumerate(rows)]
    found = explain(asked(grants, rules), case(arguments=arguments))
    assert {entry.said for entry in found.grants} <= GRANT_SAYS.keys()
    assert {entry.said for entry in found.rules} <= RULE_SAYS.keys()
    granted = any(entry.said == "allows" for entry in found.grants)
    has_access = granted or any(entry.said == "other_name" for entry in found.grants)
    speaking = {entry.effect for entry in found.rules if not entry.is_observed}
    if not has_access or Effect.DENY in speaking or (not granted and Effect.ALLOW not in speaking):
        expected = Effect.DENY
    else:
        expected = Effect.HOLD if Effect.HOLD in speaking else Effect.ALLOW
    assert found.verdict.effect is expected, (found, NO_RULE)
