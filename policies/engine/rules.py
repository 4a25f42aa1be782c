"""The rules and the decision: values in, a verdict out.

Who may call what is decided in three steps, and nothing else decides:

1. Grants say whether the connection exists for the caller at all, and which names may be called there. Without a
   grant that is in force the answer is the same as for a connection that does not exist. A token that was narrowed to
   some tools reaches no others.
2. Guardrails are looked at all together. Precedence is by effect, not by position: deny, then hold, then allow; what
   the grants allow counts as allow. A guardrail that allows extends what the holder of a grant may call.
3. When nothing speaks, the call is denied.

What cannot be told never helps the caller. A condition that fails makes a rule that denies or holds deny, and one that
allows not allow; a text that cannot be read makes a rule do what it does at its strictest. Groups that the provider did
not tell are every group for a rule that denies or holds, and none for a grant or a rule that allows.

The methods that only keep an MCP session going (`PLUMBING`) need a grant and no name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from .conditions import CannotTell, Circumstances, Condition
from .exceptions import PatternRefused
from .facts import UNKNOWN_TOOL, ConnectionFacts, Facts, ToolFacts
from .globs import Globs
from .masking import Masker
from .narrowing import OUTSIDE, Narrowing, permits
from .verdicts import Allow, Deny, Effect, Hold, Verdict
from .windows import ANYWHERE, Networks, Window

__all__ = [
    "FAILED_REASON",
    "GRANTED",
    "NO_GRANT",
    "NO_RULE",
    "PLUMBING",
    "PLUMBING_PREFIXES",
    "Call",
    "ConnectionPolicy",
    "Decision",
    "Globs",
    "Grant",
    "Kind",
    "Observed",
    "PatternRefused",
    "Rule",
    "Subject",
    "decide",
    "decision",
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
FAILED_REASON = "a condition of this policy could not be checked"
"""What callers are told of a condition that failed; the record says how."""


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

    @property
    def narrowing(self) -> Narrowing | None:
        """What the token leaves of the caller's access; None leaves all of it."""


