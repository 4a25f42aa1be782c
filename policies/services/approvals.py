"""Writes of approval requests: opened or joined, decided, withdrawn, expired. `approval_uses` has what runs.

Every write takes the request's row lock first, so that of two deciders the second finds what the first has done.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.db.models import Q

from accounts.models import Principal, User
from policies.approval_errors import (
    BeyondTerms,
    CannotBeHeld,
    Moved,
    NotAnApprover,
    NotPending,
    OwnRequest,
    ReasonNeeded,
    TooManyPending,
)
from policies.engine import approving
from policies.engine.approving import Seat, Stage
from policies.models import AccessGrant, ApprovalDecision, ApprovalRequest, ApprovalRule, ApprovalView, Guardrail
from policies.notices.message import Event

from .approval_seal import seal_body
from .deciders import DECIDE, Deciding, approver_of, desk_of, is_stopped, may_decide_at_all
from .notices import notify
from .seats import own_of, seat_of, stages_of, what_became

State = ApprovalRequest.State
Verdict = ApprovalDecision.Verdict
OPEN = (State.HELD, State.APPROVED)
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_CHANGED_WITHIN = timedelta(hours=1)
_LONGEST_RUN_WITHIN = 86_400
EVERYBODY = (Stage("Approvers", 1),)
"""Who decides when the guardrail names no rule: anybody who may decide at all."""


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call that policy holds: who asks, for what, and the very bytes that would leave."""

    issuer: str
    subject: str
    client_id: str
    client_name: str
    client_version: str
    user_agent: str
    address: str
    connection_id: UUID
    session_id: UUID | None
    call_id: UUID
    method: str
    name: str
    arguments: Any
    masked_count: int
    arguments_sha256: bytes
    binding: bytes
    body: bytes = field(repr=False)
    rule_name: str = ""
    why: str = ""
    attributes: tuple[str, ...] = ()
    policy_version: int = 0
    vehicle: str = ""


