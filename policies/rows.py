"""From rows of the database to the plain rows that the engine compiles; the data path and every rehearsal read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from connections.catalogue import pinned
from connections.definitions import Pinned
from connections.models import Connection, Tool

from .engine.compile import GrantRow, GuardrailRow, PatternRow
from .engine.facts import ConnectionFacts, ToolFacts
from .models import AccessGrant, Guardrail, MaskingPattern


@dataclass(frozen=True, slots=True)
class PolicyRows:
    """All active policy, as plain rows.

    `tools` is what the catalogue says of tools, `taints` what their calls leave behind, and `catalogue` whether they
    were reviewed, by connection id and tool name.
    """

    grants: tuple[GrantRow, ...]
    guardrails: tuple[GuardrailRow, ...]
    patterns: tuple[PatternRow, ...]
    tools: Mapping[str, Mapping[str, ToolFacts]]
    taints: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    catalogue: Mapping[str, Mapping[str, Pinned]] = field(default_factory=dict)

    def needs_history(self) -> bool:
        """Tell whether any rule may look at what a caller did before; one that does not compile may, too."""
        return any("session" in row.condition for row in self.guardrails)


def policy_rows() -> PolicyRows:
    """Return all active policy; read it in one repeatable-read transaction to have one version of it."""
    grants = AccessGrant.objects.filter(is_active=True).select_related("principal", "group__provider")
    guardrails = Guardrail.objects.filter(is_active=True).prefetch_related("principals", "groups__provider")
    tools = list(Tool.objects.filter(connection__is_active=True))
    return PolicyRows(
        grants=tuple(grant_row(row) for row in grants),
        guardrails=tuple(guardrail_row(row) for row in guardrails),
        patterns=tuple(pattern_row(row) for row in MaskingPattern.objects.filter(is_active=True)),
        tools=_tools(tools),
        taints=_taints(tools),
        catalogue=_catalogue(tools),
    )


def grant_row(row: AccessGrant) -> GrantRow:
    """Return the plain row of a grant."""
    return GrantRow(
        id=str(row.pk),
        connection_id=_text(row.connection_id),
        labels=tuple(row.labels),
        principal=None if row.principal is None else (row.principal.issuer, row.principal.subject),
        group=None if row.group is None else (row.group.provider.issuer, row.group.name),
        tools=row.tools,
        prompts=row.prompts,
        resources=row.resources,
        valid_from=None if row.valid_from is None else row.valid_from.timestamp(),
        valid_until=None if row.valid_until is None else row.valid_until.timestamp(),
        windows=row.windows,
        networks=row.networks,
        condition=row.condition,
    )


def guardrail_row(row: Guardrail) -> GuardrailRow:
    """Return the plain row of a guardrail."""
    return GuardrailRow(
        id=str(row.pk),
        name=row.name,
        effect=row.effect,
        connection_id=_text(row.connection_id),
        labels=tuple(row.labels),
        methods=row.methods,
        names=row.names,
        reason=row.reason,
        principals=tuple((principal.issuer, principal.subject) for principal in row.principals.all()),
        groups=tuple((group.provider.issuer, group.name) for group in row.groups.all()),
        annotations=row.annotations,
        condition=row.condition,
        is_observed=row.is_observed,
    )


def pattern_row(row: MaskingPattern) -> PatternRow:
    """Return the plain row of a masking pattern."""
    return PatternRow(
        name=row.name,
        pattern=row.pattern,
        check=row.check_kind,
        replacement=row.replacement,
        connection_id=_text(row.connection_id),
    )


def connection_facts(row: Connection) -> ConnectionFacts:
    """Return what rules may know of a connection."""
    return ConnectionFacts(slug=row.slug, name=row.name, labels=tuple(row.labels))


def _tools(rows: Iterable[Tool]) -> dict[str, dict[str, ToolFacts]]:
    found: dict[str, dict[str, ToolFacts]] = {}
    for row in rows:
        definition = row.definition or {}
        annotations = definition.get("annotations")
        facts = ToolFacts(annotations if isinstance(annotations, dict) else {}, tuple(row.labels))
        found.setdefault(str(row.connection_id), {})[row.name] = facts
    return found


def _taints(rows: Iterable[Tool]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in rows:
        if row.taints:
            found.setdefault(str(row.connection_id), {})[row.name] = tuple(row.taints)
    return found


def _catalogue(rows: Iterable[Tool]) -> dict[str, dict[str, Pinned]]:
    found: dict[str, dict[str, Pinned]] = {}
    for row in rows:
        found.setdefault(str(row.connection_id), {})[row.name] = pinned(row)
    return found


def _text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)
