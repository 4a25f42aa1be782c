"""Reads of approval requests for the data path: where they stand, and which have moved."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F

from sessions.models import Event, Session

from .models import ApprovalDecision, ApprovalRequest, ApprovalRun, ApprovalUse

_LATELY = timedelta(seconds=10)
_OWED = timedelta(minutes=10)
_AT_ONCE = 500
_OUTCOMES = ("completed", "upstream_error", "not_sent", "aborted_by_client", "outcome_unknown")


def standing_values(request: ApprovalRequest) -> dict[str, Any]:
    """Return where a request stands, as plain values; times in epoch seconds."""
    last: ApprovalDecision | None = None
    if request.state == ApprovalRequest.State.REJECTED:
        last = request.decisions.filter(verdict=ApprovalDecision.Verdict.DENY).select_related("user").last()
    return {
        "request_id": request.pk,
        "code": request.code,
        "state": request.state,
        "rule": request.rule_name,
        "waits_for": waits_for(request),
        "expires_at": request.expires_at.timestamp(),
        "opened_at": request.opened_at.timestamp(),
        "usable_until": request.usable_until.timestamp() if request.usable_until else 0.0,
        "decided_at": request.decided_at.timestamp() if request.decided_at else 0.0,
        "decided_by": str(last.user) if last is not None and last.user is not None else "",
        "reason": last.reason if last is not None else request.end_reason,
        "needs_poller": bool(request.terms.get("needs_poller")),
    }


def waits_for(request: ApprovalRequest) -> str:
    """Return whose approval is awaited, such as "1 of prod-approvers"."""
    stages = request.stages or [{"name": "Approvers", "needed": 1}]
    stage = stages[min(request.stage, len(stages) - 1)]
    return f"{stage['needed']} of {stage['name']}"


def requests_moved(*, asked: Collection[UUID], waiting: Collection[UUID], since: datetime) -> list[dict[str, Any]]:
    """Return where the requests in `asked` stand, and those of `waiting` that have changed after `since`.

    What was only opened since has not changed: ten thousand that wait cost nothing here. No bytes are read.
    """
    rows = ApprovalRequest.objects.defer("ciphertext", "wrapped_key", "arguments", "binding", "wanted")
    found = {request.pk: request for request in rows.filter(pk__in=list(asked))} if asked else {}
    if waiting:
        changed = ApprovalRequest.objects.filter(changed_at__gt=since).exclude(changed_at=F("opened_at"))
        new = [pk for pk in changed.values_list("pk", flat=True) if pk in waiting and pk not in found]
        for start in range(0, len(new), _AT_ONCE):
            found |= {request.pk: request for request in rows.filter(pk__in=new[start : start + _AT_ONCE])}
    return [standing_values(request) for request in found.values()]


def task_values(*, code: str) -> dict[str, Any] | None:
    """Return where a request and its newest run stand, for whoever asks for the task of it; None when there is none.

    `outcome` is the last part of the event's name, `message` the masked message as recorded (perhaps compressed).
    """
    request = ApprovalRequest.objects.filter(code=code).first()
    if request is None:
        return None
    return {"name": request.name, **_run(request, request.uses.order_by("-number").first())}


def run_values(*, request_id: UUID, call_id: UUID) -> dict[str, Any] | None:
    """Return the same about the run of this call, or else about the newest one of its request."""
    request = ApprovalRequest.objects.filter(pk=request_id).first()
    if request is None:
        return None
    use = request.uses.filter(call_id=call_id).first() or request.uses.order_by("-number").first()
    return _run(request, use)


def _run(request: ApprovalRequest, use: ApprovalUse | None) -> dict[str, Any]:
    outcome = None
    if use is not None:
        run = ApprovalRun.objects.filter(call_id=use.call_id).first()
        session = run.session_id if run is not None else request.session_id
        names = [f"gateway:call:{state}" for state in _OUTCOMES]
        events = Event.objects.filter(session=session, call_id=use.call_id, name__in=names)
        # A session may be long, and what is looked for is among its last events.
        outcome = events.filter(at__gte=use.claimed_at - _LATELY).order_by("-id").first()
    return {
        "standing": standing_values(request),
        "opened_at": request.opened_at.timestamp(),
        "changed_at": request.changed_at.timestamp(),
        "has_begun": use is not None,
        "outcome": "" if outcome is None else outcome.name.rpartition(":")[2],
        "message": None if outcome is None or outcome.payload is None else bytes(outcome.payload),
    }


def session_is_over(*, session_id: UUID) -> bool:
    """Return whether the session has ended."""
    return Session.objects.filter(pk=session_id).exclude(ended_at=None).exists()


def has_run(*, call_id: UUID) -> bool:
    """Return whether a run was claimed for this call."""
    return bool(ApprovalUse.objects.filter(call_id=call_id).exists())


def under_way(*, binding: bytes, now: datetime) -> dict[str, Any] | None:
    """Return where the request stands under which an equal call runs, or whose answer is owed to its client.

    Whoever sends the same call again gets that answer, and the call does not run a second time.
    """
    lately = ApprovalRequest.objects.filter(changed_at__gt=now - _OWED, binding=binding, state="used")
    request = lately.order_by("-changed_at").first()
    use = None if request is None else request.uses.order_by("-number").first()
    if request is None or use is None:
        return None
    is_owed = ApprovalRun.objects.filter(call_id=use.call_id, is_owed=True).exists()
    return standing_values(request) if is_owed or not _run(request, use)["outcome"] else None
