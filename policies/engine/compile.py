"""From rows, as the database has them, to the immutable policy of one connection.

A row that does not compile fails the whole connection: whoever compiles denies everything there until it is mended. A
rule that was silently left out could be the one that denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from .exceptions import PatternRefused
from .globs import Globs
from .masking import Check, Masker, Pattern
from .rules import ConnectionPolicy, Grant, Rule
from .verdicts import Effect

__all__ = ["GrantRow", "GuardrailRow", "PatternRefused", "PatternRow", "compile_connection"]

_ANY_NAME = ("*",)


@dataclass(frozen=True)
class GrantRow:
    """An active AccessGrant. Exactly one of `principal` (issuer, subject) and `group` (issuer, name) is given.

    Times are epoch seconds; None means no bound.
    """

    id: str
    connection_id: str
    principal: tuple[str, str] | None = None
    group: tuple[str, str] | None = None
    tools: Sequence[str] = ()
    prompts: Sequence[str] = ()
    resources: Sequence[str] = ()
    valid_from: float | None = None
    valid_until: float | None = None


@dataclass(frozen=True)
class GuardrailRow:
    """An active Guardrail; `connection_id` None means every connection."""

    id: str
    name: str
    effect: str
    connection_id: str | None = None
    methods: Sequence[str] = _ANY_NAME
    names: Sequence[str] = _ANY_NAME
    reason: str = ""


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
) -> ConnectionPolicy:
    """Compile what applies to `connection_id`; rows of other connections are passed over.

    `literals` are (name, secret) of the connection's active credentials, masked in every answer.

    Raises:
        PatternRefused: names the first row that does not compile. Deny everything on this connection.
    """
    return ConnectionPolicy(
        grants=tuple(_grant(row) for row in grants if row.connection_id == connection_id),
        rules=tuple(_rule(row) for row in guardrails if row.connection_id in (None, connection_id)),
        masker=Masker.compile(
            [_pattern(row) for row in patterns if row.connection_id in (None, connection_id)], literals
        ),
    )


def _grant(row: GrantRow) -> Grant:
    place = f"grant {row.id}"
    if (row.principal is None) == (row.group is None):
        raise PatternRefused(place, "name either a principal or a group")
    return Grant(
        id=row.id,
        principal=row.principal,
        group=row.group,
        tools=Globs.compile(row.tools, place=f"{place}, tools"),
        prompts=Globs.compile(row.prompts, place=f"{place}, prompts"),
        resources=Globs.compile(row.resources, place=f"{place}, resources"),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )


def _rule(row: GuardrailRow) -> Rule:
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
    )


def _pattern(row: PatternRow) -> Pattern:
    # Masker.compile refuses any other value of check, by the pattern's name.
    return Pattern(row.name, row.pattern, cast("Check", row.check), row.replacement)
