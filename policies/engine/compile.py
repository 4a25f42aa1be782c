"""From rows, as the database has them, to the immutable policy of one connection.

A row that does not compile fails the whole connection: whoever compiles denies everything there until it is mended. A
rule that was silently left out could be the one that denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from .conditions import Condition
from .exceptions import PatternRefused
from .facts import ConnectionFacts, ToolFacts
from .globs import Globs
from .masking import Check, Masker, Pattern
from .rules import ConnectionPolicy, Grant, Rule
from .verdicts import Effect
from .windows import Networks, compile_windows

__all__ = [
    "GrantRow",
    "GuardrailRow",
    "PatternRefused",
    "PatternRow",
    "compile_connection",
    "compile_grant",
    "compile_rule",
]

_ANY_NAME = ("*",)
_GRANT_NAMES: Final = frozenset({"identity", "client", "connection", "request"})
ANNOTATIONS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
"""What a tool may say of itself (MCP, ToolAnnotations)."""


@dataclass(frozen=True)
class GrantRow:
    """An active AccessGrant, to a `principal` (issuer, subject), a `group` (issuer, name), or whom `condition` meets.

    It is for one connection, or, with `connection_id` None, for those that have one of its `labels`.

    Times are epoch seconds; None means no bound.
    """

    id: str
    connection_id: str | None
    principal: tuple[str, str] | None = None
    group: tuple[str, str] | None = None
    tools: Sequence[str] = ()
    prompts: Sequence[str] = ()
    resources: Sequence[str] = ()
    valid_from: float | None = None
    valid_until: float | None = None
    labels: Sequence[str] = ()
    windows: Sequence[Mapping[str, Any]] = ()
    networks: Sequence[str] = ()
    condition: str = ""


@dataclass(frozen=True)
class GuardrailRow:
    """An active Guardrail; `connection_id` None means all connections, or those with one of its `labels`."""

    id: str
    name: str
    effect: str
    connection_id: str | None = None
    methods: Sequence[str] = _ANY_NAME
    names: Sequence[str] = _ANY_NAME
    reason: str = ""
    labels: Sequence[str] = ()
    principals: Sequence[tuple[str, str]] = ()
    groups: Sequence[tuple[str, str]] = ()
    annotations: Mapping[str, bool] = field(default_factory=dict)
    condition: str = ""
    is_observed: bool = False


@dataclass(frozen=True)
class PatternRow:
    """An active MaskingPattern; `connection_id` None means every connection."""

    name: str
    pattern: str = field(repr=False)
    check: str = "none"
    replacement: str = ""
    connection_id: str | None = None


def compile_connection(
    connection_id: str,
    *,
    grants: Iterable[GrantRow],
    guardrails: Iterable[GuardrailRow],
    patterns: Iterable[PatternRow],
    literals: Sequence[tuple[str, bytes]] = (),
    connection: ConnectionFacts | None = None,
    tools: Mapping[str, ToolFacts] | None = None,
    compiled: dict[int, Rule] | None = None,
) -> ConnectionPolicy:
    """Compile what applies to `connection_id`; rows of other connections are passed over.

    `literals` are (name, secret) of the connection's active credentials, masked in every answer. `connection` has the
    labels that grants and guardrails may ask for, `tools` what the catalogue knows of its tools. `compiled` is shared
    by the connections of one snapshot: a guardrail that is about many of them is compiled once; it is keyed by the
    row's `id()`, so the rows must outlive it.

    Raises:
        PatternRefused: names the first row that does not compile. Deny everything on this connection.
    """
    facts = connection or ConnectionFacts()
    return ConnectionPolicy(
        grants=tuple(compile_grant(row) for row in grants if _applies(row, connection_id, facts, needs_either=True)),
        rules=tuple(
            _once(row, compiled) for row in guardrails if _applies(row, connection_id, facts, needs_either=False)
        ),
        masker=Masker.compile(
            [_pattern(row) for row in patterns if row.connection_id in (None, connection_id)], literals
        ),
        connection=facts,
        tools=tools or {},
    )


def _once(row: GuardrailRow, compiled: dict[int, Rule] | None) -> Rule:
    if compiled is None:
        return compile_rule(row)
    rule = compiled.get(id(row))
    if rule is None:
        rule = compiled[id(row)] = compile_rule(row)
    return rule


def _applies(row: GrantRow | GuardrailRow, connection_id: str, facts: ConnectionFacts, *, needs_either: bool) -> bool:
    """Tell whether a row is about the connection; one that names neither connection nor label is about all or none."""
    if row.connection_id is not None:
        return row.connection_id == connection_id
    if row.labels:
        return not set(facts.labels).isdisjoint(row.labels)
    return not needs_either


def compile_grant(row: GrantRow) -> Grant:
    """Return the grant that `row` describes.

    Raises:
        PatternRefused: with the place of what does not compile.
    """
    place = f"grant {row.id}"
    if row.principal is not None and row.group is not None:
        raise PatternRefused(place, "name either a principal or a group")
    if row.principal is None and row.group is None and not row.condition:
        raise PatternRefused(place, "name a principal, a group or a condition")
    condition = _condition(row.condition, f"{place}, condition")
    if condition is not None and not condition.uses <= _GRANT_NAMES:
        names = ", ".join(sorted(condition.uses - _GRANT_NAMES))
        raise PatternRefused(
            f"{place}, condition",
            f"a grant looks at {', '.join(sorted(_GRANT_NAMES))}, not at {names}; use a guardrail for that",
            code="condition_refused",
        )
    return Grant(
        id=row.id,
        principal=row.principal,
        group=row.group,
        tools=Globs.compile(row.tools, place=f"{place}, tools"),
        prompts=Globs.compile(row.prompts, place=f"{place}, prompts"),
        resources=Globs.compile(row.resources, place=f"{place}, resources"),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        windows=compile_windows(row.windows, place=f"{place}, windows"),
        networks=Networks.compile(row.networks, place=f"{place}, networks"),
        condition=condition,
    )


def compile_rule(row: GuardrailRow) -> Rule:
    """Return the rule that `row` describes.

    Raises:
        PatternRefused: with the place of what does not compile.
    """
    place = f'guardrail "{row.name}"'
    try:
        effect = Effect(row.effect)
    except ValueError:
        raise PatternRefused(place, "the effect is none of deny, hold and allow") from None
    # An empty list matches no call: a guardrail that was meant to deny would be silent.
    if not row.methods or not row.names:
        raise PatternRefused(place, 'methods and names must not be empty; write ["*"] for all')
    return Rule(
        id=row.id,
        name=row.name,
        effect=effect,
        methods=Globs.compile(row.methods, place=f"{place}, methods"),
        names=Globs.compile(row.names, place=f"{place}, names"),
        reason=row.reason,
        principals=frozenset(row.principals),
        groups=frozenset(row.groups),
        annotations=_annotations(row.annotations, f"{place}, annotations"),
        condition=_condition(row.condition, f"{place}, condition"),
        is_observed=row.is_observed,
    )


def _condition(source: str, place: str) -> Condition | None:
    return Condition.compile(source, place=place) if source else None


def _annotations(wanted: Mapping[str, bool], place: str) -> tuple[tuple[str, bool], ...]:
    for name, value in wanted.items():
        if name not in ANNOTATIONS or not isinstance(value, bool):
            raise PatternRefused(place, f"the annotations are {', '.join(ANNOTATIONS)}, each true or false")
    return tuple(sorted(wanted.items()))


def _pattern(row: PatternRow) -> Pattern:
    # Masker.compile refuses any other value of check, by the pattern's name.
    return Pattern(row.name, row.pattern, cast("Check", row.check), row.replacement)
