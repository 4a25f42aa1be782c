"""Writes of grants, guardrails and masking patterns. Every one is a use case, in one transaction.

The version of the policy moves by database triggers in the same transaction (`migrations/0002`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import cast
from uuid import UUID

from django.db import transaction

from accounts.models import Group, Principal, User
from accounts.saving import Refusals
from connections.models import Connection

from .engine.globs import Globs
from .engine.masking import Check, Masker, Pattern, PatternRefused
from .models import AccessGrant, Guardrail, MaskingPattern


@transaction.atomic
def grant_save(
    *,
    grant_id: UUID | None = None,
    connection: Connection,
    principal: Principal | None = None,
    group: Group | None = None,
    tools: Iterable[str] = (),
    prompts: Iterable[str] = (),
    resources: Iterable[str] = (),
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    note: str = "",
    is_active: bool = True,
    created_by: User | None = None,
    now: datetime,
) -> AccessGrant:
    """Create or change a grant to a principal or to a group.

    Without an id, a grant that says the same (all but `is_active`) is that grant, so that seeding twice grants once.

    Raises:
        AccessGrant.DoesNotExist: there is no grant `grant_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    refusals = Refusals()
    values = {
        "connection": connection,
        "principal": principal,
        "group": group,
        "tools": _globs("tools", tools, refusals),
        "prompts": _globs("prompts", prompts, refusals),
        "resources": _globs("resources", resources, refusals),
        "valid_from": valid_from,
        "valid_until": valid_until,
        "note": note,
    }
    if grant_id is None:
        grant = AccessGrant.objects.select_for_update(of=("self",)).filter(**values).first()
        grant = grant or AccessGrant(created_by=created_by, created_at=now)
    else:
        grant = AccessGrant.objects.select_for_update(of=("self",)).get(pk=grant_id)
    for field, value in values.items():
        setattr(grant, field, value)
    grant.is_active = is_active
    if not (grant.tools or grant.prompts or grant.resources):
        refusals.add("tools", "grants_nothing", "Name at least one tool, prompt or resource; * is every one.")
    refusals.save(grant)
    return grant


@transaction.atomic
def grant_delete(*, grant_id: UUID) -> None:
    """Delete a grant; calls that it carried are denied from then on.

    Raises:
        AccessGrant.DoesNotExist: there is no such grant.
    """
    AccessGrant.objects.get(pk=grant_id).delete()


@transaction.atomic
def guardrail_save(
    *,
    guardrail_id: UUID | None = None,
    name: str,
    effect: str,
    connection: Connection | None = None,
    methods: Iterable[str] = ("*",),
    names: Iterable[str] = ("*",),
    reason: str = "",
    is_active: bool = True,
    now: datetime,
) -> Guardrail:
    """Create or change the guardrail `guardrail_id`; without an id, the one of that `name` if there is one.

    Raises:
        Guardrail.DoesNotExist: there is no guardrail `guardrail_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    locked = Guardrail.objects.select_for_update(of=("self",))
    if guardrail_id is None:
        guardrail = locked.filter(name=name).first() or Guardrail(created_at=now)
    else:
        guardrail = locked.get(pk=guardrail_id)
    refusals = Refusals()
    guardrail.name = name
    guardrail.effect = effect
    guardrail.connection = connection
    guardrail.methods = _globs("methods", methods, refusals)
    guardrail.names = _globs("names", names, refusals)
    guardrail.reason = reason
    guardrail.is_active = is_active
    refusals.save(guardrail)
    return guardrail


@transaction.atomic
def guardrail_delete(*, guardrail_id: UUID) -> None:
    """Delete a guardrail.

    Raises:
        Guardrail.DoesNotExist: there is no such guardrail.
    """
    Guardrail.objects.get(pk=guardrail_id).delete()


@transaction.atomic
def masking_pattern_save(
    *,
    pattern_id: UUID | None = None,
    name: str,
    pattern: str,
    check_kind: str = MaskingPattern.Check.NONE,
    replacement: str = "",
    connection: Connection | None = None,
    is_active: bool = True,
    now: datetime,
) -> MaskingPattern:
    """Create or change the pattern `pattern_id`; without an id, the one of that `name` if there is one.

    Raises:
        MaskingPattern.DoesNotExist: there is no pattern `pattern_id`.
        ValidationError: by field, what cannot be saved; a refused expression says at which place and why.
    """
    locked = MaskingPattern.objects.select_for_update(of=("self",))
    if pattern_id is None:
        row = locked.filter(name=name).first() or MaskingPattern(created_at=now)
    else:
        row = locked.get(pk=pattern_id)
    refusals = Refusals()
    row.name = name
    row.pattern = pattern
    row.check_kind = check_kind
    row.replacement = replacement
    row.connection = connection
    row.is_active = is_active
    _refuse_bad_pattern(row, refusals)
    refusals.save(row)
    return row


@transaction.atomic
def masking_pattern_delete(*, pattern_id: UUID) -> None:
    """Delete a masking pattern; what it redacted is shown to clients from then on.

    Raises:
        MaskingPattern.DoesNotExist: there is no such pattern.
    """
    MaskingPattern.objects.get(pk=pattern_id).delete()


def _globs(field: str, entries: Iterable[str], refusals: Refusals) -> list[str]:
    globs = refusals.texts(field, entries)
    try:
        Globs.compile(globs, place=field)
    except PatternRefused as error:
        refusals.add(field, error.code, f"{error.hint[:1].upper()}{error.hint[1:]}.")
    return globs


def _refuse_bad_pattern(row: MaskingPattern, refusals: Refusals) -> None:
    """Compile the row by itself, then with its neighbours: what does not compile would close the whole connection."""
    if not row.pattern or row.check_kind not in MaskingPattern.Check.values:
        return
    try:
        Masker.compile([_compilable(row)])
        if row.is_active:
            for patterns in _patterns_by_connection(row):
                Masker.compile(patterns)
    except PatternRefused as error:
        refusals.add("pattern", error.code, f"{error.hint[:1].upper()}{error.hint[1:]}.")


def _patterns_by_connection(row: MaskingPattern) -> list[list[Pattern]]:
    """Return what each connection that `row` speaks of will have to compile together."""
    others = list(MaskingPattern.objects.filter(is_active=True).exclude(pk=row.pk))
    scopes = {row.connection_id} if row.connection_id else {None, *(other.connection_id for other in others)}
    return [
        [_compilable(row), *(_compilable(other) for other in others if other.connection_id in {None, scope})]
        for scope in scopes
    ]


def _compilable(row: MaskingPattern) -> Pattern:
    return Pattern(row.name, row.pattern, cast("Check", row.check_kind), row.replacement)
