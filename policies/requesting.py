"""Reads for whoever asks: their requests and where each stands, the access they have, and what they may ask for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from accounts.models import Group, Principal, User
from connections.models import Connection, Tool
from sessions.models import Event

from . import services
from .engine.approving import Stage
from .models import ApprovalDecision, ApprovalMessage, ApprovalRequest, ApprovalRule, ApprovalUse

PAGE = 50
State = ApprovalRequest.State
Verdict = ApprovalDecision.Verdict
_OUTCOMES = {
    "completed": "completed",
    "upstream_error": "the upstream answered with an error",
    "not_sent": "not sent",
    "aborted_by_client": "the client left before the answer",
    "outcome_unknown": "the outcome is not known, and it does not run again by itself",
}
_MEANINGS = {
    State.HELD: "It waits for a decision. Nothing has left the gateway.",
    State.APPROVED: "It is approved.",
    State.REJECTED: "It was denied. Nothing has left the gateway.",
    State.EXPIRED: "Its time is over. Nothing has left the gateway.",
    State.CANCELLED: "It was withdrawn or ended.",
    State.USED: "What was approved has been used.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A stage for people: who decides in it, and how many of how many have approved."""

    name: str
    needed: int
    given: int
    who: Sequence[str]
    is_awaited: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One run of what was approved."""

    number: int
    begun_at: datetime | None
    outcome: str


def own_requests(*, user: User) -> QuerySet[ApprovalRequest]:
    """Return what this person, or a machine that they own, has asked for; nothing for whoever is no principal."""
    rows = ApprovalRequest.objects.select_related("principal", "connection", "grant")
    return rows.filter(principal_id__in=services.principals_of(user)).order_by("-opened_at")


def own_access(*, user: User, now: datetime) -> list[ApprovalRequest]:
    """Return the access for a time that this person, or a machine that they own, has at `now`."""
    given = own_requests(user=user).filter(
        kind=ApprovalRequest.Kind.ACCESS, state=State.APPROVED, grant__is_active=True
    )
    return list(given.filter(grant__valid_until__gt=now))


def askers(*, user: User) -> list[Principal]:
    """Return for whom this person may ask: themselves first, then the machines and agents that they own."""
    found = Principal.objects.filter(pk__in=services.principals_of(user))
    return sorted(found, key=lambda principal: (principal.pk != user.principal_id, str(principal)))


def offers(*, connection: Connection | None = None) -> dict[Connection, ApprovalRule]:
    """Return the connections to which people may ask for access, each with the rule that decides and bounds it."""
    rules = ApprovalRule.objects.filter(is_active=True, access_to__is_active=True).order_by("-name")
    found: dict[Connection, ApprovalRule] = {}
    for rule in rules.prefetch_related("access_to").distinct():
        for row in rule.access_to.all():
            if row.is_active and connection in {None, row}:
                found[row] = rule
    return dict(sorted(found.items(), key=lambda item: item[0].name))


def tools_of(connection: Connection) -> list[str]:
    """Return the names of the connection's reviewed tools."""
    accepted = Tool.objects.filter(connection=connection, state=Tool.State.ACCEPTED)
    return list(accepted.order_by("name").values_list("name", flat=True))


def steps(request: ApprovalRequest) -> list[Step]:
    """Return the stages of a request with what has been approved in each."""
    approvals = [d for d in request.decisions.all() if d.verdict == Verdict.APPROVE]
    found: list[Step] = []
    for number, stage in enumerate(services.stages_of(request)):
        given = len({d.behalf_of_id or d.user_id for d in approvals if d.stage == number})
        is_awaited = request.state == State.HELD and number == request.stage
        found.append(Step(stage.name, stage.needed, min(given, stage.needed), _named(stage), is_awaited))
    return found


def _named(stage: Stage) -> list[str]:
    named = [str(user) for user in User.objects.filter(pk__in=stage.users, is_active=True).order_by("username")[:20]]
    named += [f"members of {group.name}" for group in Group.objects.filter(pk__in=stage.groups).order_by("name")[:20]]
    return [*named, *(["owners of the connection"] if stage.owners else [])] or ["everybody who may decide approvals"]


def runs(request: ApprovalRequest) -> list[Run]:
    """Return the runs of what was approved, each with its outcome in words."""
    uses = list(request.uses.order_by("number"))
    outcomes: dict[Any, str] = {}
    if uses and request.session_id is not None:
        names = [f"gateway:call:{name}" for name in _OUTCOMES]
        calls = [use.call_id for use in uses]
        ended = Event.objects.filter(session_id=request.session_id, call_id__in=calls, name__in=names)
        outcomes = {call: _OUTCOMES[name.rpartition(":")[2]] for call, name in ended.values_list("call_id", "name")}
    return [Run(use.number, use.consumed_at, outcomes.get(use.call_id, _under_way(use))) for use in uses]


def _under_way(use: ApprovalUse) -> str:
    return "under way" if use.consumed_at else "about to begin"


def status(*, request: ApprovalRequest, now: datetime) -> dict[str, Any]:
    """Return everything that the requester is shown of one request."""
    is_call = request.kind == ApprovalRequest.Kind.CALL
    decided = [Verdict.APPROVE, Verdict.DENY, Verdict.BREAK_GLASS, Verdict.WITHDRAW, Verdict.ESCALATE, Verdict.REVIEW]
    until = request.usable_until if request.state == State.APPROVED else request.expires_at
    return {
        "approval": request,
        "minutes": int(request.wanted.get("seconds", 0)) // 60,
        "meaning": _MEANINGS.get(State(request.state), ""),
        "is_waiting": request.state == State.HELD and request.expires_at > now,
        "left_seconds": max(0, int((until - now).total_seconds())) if until is not None else 0,
        "arguments": json.dumps(request.arguments, ensure_ascii=False) if is_call else "",
        "steps": steps(request),
        "decisions": [d for d in request.decisions.select_related("user", "behalf_of") if d.verdict in decided],
        "runs": runs(request),
        "thread": thread(request),
        "may_withdraw": request.state in services.OPEN,
        "is_access": not is_call,
    }


def thread(request: ApprovalRequest) -> QuerySet[ApprovalMessage]:
    """Return the questions about a request and their answers, oldest first."""
    return request.messages.select_related("user").order_by("at")
