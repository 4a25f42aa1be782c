"""The review of an approval in an emergency, by a second person afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts.models import User
from policies.approval_errors import NotAnApprover, NothingToReview, OwnRequest, ReasonNeeded
from policies.engine import approving
from policies.models import ApprovalDecision, ApprovalRequest

from .approvals import locked, note, plain
from .deciders import DECIDE, Deciding, approver_of, may_decide_at_all
from .seats import own_of

REVIEW_WITHIN = timedelta(hours=24)
Verdict = ApprovalDecision.Verdict


def emergencies() -> QuerySet[ApprovalDecision]:
    """Return the approvals in an emergency that nobody has reviewed, oldest first."""
    reviewed = ApprovalDecision.objects.filter(request=OuterRef("request"), verdict=Verdict.REVIEW)
    return (
        ApprovalDecision.objects.filter(~Exists(reviewed), verdict=Verdict.BREAK_GLASS)
        .select_related("request__principal", "request__connection", "user__principal")
        .order_by("at")
    )


def reviews_overdue(*, now: datetime) -> QuerySet[ApprovalDecision]:
    """Return those that wait for a review for longer than a day."""
    return emergencies().filter(at__lte=now - REVIEW_WITHIN)


def reviews_due(*, user: User) -> list[ApprovalDecision]:
    """Return the emergencies that this person may review, oldest first."""
    if not user.has_perm(DECIDE):
        return []
    person = approver_of(user)
    return [decision for decision in emergencies()[:500] if _problem(decision, user, person) is None]


def why_not_review(request: ApprovalRequest, deciding: Deciding, *, now: datetime) -> Exception | None:
    """Return why this person may not review the request now; None when they may."""
    if not may_decide_at_all(deciding.user, groups=deciding.groups, now=now):
        return NotAnApprover("You may not review approval requests. Ask an administrator for the approver role.")
    broken = emergencies().filter(request=request).first()
    if broken is None:
        return NothingToReview("This was not approved in an emergency, or it has been reviewed.")
    return _problem(broken, deciding.user, approver_of(deciding.user))


def _problem(broken: ApprovalDecision, user: User, person: approving.Approver) -> NotAnApprover | OwnRequest | None:
    """Return why a person with the permission may not review; whoever broke the glass is one human, too."""
    breaker = broken.user.principal if broken.user is not None else None
    if broken.user_id == user.pk or (breaker is not None and approving.is_own(person, *own_of(breaker))):
        return NotAnApprover("You approved this alone. Somebody else reviews it.")
    if approving.is_own(person, *own_of(broken.request.principal)):
        return OwnRequest("This was asked for by you or in your name. Somebody else reviews it.")
    return None


@transaction.atomic
def request_review(
    *, request_id: UUID, deciding: Deciding, is_justified: bool, comment: str, now: datetime
) -> ApprovalRequest:
    """Say whether an approval in an emergency was justified, as a second person.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request.
        NothingToReview: it was not approved in an emergency, or it has been reviewed.
        NotAnApprover: the person may not review, or broke the glass themselves.
        OwnRequest: it was asked for by them or in their name.
        ReasonNeeded: the comment is missing.
    """
    request = locked(request_id)
    problem = why_not_review(request, deciding, now=now)
    if problem is not None:
        raise problem
    comment = plain(comment)
    if not comment:
        raise ReasonNeeded("Say what you found.")
    finding = ApprovalDecision.Finding.JUSTIFIED if is_justified else ApprovalDecision.Finding.NOT_JUSTIFIED
    note(request, deciding, Verdict.REVIEW, comment, now=now, finding=finding)
    request.changed_at = now
    request.save(update_fields=["changed_at"])
    return request
