"""Slack: a message with buttons for a request that waits, brought up to date when it was decided, wherever that was.

A message that somebody can decide from is kept (`services.slack_messages`) before it is sent: its buttons carry the id
of that row, and a decision from it keeps exactly what it showed. Every other message only tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from accounts.vault import Secret
from policies.services.slack_messages import (
    slack_message_for_delivery,
    slack_message_forget,
    slack_message_sent,
)

from . import slack_api
from .message import Notice, NotSent, Sent
from .slack_blocks import Card, message

UPDATES: Final = True
_CHANNEL = re.compile(r"[CG][A-Z0-9]{6,30}", re.ASCII)
_TOKEN = re.compile(r"xoxb-[A-Za-z0-9-]{8,300}", re.ASCII)
_TS = re.compile(r"[0-9]{1,20}\.[0-9]{1,10}", re.ASCII)
QUIET: Final = {"parse": "none", "link_names": False, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
"""Slack makes nothing of a text by itself."""


def send(notice: Notice, target: str, secret: Secret, allowed_networks: Sequence[str], *, reference: str = "") -> Sent:
    """Post the notice into the channel `target`, or change the message `reference` of it; `secret` is the bot token.

    Raises:
        NotSent: Slack did not take it.
    """
    channel, _, ts = reference.partition(":")
    if reference:
        content = message(told(notice))
        slack_api.call(
            "chat.update",
            {"channel": channel, "ts": ts, **content, "parse": "none", "link_names": False},
            token=secret,
            allowed_networks=allowed_networks,
        )
        return Sent(reference)
    offer = None
    if notice.is_asking:
        team = slack_api.team_of(secret, allowed_networks=allowed_networks)
        offer = slack_message_for_delivery(delivery_id=notice.id, title=notice.title, team=team, now=timezone.now())
    content = message(told(notice)) if offer is None else dict(offer.content)
    return _posted(content, target, secret, allowed_networks, None if offer is None else offer.id)


def refusal(target: str, secret: str | None, allowed_networks: Sequence[str]) -> tuple[str, str] | None:
    """Return the field that cannot be, and a sentence."""
    if not _CHANNEL.fullmatch(target):
        return (
            "target",
            "Write the id of the channel, such as C0123456789 (in its details), not its name.",
        )
    if secret is not None and not _TOKEN.fullmatch(secret):
        return "secret", "Give the bot token of the Slack app; it begins with xoxb-."
    return None


def told(notice: Notice) -> Card:
    """Return the card of a notice that nobody decides from."""
    return Card(title=notice.title, url=notice.link, facts=notice.facts())


def _posted(
    content: dict[str, Any], target: str, secret: Secret, allowed_networks: Sequence[str], message_id: UUID | None
) -> Sent:
    try:
        answer = slack_api.call(
            "chat.postMessage", {"channel": target, **content, **QUIET}, token=secret, allowed_networks=allowed_networks
        )
    except NotSent:
        if message_id is not None:
            slack_message_forget(message_id=message_id)
        raise
    channel, ts = answer.get("channel"), answer.get("ts")
    if not isinstance(ts, str) or not _TS.fullmatch(ts):
        return Sent()
    place = channel if isinstance(channel, str) and _CHANNEL.fullmatch(channel) else target
    if message_id is not None:
        slack_message_sent(message_id=message_id, slack_channel=place, ts=ts)
    return Sent(f"{place}:{ts}")