@transaction.atomic
def request_open(*, held: HeldCall, now: datetime) -> ApprovalRequest:
    """Open a request for a held call, or join the open one of the very same call.

    A call that was rejected a moment ago gets that very request back, so that asking again at once asks nobody.

    Raises:
        TooManyPending: the principal or the connection has as many waiting as it may.
        CannotBeHeld: the principal is unknown, or the body cannot be kept.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(held.binding[:8], "big", signed=True)])
    known = _joined(held, now)
    if known is not None:
        return known
    principal = Principal.objects.filter(issuer=held.issuer, subject=held.subject).first()
    if principal is None or len(held.body) > settings.WARDGATE_BODY_BYTES:
        raise CannotBeHeld("The call cannot be kept for an approver.")
    refuse_floods(principal, held.connection_id)
    guardrail = Guardrail.objects.select_related("approval_rule").filter(name=held.rule_name).first()
    rule = guardrail.approval_rule if guardrail is not None else None
    request = ApprovalRequest(
        code=new_code(),
        principal=principal,
        client_id=held.client_id[:255],
        client_name=held.client_name[:200],
        client_version=held.client_version[:100],
        user_agent=held.user_agent[:300],
        address=held.address[:64],
        connection_id=held.connection_id,
        session_id=held.session_id,
        call_id=held.call_id,
        method=held.method,
        name=held.name[:512],
        arguments=held.arguments,
        masked_count=held.masked_count,
        binding=held.binding,
        arguments_sha256=held.arguments_sha256,
        rule_name=held.rule_name[:100],
        why=held.why[:500],
        attributes=list(held.attributes),
        policy_version=held.policy_version,
        vehicle=held.vehicle,
        opened_at=now,
        changed_at=now,
        waiting_at=now,
    )
    take_terms(request, rule, now)
    seal_body(request, held.body)
    request.changed_from = (
        ApprovalRequest.objects.filter(
            principal=principal,
            connection_id=held.connection_id,
            name=request.name,
            opened_at__gt=now - _CHANGED_WITHIN,
        )
        .order_by("-opened_at")
        .first()
    )
    request.save()
    notify(request=request, event=Event.ASKED, now=now)
    return request


def _joined(held: HeldCall, now: datetime) -> ApprovalRequest | None:
    """Return the request of the same call that is open, or was rejected a moment ago."""
    same = ApprovalRequest.objects.select_for_update().filter(binding=held.binding)
    known = same.filter(state__in=OPEN).first()
    if known is not None and not _ended_by_time(known, now):
        return known
    cooldown = now - timedelta(seconds=settings.WARDGATE_APPROVAL_COOLDOWN_SECONDS)
    return same.filter(state=State.REJECTED, decided_at__gt=cooldown).order_by("-decided_at").first()


def refuse_floods(principal: Principal, connection_id: UUID) -> None:
    """Refuse one more request than may wait.

    Raises:
        TooManyPending: as many wait as may.
    """
    _look_for_floods(principal, connection_id)
    # Of those that pass the first look at the same moment, only as many as may wait pass the second.
    with database.cursor() as cursor:
        for key in (principal.pk, connection_id):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key.int >> 64 & (1 << 63) - 1])
    _look_for_floods(principal, connection_id)


def _look_for_floods(principal: Principal, connection_id: UUID) -> None:
    pending = ApprovalRequest.objects.filter(state=State.HELD)
    if pending.filter(principal=principal).count() >= settings.WARDGATE_APPROVALS_PER_PRINCIPAL:
        raise TooManyPending("You have as many requests waiting as you may have. Wait for a decision.")
    if pending.filter(connection_id=connection_id).count() >= settings.WARDGATE_APPROVALS_PER_CONNECTION:
        raise TooManyPending("This connection has as many requests waiting as it may have. Try again later.")


def take_terms(request: ApprovalRequest, rule: ApprovalRule | None, now: datetime) -> None:
    """Give a request the stages and terms that the rule has now."""
    terms = rule or ApprovalRule(name="")
    request.approval_rule = rule
    request.stages = rule.stages if rule is not None else approving.written(EVERYBODY)
    request.terms = {
        "risk": terms.risk,
        "run_within_seconds": terms.run_within_seconds,
        "max_uses": terms.max_uses,
        "max_window_seconds": terms.max_window_seconds,
        "needs_reason": terms.needs_reason,
        "needs_poller": terms.needs_poller,
        "escalate_seconds": terms.escalate_seconds,
        "escalate_to": terms.escalate_to,
    }
    request.expires_at = now + timedelta(seconds=terms.expires_seconds)


def new_code() -> str:
    """Return a code for a request, short enough to be told over the phone."""
    return "APR-" + "".join(secrets.choice(_ALPHABET) for _ in range(6))


@transaction.atomic
def request_decide(
    *,
    request_id: UUID,
    deciding: Deciding,
    approve: bool,
    reason: str = "",
    uses: int = 1,
    window_seconds: int = 0,
    seen_at: datetime | None = None,
    now: datetime,
) -> ApprovalRequest:
    """Approve or deny a request in the name of a person.

    `uses` is how often the same call may run, and `window_seconds` how long from now; with 0 it is as long as the rule
    gives the call to begin. `seen_at` is `changed_at` of the request as the person saw it; None does not compare.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request.
        DomainError: the person may not decide it, or not like this; the code says why.
    """
    request = locked(request_id)
    seat = seat_of(request, deciding, now=now)
    if not isinstance(seat, Seat):
        raise seat
    if seen_at is not None and seen_at != request.changed_at:
        raise Moved("This request has changed since you looked at it. Look again.")
    reason = plain(reason)
    if not reason and (not approve or request.terms.get("needs_reason")):
        raise ReasonNeeded("Say why.")
    if approve:
        _check_terms(request, uses, window_seconds)
    note(
        request,
        deciding,
        Verdict.APPROVE if approve else Verdict.DENY,
        reason,
        now=now,
        uses=uses,
        window_seconds=window_seconds,
        behalf_of_id=seat.behalf,
    )
    if not approve:
        notify(request=request, event=Event.DENIED, by=deciding.user, text=reason, now=now)
        return _end(request, State.REJECTED, reason, now)
    following = awaited_stage(request)
    if following is not None:
        request.stage, request.changed_at = following, now
        request.save(update_fields=["stage", "changed_at"])
        notify(request=request, event=Event.ASKED, by=deciding.user, now=now)
        return request
    notify(request=request, event=Event.APPROVED, by=deciding.user, text=reason, now=now)
    return approved(request, now)


def awaited_stage(request: ApprovalRequest) -> int | None:
    """Return the stage whose approvals are awaited; None when every stage has enough of people who are still active."""
    approvals = request.decisions.filter(verdict=Verdict.APPROVE, user__is_active=True)
    approvals = approvals.filter(Q(behalf_of=None) | Q(behalf_of__is_active=True))
    given = approvals.order_by("at").values_list("stage", "user_id", "behalf_of_id")
    return approving.next_stage(stages_of(request), (tuple(n for n in row if n is not None) for row in given))


def terms_given(request: ApprovalRequest) -> tuple[int, datetime] | None:
    """Return how many runs were approved and until when, on the narrowest terms that any approver gave; None: none.

    This is what the decisions say, which nobody can change; the columns of the request repeat it.
    """
    given = list(request.decisions.filter(verdict__in=[Verdict.APPROVE, Verdict.BREAK_GLASS], user__is_active=True))
    is_emergency = any(decision.verdict == Verdict.BREAK_GLASS for decision in given)
    if not given or not (is_emergency or awaited_stage(request) is None):
        return None
    usual = min(int(request.terms.get("run_within_seconds", 900)), _LONGEST_RUN_WITHIN)
    window = min(decision.window_seconds or usual for decision in given)
    uses = min(decision.uses for decision in given)
    return uses, max(decision.at for decision in given) + timedelta(seconds=window)


def approved(request: ApprovalRequest, now: datetime) -> ApprovalRequest:
    """Make a locked request approved, on the narrowest terms that any of its approvers gave."""
    given = terms_given(request)
    if given is None:
        raise NotPending("Nobody who may decide has approved this.")
    request.uses_allowed, request.usable_until = given
    request.state, request.decided_at, request.changed_at = State.APPROVED, now, now
    if request.kind == ApprovalRequest.Kind.ACCESS:
        give_access(request, now)
    request.save()
    return request


def give_access(request: ApprovalRequest, now: datetime) -> None:
    """Give the access that was asked for, from now on; it ends by itself, on every gateway process."""
    wanted = request.wanted
    request.usable_until = now + timedelta(seconds=int(wanted["seconds"]))
    request.grant = AccessGrant.objects.create(
        connection=request.connection,
        principal=request.principal,
        tools=wanted.get("tools", []),
        prompts=wanted.get("prompts", []),
        resources=wanted.get("resources", []),
        kind=AccessGrant.Kind.JUST_IN_TIME,
        valid_from=now,
        valid_until=request.usable_until,
        note=f"{request.code}: {request.justification}"[:255],
        created_at=now,
    )


@transaction.atomic
def request_break_glass(*, request_id: UUID, deciding: Deciding, reason: str, now: datetime) -> ApprovalRequest:
    """Approve alone, once, in an emergency: an event of its own, which somebody else reviews afterwards.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request.
        DomainError: the person may not, or gives no reason.
    """
    request = locked(request_id)
    if request.state != State.HELD or request.expires_at <= now:
        raise NotPending(what_became(request, now))
    if not (deciding.user.is_active and deciding.user.has_perm("policies.break_glass_approvalrequest")):
        raise NotAnApprover("You may not approve alone.")
    if is_stopped(deciding.user, groups=deciding.groups, now=now):
        raise NotAnApprover("Your account is locked. Ask an administrator of the gateway.")
    if approving.is_own(desk_of(deciding, now=now).person, *own_of(request.principal)):
        raise OwnRequest("This was asked for by you or in your name. Somebody else has to decide, in an emergency too.")
    reason = plain(reason)
    if not reason:
        raise ReasonNeeded("Say what the emergency is.")
    note(request, deciding, Verdict.BREAK_GLASS, reason, now=now)
    notify(request=request, event=Event.BREAK_GLASS, by=deciding.user, text=reason, now=now)
    notify(request=request, event=Event.APPROVED, by=deciding.user, text=reason, now=now)
    return approved(request, now)


@transaction.atomic
def request_hand_over(
    *, request_id: UUID, deciding: Deciding, to: User, reason: str = "", now: datetime
) -> ApprovalRequest:
    """Let another person with the permission decide in one's place, in the current stage.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request.
        DomainError: the person may not decide it, or the other one may not.
    """
    request = locked(request_id)
    seat = seat_of(request, deciding, now=now)
    if not isinstance(seat, Seat):
        raise seat
    if to.pk == deciding.user.pk or not may_decide_at_all(to, now=now):
        raise NotAnApprover(f"{to} may not decide approval requests.")
    if approving.is_own(approver_of(to), *own_of(request.principal)):
        raise OwnRequest(f"This was asked for by {to} or in their name.")
    note(request, deciding, Verdict.HAND_OVER, plain(reason), now=now, to_user=to, behalf_of_id=seat.behalf)
    request.changed_at = now
    request.save(update_fields=["changed_at"])
    notify(request=request, event=Event.HANDED_OVER, by=deciding.user, to=to, text=plain(reason), now=now)
    return request


@transaction.atomic
def request_withdraw(
    *, request_id: UUID, principal_id: UUID | None = None, user: User | None = None, reason: str, now: datetime
) -> ApprovalRequest:
    """Take a request back: by the client that asked, by its human, or by an administrator who ends it.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request, or it is somebody else's.
        NotPending: it has ended.
    """
    request = locked(request_id)
    if principal_id is not None and request.principal_id != principal_id:
        raise ApprovalRequest.DoesNotExist
    if user is not None and not may_withdraw(request, user):
        raise ApprovalRequest.DoesNotExist
    if request.state not in OPEN:
        raise NotPending(what_became(request, now))
    ApprovalDecision.objects.create(
        request=request, user=user, principal_id=principal_id, verdict=Verdict.WITHDRAW, reason=plain(reason), at=now
    )
    if request.grant is not None:
        # Policy moves with the row, and whoever uses the access is cut off on every gateway process.
        AccessGrant.objects.filter(pk=request.grant.pk).update(is_active=False, valid_until=now)
    notify(request=request, event=Event.WITHDRAWN, by=user, text=plain(reason), now=now)
    return _end(request, State.CANCELLED, reason, now)


def request_seen(*, request: ApprovalRequest, user: User, address: str, now: datetime) -> None:
    """Keep that a person looked at a request, once a minute."""
    lately = ApprovalView.objects.filter(request=request, user=user, at__gt=now - timedelta(minutes=1))
    if not lately.exists():
        ApprovalView.objects.create(request=request, user=user, address=address[:64], at=now)


def is_asked_for_by(request: ApprovalRequest, user: User) -> bool:
    """Tell whether the request is this person's, or that of a machine that they own."""
    return user.principal_id is not None and user.principal_id in {request.principal_id, request.principal.owner_id}


