"""The inbox: what waits for a human, one request with everything an approver needs, and the decision about it.

The pages work without scripts. With them the page is told when something moves, and keys move and decide. Nothing is
decided with a key while no request is open, and never with a link: every decision is a form.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

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
from accounts.models import User
from accounts.proofs import is_recent, proof_url
from sessions.views import strict

from . import inbox, inbox_figures, selectors, services
from .approval_errors import DecidedAlready, Moved, NotAnApprover, NotPending
from .deciding import deciding_of
from .models import ApprovalRequest, ApprovalRule
from .services.deciders import DECIDE
from .services.inbox_filters import MOST_FILTERS, inbox_filter_delete, inbox_filter_save

DETAIL = "policies_approvalrequest_inbox_request"
LIST = "policies_approvalrequest_inbox"
_FEWEST = (NotPending, Moved, DecidedAlready)
"""What somebody else has done meanwhile is no mistake of the person who is told."""


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
    is_high = approval.terms.get("risk") == ApprovalRule.Risk.HIGH
    is_held = approval.state == ApprovalRequest.State.HELD
    details["needs_proof"] = is_high and not is_recent(request, now)
    details["proof_url"] = proof_url(request.path)
    details["may_withdraw"] = approval.state in services.OPEN and services.may_withdraw(approval, user)
    details["may_break_glass"] = is_held and user.has_perm("policies.break_glass_approvalrequest")
    details["others"] = services.deciders_besides(user=user) if details["may_decide"] else []
    details["may_see_record"] = user.has_perm("gateway_sessions.view_session")
    if request.headers.get("X-Wardgate-Part") == "detail":
        return render(request, "console/inbox_detail.html", details)
    return render(request, "console/inbox.html", {**_list(request, user, now), **details})


@strict
@login_required
@require_POST
def inbox_act(request: HttpRequest, code: str) -> HttpResponse:
    """Decide, ask, hand over, withdraw or break glass; what is refused is said on the page."""
    user, now = _person(request), timezone.now()
    approval = _visible(user, code)
    here = reverse(DETAIL, args=[code])
    if approval.terms.get("risk") == ApprovalRule.Risk.HIGH and not is_recent(request, now):
        return HttpResponseRedirect(proof_url(here))
    try:
        messages.success(request, _act(request, user, approval, now))
    except _FEWEST as error:
        messages.warning(request, str(error))
    except DomainError as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(here)


@strict
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def inbox_together(request: HttpRequest) -> HttpResponse:
    """Show requests of one rule and one tool in full, and decide them with one comment; each is checked by itself."""
    user, now = _person(request), timezone.now()
    given = request.POST if request.method == "POST" else request.GET
    deciding = deciding_of(request, user)
    desk = services.desk_of(deciding, now=now)
    found, problem = inbox.together(user=user, desk=desk, codes=given.getlist("code"), now=now)
    context: dict[str, Any] = {
        "found": found,
        "problem": problem,
        "may_decide": any(e["row"].may_decide for e in found),
    }
    if request.method == "POST" and not problem:
        approve = {"approve": True, "deny": False}.get(given.get("action", ""))
        if approve is None:
            raise Http404
        context["results"] = [
            (entry["row"].request.code, *_decide_one(entry["row"].request, deciding, given, approve=approve, now=now))
            for entry in found
        ]
    else:
        for entry in found:
            services.request_seen(request=entry["row"].request, user=user, address=deciding.address, now=now)
    return render(request, "console/inbox_together.html", context)


@strict
@login_required
@require_POST
def inbox_filter(request: HttpRequest) -> HttpResponse:
    """Keep the filters of a page under a name, or forget them."""
    user, now = _person(request), timezone.now()
    tab = _tab(request.POST.get("tab", ""))
    filters = inbox.Filters.of(request.POST.dict())
    if request.POST.get("action") == "forget":
        inbox_filter_delete(user=user, name=request.POST.get("name", ""))
    else:
        try:
            inbox_filter_save(user=user, name=request.POST.get("name", ""), query=_query(tab, filters), now=now)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
    return HttpResponseRedirect(f"{reverse(LIST)}?{_query(tab, filters)}")


@strict
@login_required
@require_safe
def inbox_figures_page(request: HttpRequest) -> HttpResponse:
    """Show how soon people decide, how much expires, and which rules ask too often."""
    user = _person(request)
    if not user.has_perm("policies.see_all_approvalrequest"):
        raise PermissionDenied
    return render(request, "console/inbox_figures.html", inbox_figures.figures(now=timezone.now()))


def _act(request: HttpRequest, user: User, approval: ApprovalRequest, now: datetime) -> str:
    given = request.POST
    deciding = replace(deciding_of(request, user), view=inbox.shown(approval, "request"))
    reason = given.get("reason", "")
    match given.get("action"):
        case "approve" | "deny" as action:
            done = services.request_decide(
                request_id=approval.pk,
                deciding=deciding,
                approve=action == "approve",
                reason=reason,
                **_terms(given, approval),
                seen_at=_seen(given.get("seen_at")),
                now=now,
            )
            if done.state == ApprovalRequest.State.HELD:
                return f"{approval.code}: your approval counts. It waits for others."
            return f"{approval.code} is {done.get_state_display().lower()}."
        case "ask":
            services.question_ask(request_id=approval.pk, deciding=deciding, text=given.get("text", ""), now=now)
            return f"{approval.code}: your question is there. The clock does not stop."
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


def _terms(given: Any, approval: ApprovalRequest) -> dict[str, int]:
    """Return uses and window as the form's words say them: once, so many times, or for so long."""
    match given.get("allow", "once"):
        case "uses":
            return {"uses": _number(given.get("uses"), 1)}
        case "window":
            window = 60 * _number(given.get("window_minutes"), 0)
            return {"uses": int(approval.terms.get("max_uses", 1)), "window_seconds": window}
        case _:
            return {}


