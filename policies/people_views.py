"""Pages of the people around a decision: who asks, who reviews an emergency, and who is away.

What somebody has asked for they see with a role in the console or without one (`accounts.login_ways`): every page here
shows the rows of its own person and nothing else, and none of them is a page of the admin.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.actors import person_of
from accounts.exceptions import DomainError
from accounts.models import Principal, User
from accounts.proofs import is_recent, proof_url
from connections.models import Connection
from sessions.views import strict

from . import requesting, selectors, services
from .deciding import deciding_of
from .models import ApprovalDelegation, ApprovalRequest, ApprovalRule
from .services.deciders import DECIDE


@strict
@login_required
@require_safe
def own(request: HttpRequest) -> HttpResponse:
    """Show what the person, or a machine of theirs, has asked for, and the access that they have."""
    user, now = person_of(request), timezone.now()
    rows = list(requesting.own_requests(user=user)[: requesting.PAGE])
    access = [(row, _left(row.usable_until, now)) for row in requesting.own_access(user=user, now=now)]
    context = {
        "page": "own",
        "rows": rows,
        "access": access,
        "may_ask": user.principal is not None and bool(requesting.offers()),
    }
    return render(request, "console/approval_own.html", context)


@strict
@login_required
@require_safe
def status(request: HttpRequest, code: str) -> HttpResponse:
    """Show the requester where a request stands; lead those who may decide it to the inbox.

    Raises:
        Http404: there is no such request, or it is somebody else's.
    """
    user, now = person_of(request), timezone.now()
    row = requesting.own_requests(user=user).filter(code=code).first()
    if row is None:
        if selectors.approval_requests_visible_to(user=user).filter(code=code).exists():
            return HttpResponseRedirect(reverse("policies_approvalrequest_inbox_request", args=[code]))
        raise Http404
    template = "approval_status_part" if request.headers.get("X-Wardgate-Part") == "status" else "approval_status"
    return render(request, f"console/{template}.html", requesting.status(request=row, now=now))


@strict
@login_required
@require_POST
def act(request: HttpRequest, code: str) -> HttpResponse:
    """Withdraw one's own request, or end one's own access.

    Raises:
        Http404: there is no such request of this person.
    """
    user = person_of(request)
    row = requesting.own_requests(user=user).filter(code=code).first()
    if row is None or request.POST.get("action") != "withdraw":
        raise Http404
    reason = request.POST.get("reason", "") or "withdrawn by whoever asked"

    def withdraw() -> str:
        services.request_withdraw(request_id=row.pk, user=user, reason=reason, now=timezone.now())
        return f"{code} is over: the access has ended." if row.grant_id else f"{code} is withdrawn."

    return _done(request, withdraw, reverse("policies_approvalrequest_status", args=[code]))


@strict
@login_required
@require_POST
def say(request: HttpRequest, code: str) -> HttpResponse:
    """Ask about a request that one may decide, or answer about one's own.

    Raises:
        Http404: there is no such request that this person may see.
    """
    user, now = person_of(request), timezone.now()
    row = requesting.own_requests(user=user).filter(code=code).first()
    is_own = row is not None
    row = row or selectors.approval_requests_visible_to(user=user).filter(code=code).first()
    if row is None:
        raise Http404
    page = "policies_approvalrequest_status" if is_own else "policies_approvalrequest_inbox_request"
    found, text = row, request.POST.get("text", "")

    def speak() -> str:
        deciding = deciding_of(request, user)
        if is_own:
            services.question_answer(request_id=found.pk, deciding=deciding, text=text, now=now)
            return "Whoever decides sees your answer."
        services.question_ask(request_id=found.pk, deciding=deciding, text=text, now=now)
        return f"Whoever asked sees your question at {reverse('policies_approvalrequest_status', args=[code])}."

    return _done(request, speak, reverse(page, args=[code]))


@strict
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for access to a connection for a time: choose one that a rule offers, then say what, how long and why.

    Raises:
        PermissionDenied: the person is no principal of an identity provider, so there is nobody to ask for.
    """
    user = person_of(request)
    if user.principal is None:
        raise PermissionDenied
    offers = requesting.offers()
    slug = (request.POST if request.method == "POST" else request.GET).get("connection", "")
    chosen = next((row for row in offers if row.slug == slug), None)
    context: dict[str, Any] = {"page": "ask", "offers": list(offers), "connection": chosen}
    if chosen is None:
        return render(request, "console/approval_ask.html", context)
    rule = offers[chosen]
    context |= {
        "most_minutes": rule.max_window_seconds // 60,
        "waits_for": [stage["name"] for stage in rule.stages],
        "askers": requesting.askers(user=user),
        "tools": requesting.tools_of(chosen),
        "given": request.POST,
        "chosen_tools": request.POST.getlist("tool"),
    }
    if request.method == "POST":
        try:
            made = _asked(request, user, chosen)
        except ValidationError as error:
            context["errors"] = error.message_dict
        except DomainError as error:
            context["errors"] = {"": [str(error)]}
        else:
            messages.success(request, f"{made.code} waits for a decision. This page shows where it stands.")
            return HttpResponseRedirect(reverse("policies_approvalrequest_status", args=[made.code]))
    return render(request, "console/approval_ask.html", context, status=400 if "errors" in context else 200)


