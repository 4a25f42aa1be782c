"""Whether a person may decide a request now, and as whom; `engine.approving.seat` over the rows of the database."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from accounts.models import Principal
from policies.approval_errors import DecidedAlready, NotAnApprover, NotPending, OwnRequest
from policies.engine import approving
from policies.engine.approving import Awaited, Barred, Seat, Stage
from policies.models import ApprovalDecision, ApprovalRequest

from .deciders import Deciding, desk_of, is_stopped, may_decide

State = ApprovalRequest.State
Verdict = ApprovalDecision.Verdict


def stages_of(request: ApprovalRequest) -> tuple[Stage, ...]:
    """Return the stages of a request; what cannot be read names nobody, so that nobody decides."""
    try:
        return approving.read_stages(request.stages)
    except approving.StagesRefused:
        return (Stage("Unreadable", approving.MAX_NEEDED, users=frozenset({-1})),)


def why_not(
    request: ApprovalRequest, deciding: Deciding, *, now: datetime
) -> NotPending | OwnRequest | NotAnApprover | DecidedAlready | None:
    """Return why this person may not decide about the request now; None when they may."""
    found = seat_of(request, deciding, now=now)
    return None if isinstance(found, Seat) else found


def seat_of(
    request: ApprovalRequest, deciding: Deciding, *, now: datetime
) -> Seat | NotPending | OwnRequest | NotAnApprover | DecidedAlready:
    """Return as whom this person may decide about the request now, or why they may not."""
    user = deciding.user
    if request.state != State.HELD or request.expires_at <= now:
        return NotPending(what_became(request, now))
    if not may_decide(user):
        return NotAnApprover("You may not decide approval requests. Ask an administrator for the approver role.")
    if is_stopped(user, groups=deciding.groups, now=now):
        return NotAnApprover("Your account is locked. Ask an administrator of the gateway.")
    found = approving.seat(awaited_of(request), desk_of(deciding, now=now).before(request.connection_id))
    match found:
        case Barred.OWN:
            return OwnRequest("This was asked for by you or in your name. Somebody else has to decide.")
        case Barred.DECIDED:
            return DecidedAlready("You have approved this already. It waits for others.")
        case Barred.NOT_NAMED:
            return NotAnApprover(f"This waits for {current_stage(request).name}, and you are not among them.")
        case Seat():
            return found


def current_stage(request: ApprovalRequest) -> Stage:
    """Return the stage whose approvals are awaited."""
    stages = stages_of(request)
    return stages[min(request.stage, len(stages) - 1)]


def awaited_of(request: ApprovalRequest) -> Awaited:
    """Return what of a request says who may decide it now; decisions that were prefetched are not asked for again."""
    handed: set[int] = set()
    approved_by: set[int] = set()
    for decision in request.decisions.all():
        if decision.verdict == Verdict.APPROVE:
            approved_by.update(one for one in (decision.user_id, decision.behalf_of_id) if one is not None)
        is_here = decision.verdict == Verdict.HAND_OVER and decision.stage == request.stage
        if is_here and decision.to_user_id is not None:
            handed.add(decision.to_user_id)
    has_begun = request.escalated_at is not None
    return Awaited(
        stage=current_stage(request),
        requester=str(request.principal_id),
        owner=_text(request.principal.owner_id),
        escalation=approving.escalation_of(request.terms.get("escalate_to")) if has_begun else None,
        handed_to=frozenset(handed),
        approved_by=frozenset(approved_by),
    )


def what_became(request: ApprovalRequest, now: datetime) -> str:
    """Return why a request waits for no decision any more, in a sentence with who decided and when."""
    decided = [Verdict.APPROVE, Verdict.DENY, Verdict.WITHDRAW, Verdict.BREAK_GLASS]
    last = request.decisions.filter(verdict__in=decided).select_related("user").order_by("-at").first()
    if request.state == State.HELD:
        return "This request has expired."
    by = f" by {last.user}" if last is not None and last.user is not None else ""
    when = f" {int((now - last.at).total_seconds())} seconds ago" if last is not None else ""
    return f"This request is {request.get_state_display().lower()} already{by}{when}."


def own_of(principal: Principal) -> tuple[str, str | None]:
    """Return a principal and the human who answers for it, as `approving.is_own` takes them."""
    return str(principal.pk), _text(principal.owner_id)


def _text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)
