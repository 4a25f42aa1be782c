"""What a client that listens is told when policy changes what it may see.

A list is filtered by policy, so a change of policy changes the list although its upstream knows nothing of it. Whoever
has a stream open for such news (the GET stream of the legacy era, `subscriptions/listen` of the modern one) gets the
`list_changed` notification that the upstream would have sent. It is told too often rather than too seldom: prompts and
resources have no catalogue, so that any change of a rule about them counts.

Sources: MCP 2025-11-25, "Tools", list changed notification; MCP 2026-07-28, "Subscriptions".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from policies.engine.rules import ConnectionPolicy, Kind, visible
from proxy.ports import Call, Route

LISTEN: Final = "subscriptions/listen"
_KINDS: Final[tuple[Kind, ...]] = ("tool", "prompt", "resource")
_SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"


def heard(call: Call) -> frozenset[Kind]:
    """Return the kinds of lists of whose changes the client wants to hear on the stream of `call`."""
    if call.verb == b"GET":
        return frozenset(_KINDS)
    if call.method != LISTEN or call.message is None:
        return frozenset()
    wanted = getattr(call.message, "params", {}).get("notifications")
    if not isinstance(wanted, dict):
        return frozenset()
    return frozenset(kind for kind in _KINDS if wanted.get(f"{kind}sListChanged") is True)


def note(call: Call, route: Route | None, now: float) -> None:
    """Note in `call` which lists look different under `route`, the newest of its connection, and wake its stream."""
    known = call.told_by or call.route
    if route is None or route is known or call.nudge is None:
        return
    call.told_by = route
    kinds = [kind for kind in heard(call) if _differs(call, kind, known, route, now)]
    if kinds:
        call.notices.update(kinds)
        call.nudge()


def message(call: Call, kind: Kind) -> bytes:
    """Return the notification that lists of `kind` have changed."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notifications/{kind}s/list_changed"}
    if call.has_era_modern:
        body["params"] = {"_meta": {_SUBSCRIPTION_ID: call.request_id}}
    return orjson.dumps(body)


def _differs(call: Call, kind: Kind, old: Route, new: Route, now: float) -> bool:
    if old.policy is None or new.policy is None:
        return True
    if kind == "tool" and old.catalogue and new.catalogue:
        names = old.catalogue.keys() | new.catalogue.keys()
        return _tools(call, old, names, now) != _tools(call, new, names, now)
    return _about(old.policy, kind) != _about(new.policy, kind)


def _tools(call: Call, route: Route, names: Iterable[str], now: float) -> set[str]:
    """Return the tools that the caller sees under `route`."""
    policy, facts = route.policy, call.facts(now)
    assert policy is not None  # noqa: S101 - the caller has looked
    return {
        name
        for name in names
        if (tool := route.catalogue.get(name)) is not None
        and tool.is_accepted
        and visible(policy, call.identity, "tool", name, now=now, facts=facts)
    }


def _about(policy: ConnectionPolicy, kind: Kind) -> tuple[object, ...]:
    """Return everything in a policy that lists of `kind` depend on, comparable."""
    grants = [
        (
            grant.principal,
            grant.group,
            getattr(grant, f"{kind}s").comparable,
            grant.valid_from,
            grant.valid_until,
            grant.windows,
            grant.networks,
            grant.condition.source if grant.condition else "",
        )
        for grant in policy.grants
    ]
    rules = [
        (
            rule.effect,
            rule.methods.comparable,
            rule.names.comparable,
            rule.principals,
            rule.groups,
            rule.annotations,
            rule.condition.source if rule.condition else "",
            rule.is_observed,
        )
        for rule in policy.rules
    ]
    return grants, rules, policy.connection, policy.tools
