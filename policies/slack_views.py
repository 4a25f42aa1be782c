"""`POST /slack/interactions/`: what people do in Slack, signed by Slack; and the page that links a person to Slack.

The endpoint is outside of the console: no session, no cookie, no CSRF token. The signature, made with a secret that
only Slack and the channel have, over the time and every byte of the body, is what lets a request in, once.
"""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from accounts import proofs
from accounts.actors import person_of
from accounts.client_address import address_of
from accounts.receivers.bodies import BodyRefused, read_body

from . import slack_deciding
from .models import NoticeChannel, SlackIdentity
from .notices import slack_payload, slack_signature
from .notices.message import NotSent
from .services.notice_channels import signing_secret_of
from .services.slack_links import slack_code_make, slack_link_end, slack_request_take

logger = logging.getLogger(__name__)

MAX_CHANNELS = 100
_NO_STORE = {"Cache-Control": "no-store"}


@csrf_exempt
@require_POST
def interactions(request: HttpRequest) -> HttpResponse:
    """Take one signed request of Slack: 401 for whatever is not signed, too old, or was taken before."""
    now = timezone.now()
    try:
        body = read_body(request, "application/x-www-form-urlencoded", limit=slack_payload.MAX_BYTES)
    except BodyRefused as refused:
        return _refused(400, "body", str(refused))
    given = request.headers.get("X-Slack-Signature", "")
    timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
    try:
        channels = _signed_with(body, timestamp=timestamp, given=given, now=now)
    except slack_signature.SignatureRefused as refused:
        return _refused(401, "signature", str(refused))
    if not slack_request_take(signature=given, now=now):
        return _refused(401, "replayed", "This request was taken before.")
    try:
        done = slack_payload.read(body)
    except slack_payload.PayloadRefused as refused:
        return _refused(400, "payload", str(refused))
    answer = slack_deciding.do(done, channels=channels, address=address_of(request), now=now)
    return JsonResponse(answer, headers=_NO_STORE) if answer else HttpResponse(status=200, headers=_NO_STORE)


@admin.site.admin_view
@never_cache
@require_safe
def slack_links(request: HttpRequest) -> HttpResponse:
    """Show with which users of Slack one is linked."""
    return _page(request, timezone.now())


@admin.site.admin_view
@never_cache
@require_POST
@proofs.requires_recent_proof(back="console_slack")
def slack_code(request: HttpRequest) -> HttpResponse:
    """Show a new code, once."""
    now = timezone.now()
    return _page(request, now, slack_code_make(user=person_of(request), now=now))


@admin.site.admin_view
@require_POST
def slack_unlink(request: HttpRequest, identity_id: UUID) -> HttpResponse:
    """End one of one's own links."""
    if not slack_link_end(identity_id=identity_id, user=person_of(request), now=timezone.now()):
        raise Http404
    messages.success(request, "The link is over: nothing can be decided with it any more.")
    return HttpResponseRedirect(reverse("console_slack"))


def _signed_with(body: bytes, *, timestamp: str, given: str, now: datetime) -> list[NoticeChannel]:
    """Return the channels with whose secret the body is signed; every secret is tried, whichever fits.

    Raises:
        SignatureRefused: it is signed with none of them.
    """
    slack_signature.check_form(timestamp=timestamp, given=given, now=now.timestamp())
    found, refusal = [], slack_signature.SignatureRefused("No channel has a signing secret.")
    rows = NoticeChannel.objects.filter(kind=NoticeChannel.Kind.SLACK, is_active=True).order_by("created_at")
    for channel in rows[:MAX_CHANNELS]:
        try:
            secret = signing_secret_of(channel).reveal()
            slack_signature.check(secret, timestamp=timestamp, given=given, body=body, now=now.timestamp())
            found.append(channel)
        except slack_signature.SignatureRefused as error:
            refusal = error
        except NotSent:
            logger.warning("the signing secret of a channel cannot be opened", extra={"channel": str(channel.pk)})
    if not found:
        raise refusal
    return found


def _page(request: HttpRequest, now: datetime, code: str = "") -> HttpResponse:
    links = SlackIdentity.objects.filter(user=person_of(request), ended_at=None, expires_at__gt=now)
    context = {**admin.site.each_context(request), "title": "Slack", "links": links, "code": code}
    return render(request, "console/slack.html", context)


def _refused(status: int, code: str, sentence: str) -> HttpResponse:
    logger.warning("slack interaction refused", extra={"code": code})
    return HttpResponse(f"{sentence}\n", status=status, content_type="text/plain; charset=utf-8", headers=_NO_STORE)