def may_withdraw(request: ApprovalRequest, user: User) -> bool:
    """Tell whether the request is this person's, asked for in their name, or they administer approvals.

    Access that was given may be ended by whoever may decide approval requests.
    """
    is_given = request.kind == ApprovalRequest.Kind.ACCESS and request.state == State.APPROVED
    return (
        is_asked_for_by(request, user)
        or user.has_perm("policies.break_glass_approvalrequest")
        or (is_given and user.has_perm(DECIDE))
    )


def requests_expire(*, now: datetime, most: int = 500) -> int:
    """End what waited too long, and approvals that nobody used in time; return how many. Safe to run twice.

    This only tidies: a gateway process looks at the time itself before anything runs.
    """
    overdue = Q(state=State.HELD, expires_at__lte=now) | Q(state=State.APPROVED, usable_until__lte=now)
    ended = 0
    for pk in ApprovalRequest.objects.filter(overdue).values_list("pk", flat=True)[:most]:
        with transaction.atomic():
            request = ApprovalRequest.objects.select_for_update(skip_locked=True).filter(pk=pk).first()
            ended += request is not None and _ended_by_time(request, now)
    return ended


def requests_escalate(*, now: datetime, most: int = 500) -> list[UUID]:
    """Let the people of the escalation decide about what has waited so long; return the requests concerned."""
    found: list[UUID] = []
    waiting = ApprovalRequest.objects.filter(
        state=State.HELD, escalated_at=None, terms__escalate_seconds__gt=0, expires_at__gt=now
    ).order_by("opened_at")
    for request in waiting[:most]:
        seconds = request.terms["escalate_seconds"]
        if now - request.opened_at < timedelta(seconds=seconds):
            continue
        with transaction.atomic():
            unchanged = ApprovalRequest.objects.filter(pk=request.pk, state=State.HELD, escalated_at=None)
            if unchanged.update(escalated_at=now, changed_at=now):
                reason = f"nobody decided within {seconds} seconds"
                ApprovalDecision.objects.create(
                    request=request,
                    verdict=Verdict.ESCALATE,
                    stage=request.stage,
                    reason=reason,
                    channel="task",
                    at=now,
                )
                notify(request=request, event=Event.ESCALATED, now=now)
                found.append(request.pk)
    return found


