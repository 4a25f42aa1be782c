"""Every method of every revision has an explicit rule, and nothing that only looks like a method has any."""

from __future__ import annotations

import mcp_types.methods as official
import pytest

from policies.engine.compile import GrantRow, GuardrailRow, compile_connection
from policies.engine.rules import GRANTED, NO_RULE, PLUMBING, PLUMBING_PREFIXES, Call, ConnectionPolicy, decide
from policies.engine.verdicts import Deny, Effect
from policies.rehearsal import Somebody
from proxy.protocol.methods import CLASSES, METHODS, MethodClass

ANN = Somebody("https://idp.example", "ann")
FREE = {
    MethodClass.LIFECYCLE,
    MethodClass.LISTING,
    MethodClass.TASK,
    MethodClass.STREAM,
    MethodClass.LOGGING,
}
KINDS = {
    MethodClass.TOOL: "tool",
    MethodClass.PROMPT: "prompt",
    MethodClass.RESOURCE: "resource",
    MethodClass.COMPLETION: "prompt",
}
FROM_SCHEMAS = sorted({method for method, _ in official.CLIENT_REQUESTS} | set(CLASSES))
NOTIFICATIONS = sorted({method for table in METHODS.values() for method in table.client_notifications})


def policy(*rules: GuardrailRow) -> ConnectionPolicy:
    everything = GrantRow("g", "c", principal=(ANN.issuer, ANN.subject), tools=("*",), prompts=("*",), resources=("*",))
    return compile_connection("c", grants=[everything], guardrails=rules, patterns=())


OPEN = policy()
NARROW = compile_connection(
    "c", grants=[GrantRow("g", "c", principal=(ANN.issuer, ANN.subject), tools=("get_*",))], guardrails=(), patterns=()
)


def variants(method: str) -> list[str]:
    """Return spellings of a method that a careless comparison takes for it."""
    found = [method.upper(), method.title(), method.capitalize(), method.swapcase(), f" {method}", f"{method} "]
    found += [f"{method}\x00", f"{method}\n", f"\ufeff{method}", f"{method}\u200b", f"/{method}", f"{method}/"]
    found += [
        method.replace("/", "//"),
        method.replace("/", "\\"),
        method.replace("/", "."),
        method.replace("/", "%2f"),
    ]
    found += [method.replace("/", "／"), method.replace("l", "ⅼ"), method.replace("s", "ſ"), method.replace("i", "ı")]
    found += [f"x/{method}", f"x-{method}", f"rpc.{method}", f"{method}?", f"{method}#", f"extension/{method}/call"]
    return [other for other in dict.fromkeys(found) if other != method]


@pytest.mark.parametrize("method", FROM_SCHEMAS)
def test_each_request_of_each_revision_is_decided_by_its_class(method: str) -> None:
    class_ = CLASSES[method]
    if class_ in FREE:
        assert method in PLUMBING or method.startswith(PLUMBING_PREFIXES)
        assert decide(OPEN, ANN, Call(method, None, None), now=0.0) == GRANTED
        return
    kind = KINDS[class_]
    assert decide(OPEN, ANN, Call(method, kind, "x"), now=0.0) == GRANTED
    assert decide(OPEN, ANN, Call(method, kind, None), now=0.0) == NO_RULE
    assert decide(OPEN, ANN, Call(method, None, None), now=0.0) == NO_RULE
    assert decide(NARROW, ANN, Call(method, kind, "x"), now=0.0) == NO_RULE


@pytest.mark.parametrize("method", FROM_SCHEMAS)
def test_each_request_can_be_denied_by_its_name_whatever_it_names(method: str) -> None:
    closed = policy(GuardrailRow("r", "closed", "deny", methods=(method,)))
    for call in (Call(method, None, None), Call(method, "tool", "x"), Call(method, "resource", "a://b")):
        assert decide(closed, ANN, call, now=0.0) == Deny("closed", "")


@pytest.mark.parametrize("method", NOTIFICATIONS)
def test_each_notification_needs_a_grant_and_nothing_else(method: str) -> None:
    stranger = Somebody("https://idp.example", "bob")
    assert decide(OPEN, ANN, Call(method, None, None), now=0.0) == GRANTED
    assert decide(OPEN, stranger, Call(method, None, None), now=0.0).effect is Effect.DENY


@pytest.mark.parametrize("method", FROM_SCHEMAS)
def test_no_variant_of_a_method_is_a_method(method: str) -> None:
    tables = {known for table in METHODS.values() for known in (*table.client_requests, *table.client_notifications)}
    for other in variants(method):
        assert other not in tables, other
        if not other.startswith(PLUMBING_PREFIXES):
            assert decide(OPEN, ANN, Call(other, None, None), now=0.0) == NO_RULE, other
