"""Reads of the inbox: which requests wait for whom, and everything that an approver is shown of one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from accounts.models import Group, User
from connections.definitions import changes
from policies.engine import approving
from sessions.markup import UNSEEN
from sessions.search_models import CallIndex

from . import selectors
from .approval_reading import waits_for
from .models import ApprovalDecision, ApprovalRequest
from .services import Deciding, why_not

PAGE = 50
SCAN = 1_000
"""Most requests that are looked at for "for me"; the oldest come first, so that none waits for ever unseen."""
LIVE = timedelta(seconds=25)
"""A client that was seen so lately still waits."""
TABS = {"mine": "For me", "all": "All waiting", "history": "History", "own": "Asked by me"}
State = ApprovalRequest.State
_ESCAPED = re.compile(r"\\u00(?:[01][0-9a-f]|7f|[89][0-9a-f])")
"""Control characters, which JSON writes as escapes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the inbox."""

    request: ApprovalRequest
    waits_for: str
    is_live: bool
    left_seconds: int
    risk: str


def rows(*, user: User, groups: frozenset[int], tab: str, now: datetime) -> list[Row]:
    """Return the first page of a tab."""
    visible = selectors.approval_requests_visible_to(user=user).defer("ciphertext", "wrapped_key", "arguments")
    waiting = visible.filter(state=State.HELD, expires_at__gt=now).order_by("opened_at")
    match tab:
        case "mine":
            found = _for(user, groups, waiting, now)
        case "history":
            found = list(visible.exclude(state=State.HELD).order_by("-changed_at")[:PAGE])
        case "own":
            own = Q(principal_id=user.principal_id) | Q(principal__owner_id=user.principal_id)
            found = list(visible.filter(own).order_by("-opened_at")[:PAGE]) if user.principal_id else []
        case _:
            found = list(waiting[:PAGE])
    return [_row(request, now) for request in found]


def counts(*, user: User, groups: frozenset[int], now: datetime) -> dict[str, int]:
    """Return how many requests wait, for this person and at all."""
    visible = selectors.approval_requests_visible_to(user=user)
    waiting = visible.filter(state=State.HELD, expires_at__gt=now)
    mine = _for(user, groups, waiting.defer("ciphertext", "wrapped_key", "arguments").order_by("opened_at"), now)
    return {"mine": len(mine), "all": waiting.count()}


def _for(
    user: User, groups: frozenset[int], waiting: QuerySet[ApprovalRequest], now: datetime
) -> list[ApprovalRequest]:
    """Return those of the oldest requests that this person may decide; as `why_not` says for each, in few queries."""
    if not (user.is_active and user.has_perm("policies.decide_approvalrequest")):
        return []
    owned = set(user.owned_connections.values_list("pk", flat=True))
    own_name = None if user.principal_id is None else str(user.principal_id)
    found: list[ApprovalRequest] = []
    decided = Count("decisions", filter=Q(decisions__user=user, decisions__verdict="approve"))
    handed = Count("decisions", filter=Q(decisions__to_user=user, decisions__verdict="hand_over"))
    for request in waiting.annotate(decided=decided, handed=handed)[:SCAN]:
        owner = request.principal.owner_id
        approver = approving.Approver(user.pk, groups, own_name, is_owner=request.connection_id in owned)
        if request.decided or approving.is_own(
            approver, str(request.principal_id), None if owner is None else str(owner)
        ):
            continue
        try:
            stages = approving.read_stages(request.stages)
        except approving.StagesRefused:
            continue
        stage = stages[min(request.stage, len(stages) - 1)]
        if approving.may_decide(stage, approver) or request.handed or request.escalated_at is not None:
            found.append(request)
        if len(found) == PAGE:
            break
    return found


def _row(request: ApprovalRequest, now: datetime) -> Row:
    return Row(
        request=request,
        waits_for=waits_for(request),
        is_live=request.waiting_at is not None and now - request.waiting_at < LIVE,
        left_seconds=max(0, int((request.expires_at - now).total_seconds())),
        risk=str(request.terms.get("risk", "medium")),
    )


def details(*, request: ApprovalRequest, deciding: Deciding, now: datetime) -> dict[str, Any]:
    """Return everything that the page of one request shows, in its order: what runs, who asks, why it stopped."""
    text = json.dumps(request.arguments, ensure_ascii=False) if request.kind == ApprovalRequest.Kind.CALL else ""
    problem = why_not(request, deciding, now=now)
    before = request.changed_from
    differences: Sequence[Any] = ()
    if before is not None and isinstance(before.arguments, dict) and isinstance(request.arguments, dict):
        differences = changes(before.arguments, request.arguments)
    return {
        "request": request,
        "row": _row(request, now),
        "arguments": text,
        "unseen": len(UNSEEN.findall(text + request.name)) + len(_ESCAPED.findall(text)),
        "problem": "" if problem is None else str(problem),
        "may_decide": problem is None,
        "decisions": request.decisions.select_related("user", "to_user", "principal").order_by("at"),
        "before": before,
        "differences": differences,
        "calls": _last_calls(request),
        "similar": _similar(request),
        "approvers": _approvers(request),
        "uses": request.uses.order_by("number"),
        "max_uses": int(request.terms.get("max_uses", 1)),
        "max_window_minutes": int(request.terms.get("max_window_seconds", 0)) // 60,
    }


def _last_calls(request: ApprovalRequest) -> list[CallIndex]:
    """Return the caller's last calls before this one, newest first."""
    if request.session_id is None:
        return []
    return list(CallIndex.objects.filter(session_id=request.session_id, at__lt=request.opened_at).order_by("-at")[:10])


def _similar(request: ApprovalRequest) -> list[ApprovalDecision]:
    """Return the latest decisions about the same tool of the same connection."""
    same = ApprovalDecision.objects.filter(
        request__connection_id=request.connection_id, request__name=request.name, request__kind=request.kind
    ).exclude(request=request)
    verdicts = [ApprovalDecision.Verdict.APPROVE, ApprovalDecision.Verdict.DENY]
    return list(same.filter(verdict__in=verdicts).select_related("user", "request__principal").order_by("-at")[:5])


def _approvers(request: ApprovalRequest) -> list[str]:
    """Return whom the awaited stage names, for people."""
    try:
        stages = approving.read_stages(request.stages)
    except approving.StagesRefused:
        return []
    stage = stages[min(request.stage, len(stages) - 1)]
    named = [str(user) for user in User.objects.filter(pk__in=stage.users)[:20]]
    named += [f"members of {group.name}" for group in Group.objects.filter(pk__in=stage.groups)[:20]]
    return [*named, *(["owners of the connection"] if stage.owners else [])] or ["everybody who may decide approvals"]