@transaction.atomic
def requests_waiting(*, request_ids: Iterable[UUID], now: datetime) -> int:
    """Note that clients wait for these requests right now; return how many are open, and not just being decided."""
    rows = ApprovalRequest.objects.select_for_update(skip_locked=True, of=("self",))
    free = list(rows.filter(pk__in=list(request_ids), state__in=OPEN).values_list("pk", flat=True))
    return ApprovalRequest.objects.filter(pk__in=free).update(waiting_at=now)


def locked(request_id: UUID) -> ApprovalRequest:
    """Return a request under its row lock, which every write takes first."""
    return (
        ApprovalRequest.objects.select_for_update(of=("self",))
        .select_related("principal", "connection")
        .get(pk=request_id)
    )


def _ended_by_time(request: ApprovalRequest, now: datetime) -> bool:
    """End a locked request whose time is over; tell whether it was."""
    if request.state == State.HELD and request.expires_at <= now:
        _end(request, State.EXPIRED, "nobody decided in time", now)
        notify(request=request, event=Event.EXPIRED, text="nobody decided in time", now=now)
        return True
    if request.state == State.APPROVED and request.usable_until is not None and request.usable_until <= now:
        is_access = request.kind == ApprovalRequest.Kind.ACCESS
        reason = "the time of the access is over" if is_access else "approved, and not used in time"
        _end(request, State.USED if is_access else State.EXPIRED, reason, now)
        if not is_access:
            notify(request=request, event=Event.EXPIRED, text=reason, now=now)
        return True
    return False


