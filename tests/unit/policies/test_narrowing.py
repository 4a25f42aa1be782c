from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.globs import Globs
from policies.engine.masking import Masker
from policies.engine.narrowing import OUTSIDE, permits, reaches
from policies.engine.rules import PLUMBING, Call, ConnectionPolicy, Grant, Rule, decide, visible
from policies.engine.verdicts import Allow, Deny, Effect

NOW = 1_000.0
EVERYTHING = Globs.compile(["*"])
GRANT = Grant("g", ("https://idp", "ann"), None, EVERYTHING, EVERYTHING, EVERYTHING)


@dataclass(frozen=True)
class Narrow:
    tools: tuple[str, ...] = ("get_*",)
    connection: str = "orders"


@dataclass(frozen=True)
class Someone:
    narrowing: Narrow | None = field(default_factory=Narrow)
    issuer: str = "https://idp"
    subject: str = "ann"
    groups: frozenset[str] | None = frozenset()


def policy(*rules: Rule, grants: tuple[Grant, ...] = (GRANT,)) -> ConnectionPolicy:
    return ConnectionPolicy(grants, rules, Masker.compile([]))


def tool(name: str) -> Call:
    return Call("tools/call", "tool", name)


def test_only_the_tools_that_the_token_names_are_called_and_listed() -> None:
    for name, is_left in [("get_order", True), ("delete_order", False), ("GET_order", False), ("", False)]:
        verdict = decide(policy(), Someone(), tool(name), now=NOW)
        assert (verdict == OUTSIDE) is not is_left
        assert visible(policy(), Someone(), "tool", name, now=NOW) is is_left


@pytest.mark.parametrize(
    "call",
    [
        Call("prompts/get", "prompt", "get_it"),
        Call("resources/read", "resource", "get_it"),
        Call("completion/complete", "prompt", "get_it"),
        Call("tools/call", "tool", None),
    ],
)
def test_prompts_and_resources_are_denied_to_a_token_for_tools(call: Call) -> None:
    assert decide(policy(), Someone(), call, now=NOW) == OUTSIDE


@pytest.mark.parametrize("method", sorted(PLUMBING))
def test_what_keeps_a_session_going_stays_allowed(method: str) -> None:
    assert isinstance(decide(policy(), Someone(), Call(method, None, None), now=NOW), Allow)


def test_a_token_never_widens_what_policy_allows() -> None:
    wide = Someone(Narrow(("*",)))
    assert isinstance(decide(policy(grants=()), wide, tool("get_order"), now=NOW), Deny)
    no = Rule("no", "no", Effect.DENY, EVERYTHING, EVERYTHING, "because")
    assert decide(policy(no), wide, tool("get_order"), now=NOW) == Deny("no", "because")


def test_without_a_grant_a_narrowed_token_learns_no_more_than_any_other() -> None:
    whole = Someone(narrowing=None)
    assert decide(policy(grants=()), Someone(), tool("x"), now=NOW) == decide(
        policy(grants=()), whole, tool("x"), now=NOW
    )


@pytest.mark.parametrize("tools", [(), ("",), ("a\x00b",), ("x" * 300,), ("*",) * 300])
def test_a_list_that_cannot_be_compiled_leaves_no_tool(tools: tuple[str, ...]) -> None:
    assert not permits(Narrow(tools), tool("get_order"))


def test_a_token_reaches_the_connection_that_it_names() -> None:
    assert reaches(None, "orders")
    assert reaches(Narrow(), "orders")
    assert not reaches(Narrow(), "Orders")
    assert not reaches(Narrow(), "")


@given(
    st.lists(st.sampled_from(["get_*", "delete_*", "*_order", "x"]), min_size=1), st.sampled_from(["get_a", "x", "y"])
)
def test_a_narrowed_verdict_is_the_wide_one_or_outside(tools: list[str], name: str) -> None:
    narrow = decide(policy(), Someone(Narrow(tuple(tools))), tool(name), now=NOW)
    wide = decide(policy(), Someone(narrowing=None), tool(name), now=NOW)
    assert narrow == (wide if Globs.compile(tools).matches(name) else OUTSIDE)
