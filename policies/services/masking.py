"""Writes of masking patterns."""

from __future__ import annotations

from datetime import datetime
from typing import cast
from uuid import UUID

from django.db import transaction

from accounts.saving import Refusals
from connections.models import Connection
from policies.engine.masking import Check, Masker, Pattern, PatternRefused
from policies.models import MaskingPattern

from .publishing import Publisher, publish


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
    by: Publisher | None = None,
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
    publish(by, now=now)
    return row


@transaction.atomic
def masking_pattern_delete(*, pattern_id: UUID, by: Publisher | None = None, now: datetime) -> None:
    """Delete a masking pattern; what it redacted is shown to clients from then on.

    Raises:
        MaskingPattern.DoesNotExist: there is no such pattern.
    """
    MaskingPattern.objects.get(pk=pattern_id).delete()
    publish(by, now=now)


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
