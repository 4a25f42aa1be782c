"""Reads of the inbox: which requests wait for whom, and everything that an approver is shown of one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet
from django.utils.dateparse import parse_datetime

from accounts.models import Group, User
from connections.definitions import changes
from policies.engine import approving
from sessions.markup import UNSEEN
from sessions.models import Event
from sessions.search_models import CallIndex

from . import eligibility, selectors
from .models import ApprovalDecision, ApprovalRequest, ApprovalRule
from .services import Deciding, Desk, awaited_of, may_decide, view_of, why_not

PAGE = 50
MOST_COUNTED = 1_000
"""Up to here requests are counted; of more it is said that there are more."""
MOST_TOGETHER = 20
"""So many requests are decided together at most: each of them is shown in full first."""
MOST_TEXTS = 10
"""So many arguments of several lines, such as a query or a script, are shown line by line as well."""
LIVE = timedelta(seconds=25)
"""A client that was seen so lately still waits."""
TABS = {"mine": "For me", "groups": "My groups", "all": "All", "history": "History", "own": "Asked by me"}
State = ApprovalRequest.State
Verdict = ApprovalDecision.Verdict
_LIST_NEEDS_NOT = ("ciphertext", "wrapped_key", "arguments", "binding", "arguments_sha256")
_ESCAPED = re.compile(r"\\u00(?:[01][0-9a-f]|7f|[89][0-9a-f])")
"""Control characters, which JSON writes as escapes."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a tab is shown; empty members ask for nothing. The same as in the address of the page."""

    risk: str = ""
    tool: str = ""
    connection: str = ""
    rule: str = ""
    requester: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Filters:
        """Return the filters of a query; values that nothing can match are kept, and match nothing."""
        # PostgreSQL has no NUL in a text, so nothing there has one.
        values = {member.name: given.get(member.name, "")[:200].replace("\0", "\ufffd") for member in fields(cls)}
        return cls(**{name: value.strip() for name, value in values.items()})

    def __bool__(self) -> bool:
        return any(getattr(self, member.name) for member in fields(self))

    def query(self) -> str:
        """Return the filters as a query string."""
        given = {member.name: getattr(self, member.name) for member in fields(self)}
        return urlencode({name: value for name, value in given.items() if value})

    def of_rows(self, rows: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
        """Return the rows that pass. A tool may end in `*`; a requester is part of a name or a subject."""
        if self.risk:
            rows = rows.filter(terms__risk=self.risk)
        if self.tool.endswith("*"):
            rows = rows.filter(name__startswith=self.tool[:-1])
        elif self.tool:
            rows = rows.filter(name=self.tool)
        if self.connection:
            rows = rows.filter(connection__slug=self.connection)
        if self.rule:
            rows = rows.filter(rule_name=self.rule)
        if self.requester:
            who = self.requester
            rows = rows.filter(
                Q(principal__display_name__icontains=who)
                | Q(principal__subject__icontains=who)
                | Q(principal__owner__display_name__icontains=who)
            )
        return rows


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the inbox. `may_decide` is what the rule says of the person who looks."""

    request: ApprovalRequest
    waits_for: str
    is_live: bool
    left_seconds: int
    age_seconds: int
    risk: str
    may_decide: bool = False

    @property
    def may_join(self) -> bool:
        """Whether it may be decided together with others: never when the risk is high."""
        return self.may_decide and self.risk != ApprovalRule.Risk.HIGH


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines of a tab, and where the next ones begin; empty when these are the last."""

    rows: list[Row]
    following: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a request, for people: how many have approved, who, and whom it names."""

    name: str
    needed: int
    done: int
    approved_by: list[str]
    named: list[str]
    is_awaited: bool


def page(*, user: User, desk: Desk, tab: str, filters: Filters, after: str = "", now: datetime) -> Page:
    """Return some lines of a tab, the first ones or those after a place."""
    rows = _tab(user, desk, tab, now)
    is_oldest_first = tab in {"mine", "groups", "all"}
    key = "changed_at" if tab == "history" else "opened_at"
    order = [key, "id"] if is_oldest_first else [f"-{key}", "-id"]
    rows = filters.of_rows(rows)
    place = _place(after)
    if place is not None:
        at, pk = place
        side = "gt" if is_oldest_first else "lt"
        # The first part is implied by the second, and is what an index can begin at.
        rows = rows.filter(**{f"{key}__{side}e": at}).filter(
            Q(**{f"{key}__{side}": at}) | Q(**{key: at, f"id__{side}": pk})
        )
    decisions = ApprovalDecision.objects.select_related("user").defer("view")
    found = list(
        rows.order_by(*order)
        .select_related("principal__owner")
        .defer(*_LIST_NEEDS_NOT)
        .prefetch_related(Prefetch("decisions", queryset=decisions))[: PAGE + 1]
    )
    last = found[PAGE - 1] if len(found) > PAGE else None
    following = "" if last is None else f"{getattr(last, key).isoformat()}_{last.pk}"
    lines = [_row(request, now, desk=desk if may_decide(user) else None) for request in found[:PAGE]]
    return Page([line for line in lines if line.may_decide] if tab == "mine" else lines, following)


def counts(*, user: User, desk: Desk, now: datetime) -> dict[str, int]:
    """Return how many requests wait by tab; one more than `MOST_COUNTED` means that there are more."""
    # In no order, so that the database may stop as soon as it has seen enough.
    tabs = {tab: _tab(user, desk, tab, now).select_related(None).order_by() for tab in ("mine", "groups", "all")}
    return {tab: rows.values("pk")[: MOST_COUNTED + 1].count() for tab, rows in tabs.items()}


def _tab(user: User, desk: Desk, tab: str, now: datetime) -> QuerySet[ApprovalRequest]:
    visible = selectors.approval_requests_visible_to(user=user)
    waiting = visible.filter(state=State.HELD, expires_at__gt=now)
    match tab:
        case "mine":
            return eligibility.decidable(waiting, desk) if may_decide(user) else waiting.none()
        case "groups":
            return eligibility.named(waiting, desk)
        case "history":
            return visible.exclude(state=State.HELD)
        case "own":
            own = Q(principal_id=user.principal_id) | Q(principal__owner_id=user.principal_id)
            return visible.filter(own) if user.principal_id else visible.none()
        case _:
            return waiting


def _place(after: str) -> tuple[datetime, UUID] | None:
    at, _, pk = after.partition("_")
    try:
        moment = parse_datetime(at)
        return None if moment is None or moment.tzinfo is None else (moment, UUID(pk))
    except ValueError:
        return None


def _row(request: ApprovalRequest, now: datetime, *, desk: Desk | None = None) -> Row:
    is_waiting = request.state == State.HELD and request.expires_at > now
    may_decide = False
    if desk is not None and is_waiting:
        found = approving.seat(awaited_of(request), desk.before(request.connection_id))
        may_decide = isinstance(found, approving.Seat)
    return Row(
        request=request,
        waits_for=waits_for(request),
        is_live=request.waiting_at is not None and now - request.waiting_at < LIVE,
        left_seconds=max(0, int((request.expires_at - now).total_seconds())),
        age_seconds=max(0, int((now - request.opened_at).total_seconds())),
        risk=str(request.terms.get("risk", "medium")),
        may_decide=may_decide,
    )


def waits_for(request: ApprovalRequest) -> str:
    """Return how far the awaited stage is, and for whom it waits, such as "1 of 2, waiting for prod-approvers"."""
    stage = awaited_of(request).stage
    done = sum(
        decision.verdict == Verdict.APPROVE and decision.stage == request.stage for decision in request.decisions.all()
    )
    return f"{done} of {stage.needed}, waiting for {stage.name}" if stage.needed > 1 else f"waiting for {stage.name}"


def details(*, request: ApprovalRequest, deciding: Deciding, now: datetime) -> dict[str, Any]:
    """Return everything that the page of one request shows, in its order: what runs, who asks, why it stopped."""
    problem = why_not(request, deciding, now=now)
    before = request.changed_from
    differences: Sequence[Any] = ()
    if before is not None and isinstance(before.arguments, dict) and isinstance(request.arguments, dict):
        differences = changes(before.arguments, request.arguments)
    return {
        "request": request,
        "row": _row(request, now),
        **what_runs(request),
        "problem": "" if problem is None else str(problem),
        "problem_code": "" if problem is None else problem.code,
        "may_decide": problem is None,
        "decisions": request.decisions.select_related("user", "to_user", "behalf_of", "principal").order_by("at"),
        "before": before,
        "differences": differences,
        "calls": _last_calls(request),
        "similar": _similar(request),
        "stages": stages(request),
        "outcomes": _outcomes(request),
        "messages_about": request.messages.select_related("user"),
        "max_uses": int(request.terms.get("max_uses", 1)),
        "max_window_minutes": int(request.terms.get("max_window_seconds", 0)) // 60,
        "run_within_minutes": max(1, int(request.terms.get("run_within_seconds", 900)) // 60),
    }


def what_runs(request: ApprovalRequest) -> dict[str, Any]:
    """Return the arguments as text, in full, and how many of their characters cannot be seen."""
    text = json.dumps(request.arguments, ensure_ascii=False) if request.kind == ApprovalRequest.Kind.CALL else ""
    # A lone surrogate is no character that a page could be sent with; as JSON wrote it, it can.
    text = text.encode("utf-8", "backslashreplace").decode()
    hidden = text + request.name + request.client_name + request.justification
    given = request.arguments if isinstance(request.arguments, dict) else {}
    lines = [(place, value) for place, value in given.items() if isinstance(value, str) and "\n" in value]
    return {
        "arguments": text,
        "texts": lines[:MOST_TEXTS],
        "unseen": len(UNSEEN.findall(hidden)) + len(_ESCAPED.findall(text)),
        "is_mixed": is_mixed(request.name),
    }


def is_mixed(name: str) -> bool:
    """Tell whether a name has letters outside ASCII, so that it may look like another one."""
    return not name.isascii()


def shown(request: ApprovalRequest, where: str) -> str:
    """Return the exact view that a page gives of a request, for the decision to keep."""
    found = what_runs(request)
    extra = {
        "page": where,
        "text": found["arguments"],
        "unseen": found["unseen"],
        "risk": request.terms.get("risk", "medium"),
        "requester": str(request.principal),
        "owner": str(request.principal.owner or ""),
        "client": request.client_name,
        "address": request.address,
        "waits_for": waits_for(request),
        "expires_at": request.expires_at.isoformat(),
        "changed_at": request.changed_at.isoformat(),
    }
    return view_of(request, extra)


def stages(request: ApprovalRequest) -> list[Stage]:
    """Return how far each stage of a request has come."""
    try:
        known = approving.read_stages(request.stages)
    except approving.StagesRefused:
        return []
    approved: dict[int, list[str]] = {}
    for decision in request.decisions.select_related("user").filter(verdict=Verdict.APPROVE).order_by("at"):
        approved.setdefault(decision.stage, []).append(str(decision.user))
    users = {pk for stage in known for pk in stage.users}
    groups = {pk for stage in known for pk in stage.groups}
    names = {user.pk: str(user) for user in User.objects.filter(pk__in=users)}
    of_groups = {group.pk: f"members of {group.name}" for group in Group.objects.filter(pk__in=groups)}
    found: list[Stage] = []
    for number, stage in enumerate(known):
        named = [names[pk] for pk in sorted(stage.users) if pk in names]
        named += [of_groups[pk] for pk in sorted(stage.groups) if pk in of_groups]
        named += [f"owner {owner}" for owner in request.connection.owners.all()[:20]] if stage.owners else []
        if stage.is_open:
            named = ["everybody who may decide approvals"]
        done = approved.get(number, [])
        is_awaited = request.state == State.HELD and number == min(request.stage, len(known) - 1)
        found.append(Stage(stage.name, stage.needed, len(done), done, named, is_awaited))
    return found


def together(*, user: User, desk: Desk, codes: Sequence[str], now: datetime) -> tuple[list[dict[str, Any]], str]:
    """Return the requests of these codes to be decided with one comment, each in full, and why they cannot be.

    Only requests of one rule and one tool go together, and never those of high risk.
    """
    visible = selectors.approval_requests_visible_to(user=user).filter(code__in=list(codes)[: MOST_TOGETHER + 1])
    rows = list(visible.order_by("opened_at", "id").prefetch_related("decisions"))
    if not rows or len(rows) < len(set(codes)):
        return [], "Choose requests first: some of them are not there, or not for you to see."
    if len(rows) > MOST_TOGETHER:
        return [], f"At most {MOST_TOGETHER} requests are decided together."
    if len({(row.rule_name, row.connection_id, row.kind, row.method, row.name) for row in rows}) > 1:
        return [], "Only requests of the same rule and the same tool are decided together."
    if any(row.terms.get("risk") == ApprovalRule.Risk.HIGH for row in rows):
        return [], "Requests of high risk are decided one at a time."
    given = desk if may_decide(user) else None
    return [{"row": _row(row, now, desk=given), **what_runs(row)} for row in rows], ""


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
    verdicts = [Verdict.APPROVE, Verdict.DENY]
    return list(same.filter(verdict__in=verdicts).select_related("user", "request__principal").order_by("-at")[:5])


def _outcomes(request: ApprovalRequest) -> list[dict[str, Any]]:
    """Return what became of each run of an approved call."""
    uses = list(request.uses.order_by("number"))
    ends: dict[UUID | None, str] = {}
    if request.session_id is not None and uses:
        events = Event.objects.filter(session_id=request.session_id, call_id__in=[use.call_id for use in uses])
        for name, call_id in events.order_by("seq").values_list("name", "call_id"):
            ends[call_id] = name.rpartition(":")[2]
    return [{"use": use, "state": ends.get(use.call_id, "")} for use in uses]