def _end(request: ApprovalRequest, state: str, reason: str, now: datetime) -> ApprovalRequest:
    request.state, request.end_reason, request.ended_at, request.changed_at = state, reason[:200], now, now
    if state == State.REJECTED:
        request.decided_at = now
    request.save()
    return request


def _check_terms(request: ApprovalRequest, uses: int, window_seconds: int) -> None:
    most, longest = int(request.terms.get("max_uses", 1)), int(request.terms.get("max_window_seconds", 0))
    if not 1 <= uses <= max(1, most):
        raise BeyondTerms(f"The rule allows at most {max(1, most)} uses.")
    if not 0 <= window_seconds <= longest:
        raise BeyondTerms(f"The rule allows a window of at most {longest} seconds.")


def note(
    request: ApprovalRequest, deciding: Deciding, verdict: str, reason: str, *, now: datetime, **values: Any
) -> None:
    """Keep what a person decided, with what they saw. `values` are further columns of the decision."""
    ApprovalDecision.objects.create(
        request=request,
        user=deciding.user,
        principal_id=deciding.user.principal_id,
        verdict=verdict,
        stage=request.stage,
        reason=reason,
        channel=deciding.channel,
        address=deciding.address[:64],
        authentication=deciding.authentication[:80],
        view=deciding.view,
        view_sha256=hashlib.sha256(deciding.view.encode()).digest() if deciding.view else None,
        at=now,
        **values,
    )


def plain(text: str) -> str:
    """Return what a person wrote as one line of printable text, at most 1,000 characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:1000]


def view_of(request: ApprovalRequest, extra: Mapping[str, Any] | None = None) -> str:
    """Return what an approver is shown of a request, as canonical JSON: this is what the decision keeps."""
    shown = {
        "code": request.code,
        "principal": str(request.principal_id),
        "connection": str(request.connection_id),
        "method": request.method,
        "name": request.name,
        "arguments": request.arguments,
        "masked": request.masked_count,
        "binding": bytes(request.binding).hex(),
        "rule": request.rule_name,
        "why": request.why,
        "wanted": request.wanted,
        "justification": request.justification,
        "stage": request.stage,
        **(extra or {}),
    }
    return json.dumps(shown, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
