"""Ready-made packs of guardrails: installed, brought up to date, and taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.exceptions import DomainError
from connections.models import Connection
from policies.engine.compile import GuardrailRow
from policies.engine.exceptions import PatternRefused
from policies.engine.guardrail_packs import PACKS, GuardrailPack
from policies.engine.pack_rules import rows_of, values_of
from policies.models import Guardrail

from .guardrails import guardrail_delete, guardrail_save
from .publishing import Publisher, gathering, publish

_MEMBERS = ("effect", "methods", "names", "annotations", "condition", "reason", "is_observed", "is_active")


class NoSuchPack(DomainError):
    """There is no pack of that id."""

    code = "no_such_pack"


@dataclass(frozen=True, slots=True)
class PackChange:
    """What installing a pack does to one guardrail: `added`, `changed` in some members, or `unchanged`."""

    name: str
    kind: str
    members: tuple[str, ...] = ()


def pack_apply(
    *,
    pack: str,
    parameters: Mapping[str, object] | None = None,
    connection: Connection | None = None,
    labels: Iterable[str] = (),
    is_observed: bool = True,
    is_dry_run: bool = False,
    by: Publisher | None = None,
    now: datetime,
) -> list[PackChange]:
    """Install a pack, or bring its guardrails back to what the pack says; doing it twice changes nothing.

    Whom a guardrail is about, and who approves what it holds, stays as it was set. One place, which is every
    connection, one connection, or those of some labels, has its own guardrails.

    Args:
        pack: its id.
        parameters: what differs from the defaults of the pack.
        connection: only for this one.
        labels: only for connections with one of these.
        is_observed: the guardrails decide nothing; what they would do is recorded.
        is_dry_run: say what would change, and undo it.
        by: who publishes.
        now: the time of the change.

    Raises:
        NoSuchPack: there is none of that id.
        ValidationError: by field, what cannot be installed.
    """
    rows = _rows(_pack_of(pack), parameters or {}, connection, labels, is_observed=is_observed)
    with transaction.atomic():
        with gathering():
            changes = [_put(pack, row, connection, labels, now) for row in rows]
        publish(by, now=now)
        if is_dry_run:
            transaction.set_rollback(True)
    return changes


@transaction.atomic
def pack_remove(
    *,
    pack: str,
    connection: Connection | None = None,
    labels: Iterable[str] = (),
    by: Publisher | None = None,
    now: datetime,
) -> int:
    """Delete the guardrails that a pack has at one place; return how many there were.

    Raises:
        NoSuchPack: there is none of that id.
        ValidationError: policy tests fail without them.
    """
    _pack_of(pack)
    wanted = sorted(labels)
    found = [
        row
        for row in Guardrail.objects.select_for_update(of=("self",)).filter(pack=pack, connection=connection)
        if sorted(row.labels) == wanted
    ]
    with gathering():
        for row in found:
            guardrail_delete(guardrail_id=row.pk, now=now)
    publish(by, now=now)
    return len(found)


def _pack_of(pack: str) -> GuardrailPack:
    if pack not in PACKS:
        raise NoSuchPack("There is no such pack.")
    return PACKS[pack]


def _rows(
    pack: GuardrailPack,
    parameters: Mapping[str, object],
    connection: Connection | None,
    labels: Iterable[str],
    *,
    is_observed: bool,
) -> list[GuardrailRow]:
    scope = connection.slug if connection is not None else ", ".join(sorted(labels))
    try:
        values = values_of(pack, parameters)
    except PatternRefused as error:
        hint = f"{error.place}: {error.hint}."
        raise ValidationError({"parameters": ValidationError(hint, code="parameter_refused")}) from None
    return rows_of(pack, values, scope=scope, is_observed=is_observed)


def _put(
    pack: str, row: GuardrailRow, connection: Connection | None, labels: Iterable[str], now: datetime
) -> PackChange:
    existing = Guardrail.objects.filter(name=row.name).first()
    if existing is not None and existing.pack != pack:
        hint = f'There is a guardrail "{row.name}" already that is not of this pack. Rename it first.'
        raise ValidationError({"pack": ValidationError(hint, code="name_taken")})
    before = None if existing is None else _members(existing)
    keeps: dict[str, Any] = {}
    if existing is not None:
        keeps = {
            "principals": list(existing.principals.all()),
            "groups": list(existing.groups.all()),
            "approval_rule": existing.approval_rule,
        }
    saved = guardrail_save(
        guardrail_id=None if existing is None else existing.pk,
        name=row.name,
        effect=row.effect,
        connection=connection,
        labels=labels,
        methods=row.methods,
        names=row.names,
        annotations=row.annotations,
        condition=row.condition,
        reason=row.reason,
        is_observed=row.is_observed,
        pack=pack,
        now=now,
        **keeps,
    )
    if before is None:
        return PackChange(row.name, "added")
    after = _members(saved)
    changed = tuple(name for name in _MEMBERS if before[name] != after[name])
    return PackChange(row.name, "changed" if changed else "unchanged", changed)


def _members(guardrail: Guardrail) -> dict[str, Any]:
    return {name: getattr(guardrail, name) for name in _MEMBERS}
