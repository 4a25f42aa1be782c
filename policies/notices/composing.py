"""From a request to what is told about it: names, who and until when; arguments only where a channel asks for them."""

from __future__ import annotations

import json
import re
from typing import Final

from django.conf import settings
from django.urls import reverse

from policies.approval_reading import waits_for
from policies.models import ApprovalRequest

from .message import ASKING, Event, Notice

_TITLES: Final = {
    Event.ASKED: "Approval needed: {about}",
    Event.REMINDER: "Still waiting for approval: {about}",
    Event.ESCALATED: "Escalated to you: {about}",
    Event.HANDED_OVER: "{by} asks you to decide: {about}",
    Event.QUESTION: "{by} writes about {about}",
    Event.APPROVED: "Approved: {about}",
    Event.DENIED: "Denied: {about}",
    Event.EXPIRED: "Expired: {about}",
    Event.WITHDRAWN: "Withdrawn: {about}",
    Event.BREAK_GLASS: "Approved alone in an emergency: {about}",
    Event.REVIEW_DUE: "Please review an approval in an emergency: {about}",
}
_LONGEST_NAME: Final = 80
_USER: Final = re.compile(r"//[^/?#@]*@")
"""User and password in a URL."""


def notice_of(
    request: ApprovalRequest,
    event: Event,
    *,
    by: str = "",
    text: str = "",
    for_requester: bool = False,
    with_arguments: bool = False,
    delivery: str = "",
) -> Notice:
    """Return what is told of `request`.

    Args:
        request: with its principal, the principal's owner, and its connection.
        event: what happened.
        by: whoever did it.
        text: what that person wrote.
        for_requester: links lead to the page of whoever asked, and not into the inbox.
        with_arguments: the masked arguments go along.
        delivery: id of the delivery.
    """
    what = _what(request)
    about = f"{_short(what)} on {_short(request.connection.slug)} ({request.code})"
    is_asking = event in ASKING
    reason = text or (request.justification if is_asking else request.end_reason if event == Event.DENIED else "")
    shows_arguments = with_arguments and request.arguments is not None
    return Notice(
        event=event,
        code=request.code,
        kind=request.kind,
        title=_TITLES[event].format(about=about, by=_short(by or "Somebody")),
        what=what,
        connection=request.connection.slug,
        requester=_requester(request),
        client=f"{request.client_name} {request.client_version}".strip(),
        rule=request.rule_name,
        risk=str(request.terms.get("risk", "medium")),
        reason=reason,
        decided_by="" if is_asking or event == Event.QUESTION else by,
        waits_for=waits_for(request) if is_asking else "",
        expires_at=request.expires_at if is_asking else None,
        url="" if for_requester else page("policies_approvalrequest_inbox_request", request.code),
        status_url=page("policies_approvalrequest_status", request.code),
        arguments=json.dumps(request.arguments, ensure_ascii=False) if shows_arguments else "",
        id=delivery,
    )


def summary_of(count: int, *, delivery: str = "") -> Notice:
    """Return the message that stands for many."""
    title = f"{count} more notifications about approvals: look at the inbox"
    url = settings.WARDGATE_PUBLIC_URL + reverse("policies_approvalrequest_inbox")
    return Notice(event=Event.SUMMARY, code="", kind="", title=title, url=url, count=count, id=delivery)


def test_of(name: str, *, delivery: str = "") -> Notice:
    """Return a message that is about no request."""
    url = settings.WARDGATE_PUBLIC_URL + reverse("policies_approvalrequest_inbox")
    title = f"A test of the notification channel {_short(name)}"
    return Notice(event=Event.TEST, code="", kind="", title=title, url=url, id=delivery)


def page(name: str, code: str) -> str:
    """Return the public URL of a page of a request."""
    return f"{settings.WARDGATE_PUBLIC_URL}{reverse(name, args=[code])}"


def _what(request: ApprovalRequest) -> str:
    """Return what is asked for; of a resource where it is, without what URLs carry secrets in."""
    if not request.method.startswith("resources/"):
        return request.name or "access for a time"
    place, mark, _ = _USER.sub("//", request.name).replace("#", "?", 1).partition("?")
    return f"{place}?…" if mark else place


def _requester(request: ApprovalRequest) -> str:
    owner = request.principal.owner
    return str(request.principal) if owner is None else f"{request.principal} (owner: {owner})"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
