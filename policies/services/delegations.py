"""Writes of delegations: who decides while somebody is away."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from accounts.models import User
from accounts.saving import Refusals
from policies.approval_errors import NotAnApprover
from policies.models import ApprovalDelegation

from .approvals import plain
from .deciders import may_decide

LONGEST = timedelta(days=90)
MOST = 5
"""So many delegates a person may have named for one time."""


@transaction.atomic
def delegation_save(
    *, delegator: User, delegate: User, starts_at: datetime, ends_at: datetime, reason: str = "", now: datetime
) -> ApprovalDelegation:
    """Let `delegate` decide what `delegator` could, from a time until a time.

    Raises:
        NotAnApprover: the delegator has nothing to delegate.
        ValidationError: by field, what cannot be saved.
    """
    if not may_decide(delegator):
        raise NotAnApprover("You may not decide approval requests, so there is nothing that somebody could do for you.")
    # One at a time, so that two forms at once do not go over the most that a person may have.
    User.objects.select_for_update().get(pk=delegator.pk)
    refusals = Refusals()
    if delegate.pk == delegator.pk:
        refusals.add("delegate", "somebody_else", "Name somebody else.")
    elif not may_decide(delegate):
        refusals.add("delegate", "not_an_approver", f"{delegate} may not decide approval requests.")
    if ends_at <= now:
        refusals.add("ends_at", "over", "This is over already.")
    elif starts_at < ends_at and ends_at - starts_at > LONGEST:
        refusals.add("ends_at", "too_long", f"At most {LONGEST.days} days.")
    others = ApprovalDelegation.objects.filter(
        delegator=delegator, ended_at=None, starts_at__lt=ends_at, ends_at__gt=max(starts_at, now)
    )
    if others.filter(delegate=delegate).exists():
        refusals.add("delegate", "named_already", f"{delegate} is your delegate in this time already.")
    elif others.count() >= MOST:
        refusals.add("delegate", "too_many", f"At most {MOST} people at a time.")
    row = ApprovalDelegation(
        delegator=delegator,
        delegate=delegate,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=plain(reason)[:200],
        created_at=now,
    )
    refusals.save(row)
    return row


@transaction.atomic
def delegation_end(*, delegation_id: UUID, by: User, now: datetime) -> ApprovalDelegation:
    """End a delegation at once: its delegator, its delegate, or whoever may approve alone.

    One that has ended stays as it is.

    Raises:
        ApprovalDelegation.DoesNotExist: there is none, or it is none of theirs.
    """
    row = ApprovalDelegation.objects.select_for_update(of=("self",)).get(pk=delegation_id)
    is_theirs = by.pk in {row.delegator_id, row.delegate_id} or by.has_perm("policies.break_glass_approvalrequest")
    if not is_theirs:
        raise ApprovalDelegation.DoesNotExist
    if row.ended_at is None and row.ends_at > now:
        row.ended_at, row.ended_by = now, by
        row.save(update_fields=["ended_at", "ended_by"])
    return row
