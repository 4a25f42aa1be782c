"""How long kinds of clients wait: learned from where they gave up, or set by a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import Principal
from accounts.saving import Refusals
from policies.models import ClientPatience

LIKE = 0.1
SAFE = 0.8


def patience_of(
    *, issuer: str, subject: str, connection_id: UUID, client_name: str, user_agent: str, now: datetime
) -> float | None:
    """Return the budget in seconds of this kind of client, None when nothing is known of it; `now` is not used yet."""
    found = ClientPatience.objects.filter(
        **_who(issuer, subject, connection_id, client_name, user_agent), budget_seconds__isnull=False
    )
    return found.values_list("budget_seconds", flat=True).first()


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
    who: dict[str, Any] = {
        "connection_id": connection_id,
        "client_name": client_name[:200],
        "user_agent": user_agent[:300],
    }
    row, _ = ClientPatience.objects.select_for_update().get_or_create(principal=principal, **who)
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


def _who(issuer: str, subject: str, connection_id: UUID, client_name: str, user_agent: str) -> dict[str, Any]:
    return {
        "principal__issuer": issuer,
        "principal__subject": subject,
        "connection_id": connection_id,
        "client_name": client_name[:200],
        "user_agent": user_agent[:300],
    }