def _seen(text: str | None) -> datetime:
    """Return when what the form was about had last moved.

    Raises:
        Moved: the form does not say it, so it was never shown.
    """
    try:
        seen = parse_datetime(text or "")
    except ValueError:
        seen = None
    if seen is None:
        raise Moved("This request has changed since you looked at it. Look again.")
    return seen


def _decide_one(
    approval: ApprovalRequest, deciding: services.Deciding, given: Any, *, approve: bool, now: datetime
) -> tuple[str, bool]:
    """Decide one of several; return what became of it in words, and whether it was decided."""
    try:
        done = services.request_decide(
            request_id=approval.pk,
            deciding=replace(deciding, view=inbox.shown(approval, "together")),
            approve=approve,
            reason=given.get("reason", ""),
            seen_at=_seen(given.get(f"seen_{approval.code}")),
            now=now,
        )
    except DomainError as error:
        return str(error), False
    if done.state == ApprovalRequest.State.HELD:
        return "Your approval counts. It waits for others.", True
    return f"{done.get_state_display()}.", True


def _list(request: HttpRequest, user: User, now: datetime) -> dict[str, Any]:
    desk = services.desk_of(deciding_of(request, user), now=now)
    tab, filters = _tab(request.GET.get("tab", "")), inbox.Filters.of(request.GET.dict())
    after = request.GET.get("after", "")[:100]
    page = inbox.page(user=user, desk=desk, tab=tab, filters=filters, after=after, now=now)
    known = _query(tab, filters)
    return {
        "tab": tab,
        "tabs": inbox.TABS,
        "counts": inbox.counts(user=user, desk=desk, now=now),
        "most_counted": inbox.MOST_COUNTED,
        "rows": page.rows,
        "following": f"{known}&{urlencode({'after': page.following})}" if page.following else "",
        "is_later": bool(after),
        "filters": filters,
        "here": f"{known}&{urlencode({'after': after})}" if after else known,
        "without_filters": urlencode({"tab": tab}),
        "risks": ApprovalRule.Risk.choices,
        "kept": user.inbox_filters.all()[:MOST_FILTERS],
        "kept_name": next((kept.name for kept in user.inbox_filters.all() if kept.query == known), ""),
        "may_decide_any": user.has_perm(DECIDE),
        "may_see_all": user.has_perm("policies.see_all_approvalrequest"),
        "now": now,
    }


def _query(tab: str, filters: inbox.Filters) -> str:
    return "&".join(filter(None, (urlencode({"tab": tab}), filters.query())))


def _tab(given: str) -> str:
    return given if given in inbox.TABS else "mine"


def _visible(user: User, code: str) -> ApprovalRequest:
    found = selectors.approval_requests_visible_to(user=user).filter(code=code).first()
    if found is None:
        raise Http404
    return found


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
