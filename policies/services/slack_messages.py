"""Writes of messages in Slack that somebody can decide from: what each shows, and of which moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.urls import reverse

from policies.approval_reading import waits_for
from policies.models import ApprovalRequest, ApprovalRule, NoticeChannel, NoticeDelivery, SlackMessage
from policies.notices import slack_blocks
from policies.notices.message import NotSent
from policies.notices.slack_blocks import Card

# The module and not its names: it is being imported itself where a channel's ways are, of which Slack is one.
from policies.services import notice_channels


@dataclass(frozen=True, slots=True)
class Offer:
    """A message that is about to be shown: `content` has its text and blocks."""

    id: UUID
    content: Mapping[str, Any]


def slack_message_for_delivery(*, delivery_id: str, title: str, team: str, now: datetime) -> Offer | None:
    """Return what a delivery to a Slack channel shows, if it is of a request that still waits; else None.

    Args:
        delivery_id: of the notification.
        title: what happened, in a few words.
        team: the workspace of the bot token.
        now: when.
    """
    try:
        delivery = NoticeDelivery.objects.select_related("channel").filter(pk=delivery_id).first()
    except (ValidationError, ValueError):
        return None
    if delivery is None or delivery.channel is None or delivery.request_id is None:
        return None
    return slack_message_make(request_id=delivery.request_id, channel=delivery.channel, title=title, team=team, now=now)


def slack_message_make(
    *, request_id: UUID, channel: NoticeChannel, title: str, team: str, ts: str = "", now: datetime
) -> Offer | None:
    """Return what a message about the request shows at `now`, if it still waits; the row is kept before it is sent.

    `ts` is of a message that is brought up to date: what it showed before is good for nothing any more.
    """
    request = ApprovalRequest.objects.select_related("principal__owner", "connection").get(pk=request_id)
    if request.state != ApprovalRequest.State.HELD or request.expires_at <= now:
        return None
    row = SlackMessage(
        request=request,
        channel=channel,
        team=team,
        slack_channel=channel.target,
        ts=ts,
        seen_at=request.changed_at,
        made_at=now,
    )
    card = card_of(request, title=title, key=str(row.pk), shows_arguments=channel.includes_arguments)
    if not _takes_decisions(channel):
        card = replace(card, may_approve=False, may_deny=False)
    content = slack_blocks.message(card)
    row.may_approve = card.may_approve and slack_blocks.is_complete(card)
    row.may_deny = card.may_deny
    row.shown = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    if ts:
        SlackMessage.objects.filter(channel=channel, ts=ts).update(ts="")
    row.save()
    return Offer(row.pk, content)


def slack_message_sent(*, message_id: UUID, slack_channel: str, ts: str) -> None:
    """Note by which time Slack knows a message. Until then, nothing can be decided from it."""
    SlackMessage.objects.filter(pk=message_id).update(slack_channel=slack_channel[:32], ts=ts[:32])


def slack_message_forget(*, message_id: UUID) -> None:
    """Forget a message that was not taken, or may not have been."""
    SlackMessage.objects.filter(pk=message_id).delete()


def slack_messages_forget(*, before: datetime) -> int:
    """Forget messages of before a moment about requests that have ended; decisions keep what was shown."""
    old = SlackMessage.objects.filter(made_at__lt=before, request__ended_at__isnull=False)
    return old.delete()[0]


def card_of(request: ApprovalRequest, *, title: str, key: str, shows_arguments: bool) -> Card:
    """Return the card of a request that waits.

    With high risk a person has to prove who they are, which Slack cannot ask for: then there is nothing to decide here.
    A rule that wants a reason for approving leaves approving to the inbox as well.
    """
    risk = str(request.terms.get("risk", ApprovalRule.Risk.MEDIUM))
    may_decide = risk in {ApprovalRule.Risk.LOW, ApprovalRule.Risk.MEDIUM}
    page = reverse("policies_approvalrequest_inbox_request", args=[request.code])
    return Card(
        title=title,
        url=f"{settings.WARDGATE_PUBLIC_URL}{page}",
        facts=_facts(request, risk),
        arguments=_arguments(request, shows_arguments=shows_arguments),
        note="" if may_decide else "High risk: it is decided in Wardgate, after confirming who you are.",
        may_approve=may_decide and not request.terms.get("needs_reason"),
        may_deny=may_decide,
        key=key,
    )


def _takes_decisions(channel: NoticeChannel) -> bool:
    """Tell whether what is pressed in the channel would be let in at all."""
    try:
        return bool(notice_channels.signing_secret_of(channel).reveal())
    except NotSent:
        return False


def _facts(request: ApprovalRequest, risk: str) -> tuple[tuple[str, str], ...]:
    owner = request.principal.owner
    found = (
        ("What", request.name or "access for a time"),
        ("Method", request.method),
        ("Connection", f"{request.connection.name} ({request.connection.slug})"),
        ("Asked by", str(request.principal) if owner is None else f"{request.principal} (owner: {owner})"),
        ("Client", f"{request.client_name} {request.client_version}".strip()),
        ("Stopped by", request.rule_name),
        ("Why", request.why),
        ("Justification", request.justification),
        ("Risk", risk),
        ("Waits for", waits_for(request)),
        ("Masked values", str(request.masked_count) if request.masked_count else ""),
        ("Request", request.code),
        ("Until", f"{request.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
    )
    return tuple((label, value) for label, value in found if value)


def _arguments(request: ApprovalRequest, *, shows_arguments: bool) -> str | None:
    """Return what would run, laid out; None when the channel may not show it."""
    if request.kind == ApprovalRequest.Kind.ACCESS:
        return json.dumps(request.wanted, ensure_ascii=False, indent=2)
    if not request.arguments or shows_arguments:
        return json.dumps(request.arguments, ensure_ascii=False, indent=2)
    return None
