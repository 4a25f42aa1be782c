"""The rules and the decision: values in, a verdict out.

Who may call what is decided in three steps, and nothing else decides:

1. Grants say whether the connection exists for the caller at all, and which names may be called there. Without a
   grant that is in force the answer is the same as for a connection that does not exist.
2. Guardrails are looked at all together. Precedence is by effect, not by position: deny, then hold, then allow; what
   the grants allow counts as allow. A guardrail that allows extends what the holder of a grant may call.
3. When nothing speaks, the call is denied.

The methods that only keep an MCP session going (`PLUMBING`) need a grant and no name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from .exceptions import PatternRefused
from .globs import Globs
from .masking import Masker
from .verdicts import Allow, Deny, Effect, Hold, Verdict

__all__ = [
    "GRANTED",
    "NO_GRANT",
    "NO_RULE",
    "PLUMBING",
    "PLUMBING_PREFIXES",
    "Call",
    "ConnectionPolicy",
    "Globs",
    "Grant",
    "Kind",
    "PatternRefused",
    "Rule",
    "Subject",
    "decide",
    "has_access",
    "visible",
]

Kind = Literal["tool", "prompt", "resource"]

PLUMBING = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "subscriptions/listen",
        # Our own names for what has no method: an answer of the client, and GET and DELETE of a legacy session.
        "response",
        "session/stream",
        "session/end",
    }
)
"""Methods that every holder of a grant may call: they name nothing, and what they list is filtered by `visible`."""

PLUMBING_PREFIXES = ("notifications/", "tasks/")
"""A task handle is bound to the decision on the call that made it; a notification runs nothing."""

NO_GRANT = Deny("no-grant", "no access to this connection")
NO_RULE = Deny("default", "no rule allows this call")
GRANTED = Allow("grant")

MEMO_ENTRIES = 10_000
MEMO_NAME_CHARACTERS = 512

_CALL_METHOD: Mapping[Kind, str] = MappingProxyType(
    {"tool": "tools/call", "prompt": "prompts/get", "resource": "resources/read"}
)
_PRECEDENCE = {effect: position for position, effect in enumerate(Effect)}
_SPOKEN: Mapping[Effect, type[Deny | Hold | Allow]] = {Effect.DENY: Deny, Effect.HOLD: Hold, Effect.ALLOW: Allow}


class Subject(Protocol):
    """Who calls: the verified identity of this request. `groups` is None when the provider did not tell them."""

    @property
    def issuer(self) -> str:
        """The identity provider, as its tokens name it."""

    @property
    def subject(self) -> str:
        """The principal within the issuer; never an e-mail address."""

    @property
    def groups(self) -> frozenset[str] | None:
        """Names of groups within the issuer; None means unknown, which is not the same as none."""


class Call(NamedTuple):
    """What is asked for. `name` is a tool or prompt name or a resource URI; completion/complete carries its ref's."""

    method: str
    kind: Kind | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A principal or a group may use the connection. Times are epoch seconds: from inclusive, until exclusive."""

    id: str
    principal: tuple[str, str] | None
    group: tuple[str, str] | None
    tools: Globs
    prompts: Globs
    resources: Globs
    valid_from: float | None = None
    valid_until: float | None = None

    def is_live(self, now: float) -> bool:
        """Tell whether the grant is in force at `now`."""
        if self.valid_from is not None and now < self.valid_from:
            return False
        return self.valid_until is None or now < self.valid_until

    def allows(self, call: Call) -> bool:
        """Tell whether the grant by itself lets its holder make `call`."""
        if call.kind is None:
            return call.method in PLUMBING or call.method.startswith(PLUMBING_PREFIXES)
        if call.name is None:
            return False
        if call.kind == "tool":
            return self.tools.matches(call.name)
        if call.kind == "prompt":
            return self.prompts.matches(call.name)
        return self.resources.matches(call.name)


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled guardrail."""

    id: str
    name: str
    effect: Effect
    methods: Globs
    names: Globs
    reason: str = ""

    def matches(self, call: Call) -> bool:
        """Tell whether the rule speaks about `call`; rules that ask for certain names skip calls without one."""
        if not self.names.any_name and (call.name is None or not self.names.matches(call.name)):
            return False
        return self.methods.matches(call.method)

    def verdict(self) -> Verdict:
        """What the rule asks for."""
        return _SPOKEN[self.effect](self.name, self.reason)


class Spoken(NamedTuple):
    """What the guardrails say: the strictest matching verdict, and whether one of them allows the call."""

    verdict: Verdict | None
    allows: bool


