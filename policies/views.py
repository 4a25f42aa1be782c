"""The inbox: what waits for a human, one request with everything an approver needs, and the decision about it.

The pages work without scripts. With them the list looks after itself every second, and keys move and decide. Nothing is
decided with a key while no request is open, and never with a link: every decision is a form.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from accounts.actors import person_of
from accounts.exceptions import DomainError
from accounts.models import User
from accounts.proofs import is_recent, proof_url
from sessions.views import strict

from . import inbox, selectors, services
from .approval_errors import NotAnApprover
from .deciding import deciding_of
from .models import ApprovalRequest, ApprovalRule


@strict
@login_required
@require_safe
def inbox_list(request: HttpRequest) -> HttpResponse:
    """Show the requests of a tab, and the first of them."""
    user, now = _person(request), timezone.now()
    context = _list(request, user, now)
    if request.headers.get("X-Wardgate-Part") == "list":
        return render(request, "console/inbox_list.html", context)
    return render(request, "console/inbox.html", context)


@strict
@login_required
@require_safe
def inbox_request(request: HttpRequest, code: str) -> HttpResponse:
    """Show one request; that it was seen is kept."""
    user, now = _person(request), timezone.now()
    approval = _visible(user, code)
    deciding = deciding_of(request, user, approval)
    services.request_seen(request=approval, user=user, address=deciding.address, now=now)
    details = inbox.details(request=approval, deciding=deciding, now=now)
    details["needs_proof"] = approval.terms.get("risk") == ApprovalRule.Risk.HIGH and not is_recent(request, now)
    details["proof_url"] = proof_url(request.path)
    details["may_withdraw"] = approval.state in services.OPEN and services.may_withdraw(approval, user)
    details["may_break_glass"] = details["row"].request.state == "held" and user.has_perm(
        "policies.break_glass_approvalrequest"
    )
    details["others"] = _others(user) if details["may_decide"] else []
    if request.headers.get("X-Wardgate-Part") == "detail":
        return render(request, "console/inbox_detail.html", details)
    return render(request, "console/inbox.html", {**_list(request, user, now), **details})


@strict
@login_required
@require_POST
def inbox_act(request: HttpRequest, code: str) -> HttpResponse:
    """Decide, hand over, withdraw or break glass; what is refused is said on the page."""
    user, now = _person(request), timezone.now()
    approval = _visible(user, code)
    here = reverse("policies_approvalrequest_inbox_request", args=[code])
    if approval.terms.get("risk") == ApprovalRule.Risk.HIGH and not is_recent(request, now):
        return HttpResponseRedirect(proof_url(here))
    try:
        messages.success(request, _act(request, user, approval, now))
    except DomainError as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(here)


def _act(request: HttpRequest, user: User, approval: ApprovalRequest, now: datetime) -> str:
    given, deciding = request.POST, deciding_of(request, user, approval)
    reason = given.get("reason", "")
    match given.get("action"):
        case "approve" | "deny" as action:
            done = services.request_decide(
                request_id=approval.pk,
                deciding=deciding,
                approve=action == "approve",
                reason=reason,
                uses=_number(given.get("uses"), 1),
                window_seconds=60 * _number(given.get("window_minutes"), 0),
                seen_at=parse_datetime(given.get("seen_at", "")),
                now=now,
            )
            if done.state == ApprovalRequest.State.HELD:
                return f"{approval.code}: your approval counts. It waits for others."
            return f"{approval.code} is {done.get_state_display().lower()}."
        case "hand_over":
            to = User.objects.filter(pk=_number(given.get("to"), 0)).first()
            if to is None:
                raise Http404
            services.request_hand_over(request_id=approval.pk, deciding=deciding, to=to, reason=reason, now=now)
            return f"{approval.code} waits for {to} as well now."
        case "withdraw":
            if not services.may_withdraw(approval, user):
                raise PermissionDenied
            services.request_withdraw(request_id=approval.pk, user=user, reason=reason or "withdrawn", now=now)
            return f"{approval.code} is withdrawn."
        case "break_glass":
            if not is_recent(request, now):
                raise NotAnApprover("Confirm that it is you first (Your account), then do this again.")
            services.request_break_glass(request_id=approval.pk, deciding=deciding, reason=reason, now=now)
            return f"{approval.code} is approved in an emergency. Somebody else reviews it."
        case _:
            raise Http404


def _list(request: HttpRequest, user: User, now: datetime) -> dict[str, Any]:
    groups = deciding_of(request, user).groups
    tab = request.GET.get("tab", "mine")
    tab = tab if tab in inbox.TABS else "mine"
    return {
        "tab": tab,
        "tabs": inbox.TABS,
        "counts": inbox.counts(user=user, groups=groups, now=now),
        "rows": inbox.rows(user=user, groups=groups, tab=tab, now=now),
        "now": now,
    }


def _visible(user: User, code: str) -> ApprovalRequest:
    found = selectors.approval_requests_visible_to(user=user).filter(code=code).first()
    if found is None:
        raise Http404
    return found


def _others(user: User) -> list[User]:
    """Return the people to whom a request can be handed over."""
    people = User.objects.filter(is_active=True).exclude(pk=user.pk).order_by("username")[:200]
    return [person for person in people if person.has_perm("policies.decide_approvalrequest")]


def _person(request: HttpRequest) -> User:
    """Return who looks; whoever may see no request at all is told so.

    Raises:
        PermissionDenied: nobody is logged in, or without the permission.
    """
    user = person_of(request)
    if not user.has_perm("policies.view_approvalrequest"):
        raise PermissionDenied
    return user


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else otherwise
