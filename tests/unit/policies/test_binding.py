"""What an approval is bound to: everything that is changed makes another call, and what means the same does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.engine.binding import Bound, NotCanonical, canonical, digest, fingerprint
from policies.engine.compile import GrantRow, GuardrailRow, compile_connection

BOUND = Bound(
    issuer="https://idp.example",
    subject="alice",
    client_id="agent",
    connection="c1",
    upstream="https://orders.example/mcp",
    credential_version=3,
    method="tools/call",
    name="refund_order",
    definition="d" * 64,
    policy=b"p" * 32,
)
ARGUMENTS = {"id": 7, "note": "late", "items": [1, 2.5, None, True], "to": {"name": "Ada"}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def other(value: Any) -> Any:
    """Return another value of the same type."""
    return {str: lambda: value + "x", int: lambda: value + 1, bytes: lambda: value[:-1] + b"q"}[type(value)]()


@pytest.mark.parametrize("name", [field.name for field in fields(Bound)])
def test_every_bound_member_counts(name: str) -> None:
    changed = replace(BOUND, **{name: other(getattr(BOUND, name))})
    assert digest(changed, ARGUMENTS) != digest(BOUND, ARGUMENTS)


@given(JSON, JSON)
@settings(max_examples=2000)
def test_other_arguments_are_another_call_and_the_same_ones_the_same(one: Any, two: Any) -> None:
    is_same = canonical(one) == canonical(two)
    assert (digest(BOUND, one) == digest(BOUND, two)) is is_same


@given(st.text(min_size=1, max_size=6), st.text(min_size=1, max_size=6))
def test_what_moves_from_one_member_to_the_next_is_another_call(one: str, two: str) -> None:
    here, there = replace(BOUND, issuer=one, subject=two), replace(BOUND, issuer=one + two, subject="")
    assert digest(here, {}) != digest(there, {})


@given(JSON)
def test_the_canonical_form_is_json_that_says_the_same(value: Any) -> None:
    assert canonical(json.loads(canonical(value))) == canonical(value)


def test_the_order_of_members_and_the_spelling_make_no_other_call() -> None:
    spelt = json.loads('{"to":{"name":"\\u0041da"},"items":[1,25e-1,null,true],"note":"late","id":7}')
    assert digest(BOUND, spelt) == digest(BOUND, ARGUMENTS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (-0.0, "0"),
        (333333333.33333329, "333333333.3333333"),
        (2**53 + 1, "9007199254740993"),
        ("\u20ac$\u000f\nA'\u0042\u0022\u005c\\\"/", '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ({"\u20ac": 1, "\r": 2, "1": 3, "\U0001f600": 4, "\u0080": 5, "\ufb33": 6}, None),
    ],
)
def test_it_is_the_form_of_rfc_8785(value: Any, text: str | None) -> None:
    wanted = '{"\\r":2,"1":3,"\u0080":5,"€":1,"\U0001f600":4,"\ufb33":6}' if text is None else text
    assert canonical(value).decode() == wanted


def test_two_large_integers_that_differ_in_the_last_digit_are_two() -> None:
    assert canonical(2**60) != canonical(2**60 + 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1: 2}, {"x": object()}, b"x"])
def test_what_is_no_json_has_no_form(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical(value)


GRANT = GrantRow(id="g", connection_id="c1", principal=("https://idp.example", "alice"), tools=("get_*",))
RULE = GuardrailRow(id="r", name="refunds wait", effect="hold", names=("refund_*",))


def compiled(grants: list[GrantRow], rules: list[GuardrailRow]) -> bytes:
    return fingerprint(compile_connection("c1", grants=grants, guardrails=rules, patterns=[]))


def test_the_order_of_rows_makes_no_other_policy_and_what_concerns_others_neither() -> None:
    second = (
        RULE._replace(id="s", name="another") if hasattr(RULE, "_replace") else replace(RULE, id="s", name="another")
    )
    elsewhere = replace(RULE, id="t", name="elsewhere", connection_id="c2")
    assert compiled([GRANT], [RULE, second]) == compiled([GRANT], [second, RULE, elsewhere])


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("refund_*", "pay_*")},
        {"effect": "deny"},
        {"condition": "args.amount > 1"},
        {"is_observed": True},
        {"annotations": {"destructiveHint": True}},
        {"groups": (("https://idp.example", "sre"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_change_of_a_rule_makes_another_policy(change: dict[str, Any]) -> None:
    assert compiled([GRANT], [replace(RULE, **change)]) != compiled([GRANT], [RULE])


@pytest.mark.parametrize(
    "change",
    [{"tools": ("get_*", "put_*")}, {"valid_until": 5.0}, {"networks": ("10.0.0.0/8",)}, {"prompts": ("*",)}],
    ids=lambda change: next(iter(change)),
)
def test_every_change_of_a_grant_makes_another_policy(change: dict[str, Any]) -> None:
    assert compiled([replace(GRANT, **change)], [RULE]) != compiled([GRANT], [RULE])


_IN_ANOTHER_PROCESS = """
from policies.engine.binding import fingerprint
from policies.engine.compile import GrantRow, compile_connection
tools = ("get_*_by_?", "put_*_of_?x", "a*b*c", "one", "two", "three")
grant = GrantRow(id="g", connection_id="c1", principal=("https://idp.example", "alice"), tools=tools)
print(fingerprint(compile_connection("c1", grants=[grant], guardrails=[], patterns=[])).hex())
"""


def test_every_process_finds_the_same_policy_the_same() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", _IN_ANOTHER_PROCESS],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(told) == 1