class Call(NamedTuple):
    """What is asked for. `name` is a tool or prompt name or a resource URI; completion/complete carries its ref's."""

    method: str
    kind: Kind | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A principal, a group, or whoever meets `condition` may use the connection.

    Times are epoch seconds: from inclusive, until exclusive. With windows, one of them has to be open; with networks,
    the client has to be in one of them. The condition looks at who and whence, never at what is called.
    """

    id: str
    principal: tuple[str, str] | None
    group: tuple[str, str] | None
    tools: Globs
    prompts: Globs
    resources: Globs
    valid_from: float | None = None
    valid_until: float | None = None
    windows: tuple[Window, ...] = ()
    networks: Networks = ANYWHERE
    condition: Condition | None = None
    is_plain: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note whether only the times decide."""
        is_plain = not self.windows and not self.networks.networks and self.condition is None
        object.__setattr__(self, "is_plain", is_plain)

    def is_live(self, now: float) -> bool:
        """Tell whether `now` lies between the grant's begin and end."""
        if self.valid_from is not None and now < self.valid_from:
            return False
        return self.valid_until is None or now < self.valid_until

    def is_open(self, facts: Facts, circumstances: Circumstances) -> bool:
        """Tell whether windows, networks and condition let the caller in as well.

        Raises:
            CannotTell: the condition failed.
        """
        if self.windows and not any(window.holds(facts.now) for window in self.windows):
            return False
        if not self.networks.holds(facts.address):
            return False
        return self.condition is None or self.condition.holds(circumstances)

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
    """A compiled guardrail.

    `principals` and `groups` (issuer, name) are whom it is about, everybody when both are empty. `annotations` are what
    the tool has to say of itself; a tool that says nothing meets what a careful reader must assume. A rule that is only
    observed decides nothing: what it would have done is told beside the verdict.
    """

    id: str
    name: str
    effect: Effect
    methods: Globs
    names: Globs
    reason: str = ""
    principals: frozenset[tuple[str, str]] = frozenset()
    groups: frozenset[tuple[str, str]] = frozenset()
    annotations: tuple[tuple[str, bool], ...] = ()
    condition: Condition | None = None
    is_observed: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether method, name and tool alone decide that the rule speaks."""
        return not self.principals and not self.groups and self.condition is None and not self.is_observed

    def matches(self, call: Call, tool: ToolFacts = UNKNOWN_TOOL) -> bool:
        """Tell whether the rule speaks about `call`; rules that ask for certain names skip calls without one."""
        if not self.names.any_name and (call.name is None or not self.names.matches(call.name)):
            return False
        if not self.methods.matches(call.method):
            return False
        return not self.annotations or (call.kind == "tool" and self._matches_annotations(tool))

    def _matches_annotations(self, tool: ToolFacts) -> bool:
        for name, wanted in self.annotations:
            said = tool.annotations.get(name)
            if said is not wanted and (isinstance(said, bool) or self.effect is Effect.ALLOW):
                return False
        return True

    def is_about(self, identity: Subject) -> bool:
        """Tell whether the rule is about the caller."""
        if not self.principals and not self.groups:
            return True
        if (identity.issuer, identity.subject) in self.principals:
            return True
        if identity.groups is None:
            return self.effect is not Effect.ALLOW and any(issuer == identity.issuer for issuer, _ in self.groups)
        return any((identity.issuer, group) in self.groups for group in identity.groups)

    def verdict(self, attributes: tuple[str, ...] = ()) -> Verdict:
        """What the rule asks for."""
        return _SPOKEN[self.effect](self.name, self.reason, attributes)


class Spoken(NamedTuple):
    """What the guardrails say: the strictest matching verdict, and whether one of them allows the call."""

    verdict: Verdict | None
    allows: bool


class Observed(NamedTuple):
    """What a rule that is only observed would have done."""

    rule: str
    effect: Effect
    why: str = ""


class Decision(NamedTuple):
    """The verdict, and beside it what observed rules would have done."""

    verdict: Verdict
    observed: tuple[Observed, ...] = ()


@dataclass(frozen=True)
class ConnectionPolicy:
    """Everything that is decided about one connection; immutable, shared by all its calls.

    Rules that name what they are about to the letter, or by how it begins, are found by that, the others are tried;
    what was found is remembered by method and name, and by caller where a rule is about certain callers.
    """

    grants: tuple[Grant, ...]
    rules: tuple[Rule, ...]
    masker: Masker
    connection: ConnectionFacts = field(default_factory=ConnectionFacts)
    tools: Mapping[str, ToolFacts] = field(default_factory=dict, repr=False)
    needs_history: bool = field(init=False, repr=False, compare=False)
    has_bounded_grants: bool = field(init=False, repr=False, compare=False)
    _by_principal: dict[tuple[str, str], tuple[Grant, ...]] = field(init=False, repr=False, compare=False)
    _by_group: dict[str, dict[str, tuple[Grant, ...]]] = field(init=False, repr=False, compare=False)
    _by_condition: tuple[Grant, ...] = field(init=False, repr=False, compare=False)
    _exact: dict[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)
    _begins: dict[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)
    _lengths: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _patterned: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    _memo: dict[tuple[str, str | None], tuple[Spoken | None, tuple[Rule, ...]]] = field(
        init=False, repr=False, compare=False
    )
    _about: dict[tuple[str, str, frozenset[str] | None, str, str | None], tuple[Rule, ...]] = field(
        init=False, repr=False, compare=False
    )
    _held: dict[tuple[str, str, frozenset[str] | None], tuple[Grant, ...]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Sort the rules by precedence, so that the first match decides, and index grants and rules."""
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
        rules = sorted(self.rules, key=_order)
        exact: dict[str, list[Rule]] = {}
        begins: dict[str, list[Rule]] = {}
        patterned: list[Rule] = []
        for rule in rules:
            beginnings = rule.names.beginnings
            if beginnings is None:
                patterned.append(rule)
                continue
            for name in rule.names.exact:
                exact.setdefault(name, []).append(rule)
            for beginning in beginnings:
                begins.setdefault(beginning, []).append(rule)
        values = {
            "rules": tuple(rules),
            "needs_history": any(rule.condition is not None and rule.condition.needs_history for rule in rules),
            "has_bounded_grants": not all(grant.is_plain for grant in self.grants),
            "_by_principal": by_principal,
            "_by_group": by_group,
            "_by_condition": tuple(g for g in self.grants if g.principal is None and g.group is None),
            "_exact": {name: tuple(found) for name, found in exact.items()},
            "_begins": {beginning: tuple(found) for beginning, found in begins.items()},
            "_lengths": tuple(sorted({len(beginning) for beginning in begins})),
            "_patterned": tuple(patterned),
            "_memo": {},
            "_about": {},
            "_held": {},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def grants_of(self, identity: Subject) -> tuple[Grant, ...]:
        """Every grant that names the caller or one of the caller's groups, or asks for a condition, in force or not.

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
        found = [*self._by_principal.get((identity.issuer, identity.subject), ()), *self._by_condition]
        of_issuer = self._by_group.get(identity.issuer)
        if of_issuer is not None and identity.groups:
            for group in of_issuer.keys() & identity.groups:
                found += of_issuer[group]
        return found

    def guardrail(self, call: Call) -> tuple[Spoken | None, tuple[Rule, ...]]:
        """What the guardrails say about `call` whoever calls; or None, and the rules to ask for each call.

        Remembered by method and name: at most 10,000 entries, long names (resource URIs can be megabytes) never.
        """
        key = (call.method, call.name)
        memo = self._memo
        try:
            return memo[key]
        except KeyError:
            pass
        matching = self._matching(call)
        spoken: Spoken | None = None
        if all(rule.is_plain for rule in matching):
            verdict = matching[0].verdict() if matching else None
            spoken = Spoken(verdict, any(rule.effect is Effect.ALLOW for rule in matching))
        found = (spoken, matching)
        if len(call.method) + len(call.name or "") <= MEMO_NAME_CHARACTERS:
            if len(memo) >= MEMO_ENTRIES:
                memo.clear()
            memo[key] = found
        return found

    def _matching(self, call: Call) -> tuple[Rule, ...]:
        tool = self.tool_of(call)
        candidates = list(self._patterned)
        name = call.name
        if name is not None:
            candidates += self._exact.get(name, ())
            for length in self._lengths:
                candidates += self._begins.get(name[:length], ())
        found = {rule.id: rule for rule in candidates if rule.matches(call, tool)}
        return tuple(sorted(found.values(), key=_order))

    def tool_of(self, call: Call) -> ToolFacts:
        """Return what the catalogue knows of the tool that is called."""
        return self.tools.get(call.name or "", UNKNOWN_TOOL) if call.kind == "tool" else UNKNOWN_TOOL

    def about(self, identity: Subject, call: Call, matching: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Return those of `matching` that are about the caller, in order of precedence; remembered likewise."""
        key = (identity.issuer, identity.subject, identity.groups, call.method, call.name)
        known = self._about.get(key)
        if known is None:
            known = tuple(rule for rule in matching if rule.is_about(identity))
            if len(call.method) + len(call.name or "") <= MEMO_NAME_CHARACTERS:
                if len(self._about) >= MEMO_ENTRIES:
                    self._about.clear()
                self._about[key] = known
        return known


def _order(rule: Rule) -> tuple[int, str, str]:
    return _PRECEDENCE[rule.effect], rule.name, rule.id


def decide(
    policy: ConnectionPolicy, identity: Subject, call: Call, *, now: float, facts: Facts | None = None
) -> Verdict:
    """Return the verdict on `call` by `identity` at `now` (epoch seconds); see `decision`."""
    return decision(policy, identity, call, facts or Facts(now)).verdict


def decision(
    policy: ConnectionPolicy, identity: Subject, call: Call, facts: Facts, *, is_listing: bool = False
) -> Decision:
    """Return the verdict on `call` by `identity` under `facts`; with nothing that allows it, deny.

    A hold narrows what a grant or an allowing guardrail allows. It never widens it: a call that nothing allows is
    denied and not put before an approver.

    Args:
        policy: of the connection.
        identity: who calls.
        call: what is called.
        facts: when, from where, with which arguments, after what.
        is_listing: asked for a list, where the arguments are still to come: rules about them, and about what happened
            before, then count only when they allow.
    """
    circumstances = _circumstances(policy, identity, call, facts) if policy.has_bounded_grants else None
    has_grant, granted, failed = _granted(policy, identity, call, facts, circumstances)
    if not has_grant:
        return Decision(NO_GRANT if failed is None else _failed("grant", failed))
    if identity.narrowing is not None and not permits(identity.narrowing, call):
        return _OUTSIDE
    spoken, matching = policy.guardrail(call)
    observed: tuple[Observed, ...] = ()
    if spoken is None:
        rules = policy.about(identity, call, matching)
        circumstances = circumstances or _circumstances(policy, identity, call, facts)
        spoken, observed, failed = _spoken(rules, circumstances, failed, is_listing=is_listing)
    verdict = spoken.verdict
    if verdict is not None and verdict.effect is Effect.DENY:
        return Decision(verdict, observed)
    if not (granted or spoken.allows):
        return Decision(NO_RULE if failed is None else _failed("default", failed), observed)
    if verdict is None or (granted and verdict.effect is Effect.ALLOW):
        return Decision(GRANTED, observed) if observed else _GRANTED
    return Decision(verdict, observed)


_GRANTED = Decision(GRANTED)
_OUTSIDE = Decision(OUTSIDE)


def _circumstances(policy: ConnectionPolicy, identity: Subject, call: Call, facts: Facts) -> Circumstances:
    return Circumstances(identity, call, policy.connection, policy.tool_of(call), facts)


def _granted(
    policy: ConnectionPolicy, identity: Subject, call: Call, facts: Facts, circumstances: Circumstances | None
) -> tuple[bool, bool, str | None]:
    """Return whether a grant is in force, whether one allows the call, and what failed when one could not be told."""
    has_grant = False
    failed: str | None = None
    for grant in policy.grants_of(identity):
        if not grant.is_live(facts.now):
            continue
        if circumstances is not None and not grant.is_plain:
            try:
                if not grant.is_open(facts, circumstances):
                    continue
            except CannotTell as error:
                failed = error.why
                continue
        has_grant = True
        if grant.allows(call):
            return True, True, failed
    return has_grant, False, failed


def _spoken(
    rules: tuple[Rule, ...], circumstances: Circumstances, failed: str | None, *, is_listing: bool
) -> tuple[Spoken, tuple[Observed, ...], str | None]:
    """Ask the rules in order of precedence; none of them can undo what a stricter one said."""
    verdict: Verdict | None = None
    allows = False
    observed: list[Observed] = []
    for rule in rules:
        condition = rule.condition
        if is_listing and condition is not None and (condition.needs_arguments or condition.needs_history):
            allows = allows or (rule.effect is Effect.ALLOW and not rule.is_observed)
            continue
        try:
            if condition is not None and not condition.holds(circumstances):
                continue
            found: Verdict | None = rule.verdict(_attributes(rule))
            why = ""
        except CannotTell as error:
            why = error.why
            if rule.effect is Effect.ALLOW:
                found, failed = None, failed if rule.is_observed else why
            elif why == "unreadable":
                found = rule.verdict((f"condition: {why}",))
            else:
                found = Deny(rule.name, FAILED_REASON, (f"condition: {why}",))
        if found is None:
            continue
        if rule.is_observed:
            observed.append(Observed(rule.name, found.effect, why))
        elif found.effect is Effect.ALLOW:
            allows = True
            verdict = verdict or found
        elif found.effect is Effect.DENY:
            return Spoken(found, allows), tuple(observed), failed
        else:
            verdict = verdict or found
    return Spoken(verdict, allows), tuple(observed), failed


def _attributes(rule: Rule) -> tuple[str, ...]:
    """Say by what of the call the rule matched, for the record."""
    found: list[str] = []
    if rule.principals or rule.groups:
        found.append("caller")
    found += [f"{name}={str(wanted).lower()}" for name, wanted in rule.annotations]
    if rule.condition is not None:
        found += [f"condition: {name}" for name in sorted(rule.condition.uses)]
    return tuple(found)


def _failed(rule: str, why: str) -> Deny:
    return Deny(rule, FAILED_REASON, (f"condition: {why}",))


def has_access(policy: ConnectionPolicy, identity: Subject, *, now: float, facts: Facts | None = None) -> bool:
    """Tell whether the connection exists for `identity`: any grant is in force."""
    circumstances: Circumstances | None = None
    for grant in policy.grants_of(identity):
        if not grant.is_live(now):
            continue
        if grant.is_plain:
            return True
        facts = facts or Facts(now)
        circumstances = circumstances or _circumstances(policy, identity, _NO_CALL, facts)
        try:
            if grant.is_open(facts, circumstances):
                return True
        except CannotTell:
            continue
    return False


_NO_CALL = Call("", None, None)


def visible(
    policy: ConnectionPolicy, identity: Subject, kind: Kind, name: str, *, now: float, facts: Facts | None = None
) -> bool:
    """Tell whether a list shows `name`: the decision is the one that the call would get; a held call is shown."""
    call = Call(_CALL_METHOD[kind], kind, name)
    found = decision(policy, identity, call, facts or Facts(now), is_listing=True)
    return found.verdict.effect is not Effect.DENY
