"""What tests of Slack share: a channel, requests with a message in it, and people who do something there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.test import Client
from django.utils import timezone

from accounts.models import User
from policies import services
from policies.models import ApprovalRequest, NoticeChannel, NoticeDelivery, SlackIdentity, SlackMessage
from policies.notices.slack_signature import signature
from policies.services.slack_links import slack_code_make, slack_link
from tests.integration.policies.notifying import request
from tests.support.chats import BOT_TOKEN, LOCAL, TEAM, Service

SIGNING = "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL = "C0000001"


@dataclass
class Workspace:
    """Slack as a test sees it."""

    service: Service
    browser: Client

    def channel(self, **values: Any) -> NoticeChannel:
        given: dict[str, Any] = {
            "name": "approvals", "kind": "slack", "target": CHANNEL, "secret": BOT_TOKEN, "signing_secret": SIGNING,
            "allowed_networks": LOCAL, "includes_arguments": True, **values,
        }  # fmt: skip
        return services.notice_channel_save(**given, now=timezone.now())

    def told(self) -> None:
        """Let everything that is to be told be told."""
        services.outbox_spread(now=timezone.now())
        services.deliveries_send(now=timezone.now(), seconds=20)

    def asked(self, **values: Any) -> tuple[ApprovalRequest, SlackMessage]:
        """Return a request, and the message about it that stands in the channel."""
        approval = request(now=timezone.now(), **values)
        self.told()
        return approval, SlackMessage.objects.get(request=approval)

    def sends(self, payload: Any, *, secret: str = SIGNING, **headers: str) -> Any:
        """Send what Slack would, signed."""
        body = urlencode({"payload": json.dumps(payload)}).encode()
        stamp = str(int(time.time()))
        return self.posts(body, stamp, signature(secret.encode(), stamp, body), **headers)

    def posts(self, body: bytes, stamp: str, given: str, **headers: str) -> Any:
        return self.browser.post(
            "/slack/interactions/",
            body,
            content_type="application/x-www-form-urlencoded",
            headers={"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": given, **headers},
        )

    def ephemeral(self) -> str:
        """Return what was last told to whoever clicked, and to nobody else."""
        last = self.service.to("chat.postEphemeral")[-1].json
        assert last["channel"] == CHANNEL
        return str(last["text"])


def linked(user: User, slack_user: str = "U0GRACE", team: str = TEAM) -> SlackIdentity:
    """Return the link of a person who entered their code in Slack."""
    now = timezone.now()
    return slack_link(
        code=slack_code_make(user=user, now=now), team=team, slack_user=slack_user, slack_name="grace", now=now
    )


def log() -> list[tuple[str, str, str]]:
    """Return what became of every message to Slack."""
    return [
        (row.event, row.state, row.error) for row in NoticeDelivery.objects.filter(way="slack").order_by("created_at")
    ]
