"""How long kinds of clients wait: learned from where they gave up, or set by a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from accounts.models import Principal
from accounts.saving import Refusals
from connections.models import Connection
from policies.models import ClientBudget, ClientPatience

LIKE = 0.1
SAFE = 0.8


def patience_of(
    *, issuer: str, subject: str, connection_id: UUID, client_name: str, user_agent: str, kind: str
) -> float | None:
    """Return for how many seconds this client, one of `kind`, is held; None when nothing is known and nothing was set.

    What a person has set for this very client counts most, then the number of its kind on this connection or, without
    one, on every connection. What was learned of the client makes that shorter, never longer.
    """
    own = ClientPatience.objects.filter(**_who(issuer, subject, connection_id, client_name, user_agent))
    found = own.values_list("budget_seconds", "is_fixed").first()
    learned, is_fixed = found if found is not None else (None, False)
    if is_fixed and learned is not None:
        return learned
    numbers = ClientBudget.objects.filter(Q(connection_id=connection_id) | Q(connection=None), kind=kind)
    of_kind = numbers.order_by(F("connection").asc(nulls_last=True)).values_list("seconds", flat=True).first()
    return min((float(seconds) for seconds in (learned, of_kind) if seconds is not None), default=None)


@transaction.atomic
def patience_learn(
    *,
    issuer: str,
    subject: str,
    connection_id: UUID,
    client_name: str,
    user_agent: str,
    held_seconds: float,
    now: datetime,
) -> None:
    """Learn from a client that gave up after `held_seconds`: twice within a tenth is a habit, and no accident."""
    principal = Principal.objects.filter(issuer=issuer, subject=subject).first()
    if principal is None:
        return
    who = _who(issuer, subject, connection_id, client_name, user_agent)
    known = ClientPatience.objects.select_for_update(of=("self",))
    row = known.filter(**who).first()
    if row is None:
        names = {name: who[name] for name in ("connection_id", "client_name", "user_agent")}
        row, _ = known.get_or_create(principal=principal, **names)
    if row.is_fixed:
        return
    before = row.gave_up_seconds
    if before is not None and abs(before - held_seconds) <= LIKE * before:
        row.budget_seconds = SAFE * min(before, held_seconds)
    row.gave_up_seconds, row.changed_at = held_seconds, now
    row.save()


@transaction.atomic
def patience_set(*, patience_id: int, budget_seconds: float | None, now: datetime) -> ClientPatience:
    """Set how long this kind of client is held; None lets the gateway learn it again.

    Raises:
        ClientPatience.DoesNotExist: there is no such client.
        ValidationError: by field, what cannot be saved.
    """
    row = ClientPatience.objects.select_for_update().get(pk=patience_id)
    refusals = Refusals()
    if budget_seconds is not None and not 1 <= budget_seconds <= 30 * 86_400:
        refusals.add("budget_seconds", "out_of_range", "Give a number of seconds from 1 to 2592000, or nothing.")
    row.budget_seconds, row.is_fixed, row.changed_at = budget_seconds, budget_seconds is not None, now
    if budget_seconds is None:
        row.gave_up_seconds = None
    refusals.save(row)
    return row


@transaction.atomic
def client_budget_save(
    *, budget_id: int | None = None, kind: str, connection: Connection | None = None, seconds: int, now: datetime
) -> ClientBudget:
    """Say for how long clients of a kind are held, on one connection or on every one that has no number of its own.

    Without an id, the number of that kind and connection is changed if there is one.

    Raises:
        ClientBudget.DoesNotExist: there is no number `budget_id`.
        ValidationError: by field, what cannot be saved.
    """
    locked = ClientBudget.objects.select_for_update(of=("self",))
    if budget_id is None:
        row = locked.filter(kind=kind, connection=connection).first() or ClientBudget()
    else:
        row = locked.get(pk=budget_id)
    row.kind, row.connection, row.seconds, row.changed_at = kind, connection, seconds, now
    Refusals().save(row)
    return row


@transaction.atomic
def client_budget_delete(*, budget_id: int) -> None:
    """Delete a number; the kind is held as long as Wardgate thinks it waits.

    Raises:
        ClientBudget.DoesNotExist: there is no number `budget_id`.
    """
    ClientBudget.objects.get(pk=budget_id).delete()


def _who(issuer: str, subject: str, connection_id: UUID, client_name: str, user_agent: str) -> dict[str, Any]:
    return {
        "principal__issuer": issuer,
        "principal__subject": subject,
        "connection_id": connection_id,
        "client_name": client_name[:200],
        "user_agent": user_agent[:300],
    }
