"""Policy asked without a call: by the simulator, by policy tests, and by back-tests of recorded calls. Pure.

It compiles the same rows by the same engine as the data path and asks the same question, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .engine.compile import PatternRefused, compile_connection
from .engine.facts import ConnectionFacts, Facts, History, Past
from .engine.narrowing import Narrowing
from .engine.rules import Call, ConnectionPolicy, Decision, Kind, Rule, decision, has_access
from .rows import PolicyRows

KINDS: Mapping[str, Kind] = {
    "tools/call": "tool",
    "prompts/get": "prompt",
    "resources/read": "resource",
    "resources/subscribe": "resource",
    "resources/unsubscribe": "resource",
}
"""Methods and what they name; `completion/complete` is about what it completes."""
_COMPLETED: Mapping[str, Kind] = {"ref/prompt": "prompt", "ref/resource": "resource"}
_MEMBERS = frozenset({"identity", "connection", "method", "name", "arguments", "time", "address", "client", "history"})
_PAST_MEMBERS = frozenset({"seconds_ago", "connection", "name", "bytes", "labels", "values"})
_MAX_PAST = 1_000
_IDENTITY_MEMBERS = frozenset({"issuer", "subject", "groups", "kind", "client_id", "actors", "audiences", "claims"})


class CaseRefused(ValueError):
    """A case cannot be asked: `member` says where, the text says what to write instead."""

    def __init__(self, member: str, hint: str) -> None:
        super().__init__(f"{member}: {hint}")
        self.member, self.hint = member, hint


@dataclass(frozen=True, slots=True)
class Somebody:
    """A caller who need not exist. `groups` None means that the provider did not tell them."""

    issuer: str
    subject: str
    groups: frozenset[str] | None = frozenset()
    kind: str = "unknown"
    client_id: str = ""
    actors: tuple[str, ...] = ()
    audiences: frozenset[str] = frozenset()
    narrowing: Narrowing | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Case:
    """A call that might be made: who calls what, where, with what, when and from where."""

    identity: Somebody
    connection: str
    method: str
    name: str | None
    facts: Facts
    kind: Kind | None = None

    @property
    def call(self) -> Call:
        """The call as the engine takes it."""
        return Call(self.method, self.kind or kind_of(self.method, self.facts.arguments or {}), self.name)


def kind_of(method: str, params: Mapping[str, Any]) -> Kind | None:
    """Return what a request is about: a tool, a prompt, a resource, or nothing that has a name."""
    if method != "completion/complete":
        return KINDS.get(method)
    reference = params.get("ref")
    kind = reference.get("type") if isinstance(reference, Mapping) else None
    return _COMPLETED.get(kind) if isinstance(kind, str) else None


@dataclass(slots=True)
class Rehearsal:
    """Policy, compiled connection by connection as it is asked for.

    Args:
        rows: all policy.
        connections: by slug, the id and what rules may know of it.
        pinning: slugs of the connections whose tools have to be reviewed; the verdict of policy does not look at it.
    """

    rows: PolicyRows
    connections: Mapping[str, tuple[str, ConnectionFacts]]
    pinning: frozenset[str] = frozenset()
    _policies: dict[str, ConnectionPolicy] = field(default_factory=dict)
    _compiled: dict[int, Rule] = field(default_factory=dict)

    def policy_of(self, slug: str) -> ConnectionPolicy:
        """Return the compiled policy of a connection.

        Raises:
            CaseRefused: there is no such connection, or its policy does not compile.
        """
        known = self._policies.get(slug)
        if known is not None:
            return known
        if slug not in self.connections:
            raise CaseRefused("connection", "there is no connection of that name")
        connection_id, facts = self.connections[slug]
        try:
            policy = compile_connection(
                connection_id,
                grants=self.rows.grants,
                guardrails=self.rows.guardrails,
                patterns=(),
                connection=facts,
                tools=self.rows.tools.get(connection_id),
                compiled=self._compiled,
            )
        except PatternRefused as error:
            raise CaseRefused("connection", f"its policy does not compile: {error}") from None
        self._policies[slug] = policy
        return policy

    def decision(self, case: Case) -> Decision:
        """Return what policy says of `case`.

        Raises:
            CaseRefused: as `policy_of`.
        """
        return decision(self.policy_of(case.connection), case.identity, case.call, case.facts)

    def has_access(self, case: Case) -> bool:
        """Tell whether the connection exists for the caller of `case`."""
        return has_access(self.policy_of(case.connection), case.identity, now=case.facts.now, facts=case.facts)


def read_case(given: object, *, now: float) -> Case:
    """Return the case that `given` describes, an object as policy tests and the simulator write it.

    Args:
        given: identity (issuer, subject, groups, kind, client_id), connection, method, name, arguments, time, address,
            client (name, version), and history: earlier calls, each with seconds_ago, connection, name, and if need be
            bytes, labels and values (texts, by argument).
        now: used without a `time`, in epoch seconds.

    Raises:
        CaseRefused: with the member that is wrong and what to write.
    """
    if not isinstance(given, Mapping):
        raise CaseRefused("given", "write an object")
    _only(given, _MEMBERS, "given")
    method = _text(given, "method", "tools/call")
    name = given.get("name")
    if name is not None and not isinstance(name, str):
        raise CaseRefused("name", "write a text")
    arguments = given.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise CaseRefused("arguments", "write an object")
    client = given.get("client", {})
    if not isinstance(client, Mapping):
        raise CaseRefused("client", "write an object with name and version")
    _only(client, frozenset({"name", "version"}), "client")
    if name is not None and KINDS.get(method) == "resource":
        # What is not a tool or a prompt has no arguments of its own: rules see all that the request says.
        arguments = {"uri": name, **arguments}
    kind = kind_of(method, arguments)
    if method == "completion/complete" and kind == "prompt":
        # As on the data path, where a prompt's arguments are one member of the request.
        arguments = found if isinstance(found := arguments.get("arguments"), Mapping) else {}
    moment = _time(given.get("time"), now)
    facts = Facts(
        now=moment,
        address=_text(given, "address", ""),
        client_name=_text(client, "name", ""),
        client_version=_text(client, "version", ""),
        arguments=dict(arguments),
        # The data path keeps the history of calls that name something; to others it is unknown.
        history=_history(given.get("history", []), moment) if kind is not None else None,
    )
    return Case(_somebody(given.get("identity")), _text(given, "connection"), method, name, facts, kind)


def _history(given: object, now: float) -> History:
    if not isinstance(given, list | tuple) or len(given) > _MAX_PAST:
        raise CaseRefused("history", f"write a list of at most {_MAX_PAST} earlier calls")
    found = [_past(entry, f"history, call {number}", now) for number, entry in enumerate(given, start=1)]
    return History(tuple(sorted(found, key=lambda past: past.at)))


def _past(given: object, place: str, now: float) -> Past:
    if not isinstance(given, Mapping):
        raise CaseRefused(place, "write an object with seconds_ago, connection and name")
    _only(given, _PAST_MEMBERS, place)
    ago, size, values = given.get("seconds_ago", 0), given.get("bytes", 0), given.get("values", {})
    if isinstance(ago, bool) or not isinstance(ago, int | float) or not 0 <= ago < 1e9:
        raise CaseRefused(place, "seconds_ago is a number from 0")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise CaseRefused(place, "bytes is a whole number from 0")
    if not isinstance(values, Mapping) or not all(isinstance(text, str) for pair in values.items() for text in pair):
        raise CaseRefused(place, "values is an object of texts, by argument")
    for member in ("connection", "name"):
        if not isinstance(given.get(member), str) or not given[member]:
            raise CaseRefused(place, f"{member} is missing")
    try:
        labels = _texts(given.get("labels", []), "labels")
    except CaseRefused:
        raise CaseRefused(place, "labels is a list of texts") from None
    return Past(now - ago, given["connection"], given["name"], size, tuple(labels), dict(values))


def _somebody(given: object) -> Somebody:
    if not isinstance(given, Mapping):
        raise CaseRefused("identity", "write an object with issuer and subject")
    _only(given, _IDENTITY_MEMBERS, "identity")
    groups = given.get("groups", [])
    claims = given.get("claims", {})
    if not isinstance(claims, Mapping):
        raise CaseRefused("claims", "write an object")
    return Somebody(
        issuer=_text(given, "issuer"),
        subject=_text(given, "subject"),
        groups=None if groups is None else frozenset(_texts(groups, "groups")),
        kind=_text(given, "kind", "unknown"),
        client_id=_text(given, "client_id", ""),
        actors=tuple(_texts(given.get("actors", []), "actors")),
        audiences=frozenset(_texts(given.get("audiences", []), "audiences")),
        claims=dict(claims),
    )


def _only(given: Mapping[Any, Any], members: frozenset[str], where: str) -> None:
    for name in given:
        if name not in members:
            raise CaseRefused(where, f"{str(name)[:40]!r} is not known; there are {', '.join(sorted(members))}")


def _text(given: Mapping[Any, Any], member: str, otherwise: str | None = None) -> str:
    value = given.get(member, otherwise)
    if not isinstance(value, str) or (otherwise is None and not value):
        raise CaseRefused(member, "write a text")
    return value


def _texts(value: object, member: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise CaseRefused(member, "write a list of texts")
    return list(value)


def _time(value: object, now: float) -> float:
    if value is None:
        return now
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CaseRefused("time", "write a time with its zone, such as 2026-03-29T02:30:00+01:00")
    return moment.timestamp()
