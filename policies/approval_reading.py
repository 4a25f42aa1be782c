"""Reads of approval requests for the data path: where they stand, and which have moved."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sessions.models import Event

from .models import ApprovalDecision, ApprovalRequest

_LATELY = timedelta(seconds=10)
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


def requests_moved(*, asked: Collection[UUID], waiting: Collection[UUID], now: datetime) -> list[dict[str, Any]]:
    """Return where the requests in `asked` stand, and those of `waiting` that have changed lately."""
    found = {request.pk: request for request in ApprovalRequest.objects.filter(pk__in=list(asked))}
    if waiting:
        for request in ApprovalRequest.objects.filter(changed_at__gt=now - _LATELY):
            if request.pk in waiting:
                found[request.pk] = request
    return [standing_values(request) for request in found.values()]


def task_values(*, code: str) -> dict[str, Any] | None:
    """Return where a request and its newest run stand, for whoever asks for the task of it; None when there is none.

    `outcome` is the last part of the event's name, `message` the masked message as recorded (perhaps compressed).
    """
    request = ApprovalRequest.objects.filter(code=code).first()
    if request is None:
        return None
    use = request.uses.order_by("-number").first()
    outcome = None
    if use is not None and request.session_id is not None:
        names = [f"gateway:call:{state}" for state in _OUTCOMES]
        outcome = Event.objects.filter(session_id=request.session_id, call_id=use.call_id, name__in=names).first()
    return {
        "standing": standing_values(request),
        "name": request.name,
        "opened_at": request.opened_at.timestamp(),
        "changed_at": request.changed_at.timestamp(),
        "has_begun": use is not None,
        "outcome": "" if outcome is None else outcome.name.rpartition(":")[2],
        "message": None if outcome is None or outcome.payload is None else bytes(outcome.payload),
    }