def _asked(request: HttpRequest, user: User, connection: Connection) -> ApprovalRequest:
    given = request.POST
    principal = next((row for row in requesting.askers(user=user) if str(row.pk) == given.get("principal")), None)
    own_name: Principal | None = user.principal
    if principal is None and own_name is not None and "principal" not in given:
        principal = own_name
    if principal is None:
        raise Http404
    minutes = given.get("minutes", "")
    return services.access_request(
        principal=principal,
        connection=connection,
        tools=[*given.getlist("tool"), *given.get("patterns", "").split()],
        seconds=60 * int(minutes) if minutes.isascii() and minutes.isdigit() and len(minutes) < 7 else 0,
        justification=given.get("justification", ""),
        by=user,
        now=timezone.now(),
    )


@strict
@login_required
@require_safe
def reviews(request: HttpRequest) -> HttpResponse:
    """Show the approvals in an emergency that wait for a second person, and which of them this person may review."""
    user, now = _approver(request), timezone.now()
    due = {decision.pk for decision in services.reviews_due(user=user)}
    overdue = set(services.reviews_overdue(now=now).values_list("pk", flat=True))
    lines = [(row, row.pk in due, row.pk in overdue) for row in services.emergencies()[: requesting.PAGE]]
    return render(request, "console/approval_reviews.html", {"page": "reviews", "lines": lines})


@strict
@login_required
@require_POST
def review(request: HttpRequest, code: str) -> HttpResponse:
    """Say whether an approval in an emergency was justified.

    Raises:
        Http404: there is no such request that this person may see, or no finding.
    """
    user, now = _approver(request), timezone.now()
    row = selectors.approval_requests_visible_to(user=user).filter(code=code).first()
    finding = request.POST.get("finding")
    if row is None or finding not in {"justified", "not_justified"}:
        raise Http404
    back = reverse("policies_approvalrequest_reviews")
    if row.terms.get("risk") == ApprovalRule.Risk.HIGH and not is_recent(request, now):
        return HttpResponseRedirect(proof_url(back))

    def find() -> str:
        services.request_review(
            request_id=row.pk,
            deciding=deciding_of(request, user, row),
            is_justified=finding == "justified",
            comment=request.POST.get("comment", ""),
            now=now,
        )
        return f"Your review of {code} is kept."

    return _done(request, find, back)


@strict
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def away(request: HttpRequest) -> HttpResponse:
    """Name a delegate for a time, and see who stands for whom."""
    user, now = _approver(request), timezone.now()
    context: dict[str, Any] = {"page": "away", "given": request.POST}
    if request.method == "POST":
        try:
            _delegated(request, user, now)
        except ValidationError as error:
            context["errors"] = error.message_dict
        except DomainError as error:
            context["errors"] = {"": [str(error)]}
        else:
            messages.success(request, "Your delegate decides for you in that time.")
            return HttpResponseRedirect(reverse("policies_approvaldelegation_away"))
    rows = ApprovalDelegation.objects.select_related("delegator", "delegate")
    context["named"] = rows.filter(delegator=user)[:20]
    context["held"] = rows.filter(delegate=user, ended_at=None, ends_at__gt=now)[:20]
    context["people"] = services.deciders_besides(user=user)
    context["now"] = now
    return render(request, "console/approval_away.html", context, status=400 if "errors" in context else 200)


@strict
@login_required
@require_POST
def away_end(request: HttpRequest, delegation_id: Any) -> HttpResponse:
    """End a delegation of one's own, or one that one holds.

    Raises:
        Http404: there is none.
    """
    user = _approver(request)
    try:
        services.delegation_end(delegation_id=delegation_id, by=user, now=timezone.now())
    except ApprovalDelegation.DoesNotExist:
        raise Http404 from None
    messages.success(request, "It has ended.")
    return HttpResponseRedirect(reverse("policies_approvaldelegation_away"))


def _delegated(request: HttpRequest, user: User, now: datetime) -> None:
    given = request.POST
    delegate = next((one for one in services.deciders_besides(user=user) if str(one.pk) == given.get("delegate")), None)
    starts_at, ends_at = _moment(given.get("starts_at", "")) or now, _moment(given.get("ends_at", ""))
    problems = {}
    if delegate is None:
        problems["delegate"] = ["Choose somebody."]
    if ends_at is None:
        problems["ends_at"] = ["Say until when."]
    if delegate is None or ends_at is None:
        raise ValidationError(problems)
    services.delegation_save(
        delegator=user, delegate=delegate, starts_at=starts_at, ends_at=ends_at, reason=given.get("reason", ""), now=now
    )


def _moment(text: str) -> datetime | None:
    """Return the moment of a form's field, which is in UTC; None when it is none."""
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    return None if found is None else found.replace(tzinfo=UTC)


def _done(request: HttpRequest, work: Callable[[], str], page: str) -> HttpResponse:
    """Do what a form asks, say what became of it, and go back to its page."""
    try:
        messages.success(request, work())
    except DomainError as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(page)


def _approver(request: HttpRequest) -> User:
    """Return who looks, if they may decide approval requests.

    Raises:
        PermissionDenied: they may not.
    """
    user = person_of(request)
    if not user.has_perm(DECIDE):
        raise PermissionDenied
    return user


def _left(until: datetime | None, now: datetime) -> int:
    return 0 if until is None else max(0, int((until - now).total_seconds()))