@dataclass(frozen=True)
class ConnectionPolicy:
    """Everything that is decided about one connection; immutable, shared by all its calls."""

    grants: tuple[Grant, ...]
    rules: tuple[Rule, ...]
    masker: Masker
    _by_principal: dict[tuple[str, str], tuple[Grant, ...]] = field(init=False, repr=False, compare=False)
    _by_group: dict[str, dict[str, tuple[Grant, ...]]] = field(init=False, repr=False, compare=False)
    _memo: dict[tuple[str, str | None], Spoken] = field(init=False, repr=False, compare=False)
    _held: dict[tuple[str, str, frozenset[str] | None], tuple[Grant, ...]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Sort the rules by precedence, so that the first match decides, and index the grants by their holder."""
        by_principal: dict[tuple[str, str], tuple[Grant, ...]] = {}
        by_group: dict[str, dict[str, tuple[Grant, ...]]] = {}
        for grant in self.grants:
            if grant.principal is not None:
                by_principal[grant.principal] = (*by_principal.get(grant.principal, ()), grant)
            elif grant.group is not None:
                issuer, group = grant.group
                of_issuer = by_group.setdefault(issuer, {})
                of_issuer[group] = (*of_issuer.get(group, ()), grant)
        # The name and the id make the rule that is shown to the caller independent of the order of the rows.
        rules = sorted(self.rules, key=lambda rule: (_PRECEDENCE[rule.effect], rule.name, rule.id))
        object.__setattr__(self, "rules", tuple(rules))
        object.__setattr__(self, "_by_principal", by_principal)
        object.__setattr__(self, "_by_group", by_group)
        object.__setattr__(self, "_memo", {})
        object.__setattr__(self, "_held", {})

    def grants_of(self, identity: Subject) -> Iterable[Grant]:
        """Every grant that names the caller or one of the caller's groups, in force or not.

        Remembered for each caller and set of groups: a call asks twice, and whoever calls once calls again.
        """
        key = (identity.issuer, identity.subject, identity.groups)
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= MEMO_ENTRIES:
                self._held.clear()
            held = self._held[key] = tuple(self._grants_of(identity))
        return held

    def _grants_of(self, identity: Subject) -> Iterable[Grant]:
        own = self._by_principal.get((identity.issuer, identity.subject), ())
        of_issuer = self._by_group.get(identity.issuer)
        if of_issuer is None or not identity.groups:
            return own
        found = list(own)
        for group in of_issuer.keys() & identity.groups:
            found += of_issuer[group]
        return found

    def guardrail(self, call: Call) -> Spoken:
        """What the guardrails say about `call`, whoever calls.

        Which rules match depends on the method and the name alone, so the answer is remembered: at most 10,000
        entries, long names (resource URIs can be megabytes) never.
        """
        key = (call.method, call.name)
        memo = self._memo
        try:
            return memo[key]
        except KeyError:
            pass
        matching = [rule for rule in self.rules if rule.matches(call)]
        verdict = matching[0].verdict() if matching else None
        spoken = Spoken(verdict, any(rule.effect is Effect.ALLOW for rule in matching))
        if len(call.method) + len(call.name or "") <= MEMO_NAME_CHARACTERS:
            if len(memo) >= MEMO_ENTRIES:
                memo.clear()
            memo[key] = spoken
        return spoken


def decide(policy: ConnectionPolicy, identity: Subject, call: Call, *, now: float) -> Verdict:
    """Return the verdict on `call` by `identity` at `now` (epoch seconds); with nothing that allows it, deny.

    A hold narrows what a grant or an allowing guardrail allows. It never widens it: a call that nothing allows is
    denied and not put before an approver.
    """
    has_grant = granted = False
    for grant in policy.grants_of(identity):
        if grant.is_live(now):
            has_grant = True
            if grant.allows(call):
                granted = True
                break
    if not has_grant:
        return NO_GRANT
    spoken = policy.guardrail(call)
    verdict = spoken.verdict
    if verdict is not None and verdict.effect is Effect.DENY:
        return verdict
    if not (granted or spoken.allows):
        return NO_RULE
    if verdict is None or (granted and verdict.effect is Effect.ALLOW):
        return GRANTED
    return verdict


def has_access(policy: ConnectionPolicy, identity: Subject, *, now: float) -> bool:
    """Tell whether the connection exists for `identity`: any grant is in force."""
    return any(grant.is_live(now) for grant in policy.grants_of(identity))


def visible(policy: ConnectionPolicy, identity: Subject, kind: Kind, name: str, *, now: float) -> bool:
    """Tell whether a list shows `name`: the decision is the one that the call would get; a held call is shown."""
    call = Call(_CALL_METHOD[kind], kind, name)
    return decide(policy, identity, call, now=now).effect is not Effect.DENY
