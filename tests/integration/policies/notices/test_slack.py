"""Messages in Slack: what they show, that they are brought up to date, and what Slack's refusals mean."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from policies import services
from policies.models import NoticeChannel, NoticeDelivery, SlackMessage
from policies.notices.slack_blocks import APPROVE, DENY, OPEN
from policies.services.slack_messages import slack_messages_forget
from tests.integration.policies.notifying import decide, person, request, rule
from tests.support.chats import BOT_TOKEN, TEAM
from tests.support.hostile_texts import HOSTILE

from .slack import CHANNEL, Workspace, log

pytestmark = pytest.mark.django_db


def actions(message: Any) -> list[str]:
    [block] = [block for block in message["blocks"] if block["type"] == "actions"]
    return [button["action_id"] for button in block["elements"]]


def test_a_request_is_posted_with_its_call_and_buttons(workspace: Workspace) -> None:
    workspace.channel()
    approval, row = workspace.asked(arguments={"id": 1, "note": "two  blanks, https://x.example"})
    [posted] = workspace.service.to("chat.postMessage")
    assert posted.headers["authorization"] == f"Bearer {BOT_TOKEN}"
    message = posted.json
    assert (message["channel"], message["parse"], message["link_names"]) == (CHANNEL, "none", False)
    assert actions(message) == [APPROVE, DENY, OPEN]
    text = json.dumps(message, ensure_ascii=False)
    for shown in (approval.code, "refund", "Orders", "alice", "refunds wait"):
        assert shown in text
    # The very arguments: a text that was made harmless for other channels is not what would run.
    assert json.dumps(json.dumps(approval.arguments, indent=2))[1:-1] in text
    assert (row.team, row.slack_channel, row.seen_at) == (TEAM, CHANNEL, approval.changed_at)
    assert row.ts
    assert json.loads(row.shown) == {"text": message["text"], "blocks": message["blocks"]}
    [delivery] = NoticeDelivery.objects.filter(way="slack")
    assert (delivery.state, delivery.reference) == ("sent", f"{CHANNEL}:{row.ts}")


def test_a_channel_that_may_not_show_arguments_offers_no_approval(workspace: Workspace) -> None:
    workspace.channel(includes_arguments=False)
    _, row = workspace.asked()
    assert actions(workspace.service.to("chat.postMessage")[-1].json) == [DENY, OPEN]
    assert not row.may_approve


def test_a_channel_without_a_signing_secret_has_no_buttons_that_would_do_nothing(workspace: Workspace) -> None:
    workspace.channel(signing_secret="")
    _, row = workspace.asked()
    assert actions(workspace.service.to("chat.postMessage")[-1].json) == [OPEN]
    assert (row.may_approve, row.may_deny) == (False, False)


def test_messages_are_forgotten_after_a_time_and_not_while_their_request_is_open(workspace: Workspace) -> None:
    workspace.channel()
    approval, _ = workspace.asked()
    later = timezone.now() + timedelta(days=1)
    assert slack_messages_forget(before=later) == 0
    decide(approval, person("grace"), approve=False, now=timezone.now())
    assert slack_messages_forget(before=timezone.now() - timedelta(days=1)) == 0
    assert slack_messages_forget(before=later) == 1


def test_arguments_that_are_too_long_are_approved_in_the_inbox(workspace: Workspace) -> None:
    workspace.channel()
    _, row = workspace.asked(arguments={"text": "x" * 5_000})
    message = workspace.service.to("chat.postMessage")[-1].json
    assert actions(message) == [DENY, OPEN]
    assert "xxxx" not in json.dumps(message)
    assert not row.may_approve


def test_of_high_risk_nothing_is_decided_in_slack(workspace: Workspace) -> None:
    rule(risk="high")
    workspace.channel()
    _, row = workspace.asked()
    assert actions(workspace.service.to("chat.postMessage")[-1].json) == [OPEN]
    assert (row.may_approve, row.may_deny) == (False, False)


def test_where_approving_needs_a_reason_it_is_done_in_the_inbox(workspace: Workspace) -> None:
    rule(needs_reason=True)
    workspace.channel()
    workspace.asked()
    assert actions(workspace.service.to("chat.postMessage")[-1].json) == [DENY, OPEN]


@pytest.mark.parametrize("ending", ["approved", "denied", "withdrawn", "expired"])
def test_a_message_loses_its_buttons_wherever_it_was_decided(workspace: Workspace, ending: str) -> None:
    workspace.channel()
    approval, row = workspace.asked()
    now = timezone.now()
    if ending in {"approved", "denied"}:
        decide(approval, person("grace"), approve=ending == "approved", reason="seen elsewhere", now=now)
    elif ending == "withdrawn":
        services.request_withdraw(request_id=approval.pk, principal_id=approval.principal_id, reason="done", now=now)
    else:
        services.requests_expire(now=approval.expires_at + timedelta(seconds=1))
    workspace.told()
    [update] = workspace.service.to("chat.update")
    assert (update.json["channel"], update.json["ts"]) == (CHANNEL, row.ts)
    assert actions(update.json) == [OPEN]
    assert ending.capitalize() in update.json["text"]
    if ending in {"approved", "denied"}:
        assert "grace" in json.dumps(update.json["blocks"])


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_and_arguments_reach_slack_as_text(workspace: Workspace, kind: str) -> None:
    workspace.channel()
    hostile = HOSTILE[kind].replace("\x00", "")
    approval, _ = workspace.asked(
        name=hostile, client_name=hostile, why=hostile, arguments={"a": hostile, hostile[:100]: 1}
    )
    decide(approval, person("grace"), approve=False, reason=hostile, now=timezone.now())
    workspace.told()
    for asked in [*workspace.service.to("chat.postMessage"), *workspace.service.to("chat.update")]:
        assert len(asked.body) < 60_000
        assert not any(mark in asked.json["text"] for mark in ("<!", "<@", "<http", "<script"))
        assert '"mrkdwn"' not in json.dumps(asked.json["blocks"])
        [buttons] = [block["elements"] for block in asked.json["blocks"] if block["type"] == "actions"]
        assert [button["url"] for button in buttons if "url" in button] == [
            f"http://127.0.0.1:8080/inbox/{approval.code}/"
        ]
    assert all(state == "sent" for _, state, _ in log())


@pytest.mark.parametrize(
    ("answer", "state", "sentence"),
    [
        ((429, {"Retry-After": "33"}, {}), "waiting", "429"),
        ((503, {}, {}), "waiting", "503"),
        ((200, {}, {"ok": False, "error": "ratelimited"}), "waiting", "ratelimited"),
        ((200, {}, {"ok": False, "error": "internal_error"}), "waiting", "internal_error"),
        ((200, {}, {"ok": False, "error": "channel_not_found"}), "failed", "invite the app"),
        ((200, {}, {"ok": False, "error": "token_revoked"}), "failed", "bot token"),
        ((200, {}, {"ok": False, "error": "<script>alert(1)"}), "failed", "an unknown error"),
        ((200, {}, ["not", "an", "object"]), "waiting", "cannot be read"),
    ],
)
def test_a_refusal_of_slack_is_tried_again_or_is_final(
    workspace: Workspace, answer: Any, state: str, sentence: str
) -> None:
    channel = workspace.channel()
    request(now=timezone.now())
    services.outbox_spread(now=timezone.now())
    workspace.service.answer_next(200, body={"ok": True, "team_id": TEAM})
    workspace.service.answer_next(answer[0], answer[1], answer[2])
    services.deliveries_send(now=timezone.now(), seconds=20)
    [(event, found, error)] = log()
    assert (event, found) == ("asked", state)
    assert sentence in error
    assert BOT_TOKEN not in error
    # A message that was not taken can never be decided from.
    assert not SlackMessage.objects.exists()
    if answer[0] == 429:
        channel.refresh_from_db()
        waits = NoticeDelivery.objects.get(way="slack").next_at - timezone.now()
        assert waits > timedelta(seconds=25)


def test_a_test_message_says_whether_the_channel_works(workspace: Workspace) -> None:
    channel = workspace.channel()
    services.notice_channel_test(channel_id=channel.pk, now=timezone.now())
    [posted] = workspace.service.to("chat.postMessage")
    assert actions(posted.json) == [OPEN]
    workspace.service.answer_next(200, body={"ok": False, "error": "not_in_channel"})
    with pytest.raises(services.TestFailed, match="Invite the app"):
        services.notice_channel_test(channel_id=channel.pk, now=timezone.now())


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"target": "#approvals"}, "target"),
        ({"target": "C1"}, "target"),
        ({"target": "U0GRACE01"}, "target"),
        ({"secret": "xoxp-1-2-abcdefgh"}, "secret"),
        ({"secret": ""}, "secret"),
    ],
)
def test_settings_that_cannot_work_are_refused(workspace: Workspace, values: Any, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        workspace.channel(**values)
    assert field in refused.value.message_dict
    assert not NoticeChannel.objects.exists()
