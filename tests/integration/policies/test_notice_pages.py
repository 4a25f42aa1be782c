"""Channels, the log and one's own choice, at the console and over REST; a secret goes in and never comes out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from policies import services
from policies.models import NoticeChannel, NoticeDelivery, NoticePreference, PushSubscription
from policies.notices.message import CHOSEN
from policies.services.notice_channels import secret_of
from tests.support.notices import HOOK_SECRET, Hook

from .notifying import LOCAL, NOW, hook_channel, request, spread_and_send

pytestmark = pytest.mark.django_db
CHANGELIST = "admin:policies_noticechannel_changelist"


def browser_of(role: str) -> Client:
    """Return a browser in which somebody of that role is logged in."""
    user, _ = User.objects.get_or_create(username=role, defaults={"is_staff": True, "role_names": [role]})
    client = Client()
    client.force_login(user)
    return client


def api(name: str, *args: Any) -> str:
    return reverse(f"api:{name}", args=args)


def sent_json(client: Client, method: str, url: str, body: dict[str, Any]) -> Any:
    return getattr(client, method)(url, json.dumps(body), content_type="application/json")


def form(url: str, **values: Any) -> dict[str, Any]:
    return {
        "name": "hook",
        "kind": "webhook",
        "target": url,
        "secret": HOOK_SECRET,
        "allowed_networks": "127.0.0.0/8",
        "events": ["asked", "denied"],
        "risks": ["high"],
        "most_per_minute": "20",
        "is_active": "on",
        **values,
    }


class TestTheConsole:
    def test_an_owner_makes_a_channel_tests_it_and_deletes_it(self, hook: Hook) -> None:
        client = browser_of("owner")
        client.post(reverse("admin:policies_noticechannel_add"), form(hook.url))
        channel = NoticeChannel.objects.get()
        assert (channel.events, channel.risks) == (["asked", "denied"], ["high"])
        asked = {"action": "test_selected", "_selected_action": str(channel.pk)}
        assert "it took the test" in client.post(reverse(CHANGELIST), asked, follow=True).content.decode()
        assert hook.bodies[0]["type"] == "wardgate.approval.test"
        hook.answer_next(500)
        assert "answered 500" in client.post(reverse(CHANGELIST), asked, follow=True).content.decode()
        change = reverse("admin:policies_noticechannel_change", args=[channel.pk])
        page = client.get(change).content.decode()
        assert 'value="asked"' in page
        assert HOOK_SECRET not in page
        client.post(change, form(channel.target, secret="", most_per_minute="9"))
        kept = NoticeChannel.objects.get()
        assert kept.most_per_minute == 9
        assert secret_of(kept).reveal().decode() == HOOK_SECRET
        client.post(reverse("admin:policies_noticechannel_delete", args=[channel.pk]), {"post": "yes"})
        assert not NoticeChannel.objects.exists()
        assert NoticeDelivery.objects.filter(told="hook", event="test").count() == 2

    def test_a_mistake_is_said_at_its_field(self) -> None:
        client = browser_of("owner")
        answer = client.post(
            reverse("admin:policies_noticechannel_add"), form("http://hook.example/", allowed_networks="")
        )
        assert "Use https, or name the private network under allowed networks." in answer.content.decode()
        assert not NoticeChannel.objects.exists()

    def test_the_log_is_read_and_what_was_given_up_is_sent_again(self, hook: Hook) -> None:
        hook_channel(hook.url)
        hook.answer_next(400)
        request(now=timezone.now())
        spread_and_send(timezone.now())
        row = NoticeDelivery.objects.get()
        client = browser_of("owner")
        page = client.get(reverse("admin:policies_noticedelivery_changelist")).content.decode()
        assert "The service answered 400." in page
        asked = {"action": "retry_selected", "_selected_action": str(row.pk)}
        answer = client.post(reverse("admin:policies_noticedelivery_changelist"), asked, follow=True)
        assert "it is sent again" in answer.content.decode()
        assert spread_and_send(timezone.now()).sent == 1
        answer = client.post(reverse("admin:policies_noticedelivery_changelist"), asked, follow=True)
        assert "Only a message that failed" in answer.content.decode()

    @pytest.mark.parametrize("role", ["viewer", "approver", "operator", "auditor"])
    def test_only_an_owner_decides_who_is_told(self, role: str) -> None:
        client = browser_of(role)
        assert client.get(reverse("admin:policies_noticechannel_add")).status_code == 403
        assert sent_json(client, "post", api("notification-channel-list"), {}).status_code == 403


class TestRest:
    def test_a_channel(self, hook: Hook) -> None:
        client = browser_of("owner")
        body = {
            "name": "hook", "kind": "webhook", "target": hook.url, "secret": HOOK_SECRET, "allowed_networks": LOCAL,
            "events": ["asked"],
        }  # fmt: skip
        made = sent_json(client, "post", api("notification-channel-list"), body)
        assert made.status_code == 201, made.content
        assert HOOK_SECRET not in made.content.decode()
        channel = made.json()["id"]
        assert sent_json(client, "post", api("notification-channel-test", channel), {}).status_code == 204
        hook.answer_next(403)
        refused = sent_json(client, "post", api("notification-channel-test", channel), {})
        assert (refused.status_code, refused.json()["code"]) == (409, "notification_failed")
        changed = sent_json(client, "patch", api("notification-channel-detail", channel), {"risks": ["high"]})
        assert (changed.json()["risks"], changed.json()["events"]) == (["high"], ["asked"])
        refused = sent_json(client, "patch", api("notification-channel-detail", channel), {"events": ["everything"]})
        assert refused.status_code == 400
        log = client.get(api("notification-delivery-list"), {"event": "test"}).json()["results"]
        assert [(row["state"], row["error"]) for row in log] == [("failed", "The service answered 403."), ("sent", "")]
        assert sent_json(client, "post", api("notification-delivery-retry", log[0]["id"]), {}).status_code == 200
        assert client.delete(api("notification-channel-detail", channel)).status_code == 204

    def test_preferences_are_ones_own(self) -> None:
        client = browser_of("viewer")
        url = reverse("api:notification-preferences")
        assert len(client.get(url).json()["email_events"]) == len(CHOSEN)
        body = {
            "email_events": ["denied"], "push_events": [], "quiet_from": "22:00", "quiet_until": "07:00",
            "time_zone": "Europe/Berlin",
        }  # fmt: skip
        assert sent_json(client, "put", url, body).status_code == 200
        assert client.get(url).json()["email_events"] == ["denied"]
        assert NoticePreference.objects.get().user.username == "viewer"
        for wrong in ({"email_events": ["x"]}, {"time_zone": "../etc/passwd"}, {"quiet_until": None}, {"user": 1}):
            assert sent_json(client, "put", url, {**body, **wrong}).status_code == 400

    def test_who_is_nobody_has_none(self) -> None:
        assert Client().get(reverse("api:notification-preferences")).status_code in {401, 403}


class TestMyNotifications:
    def test_a_person_chooses_and_sees_the_choice(self) -> None:
        client = browser_of("approver")
        url = reverse("console_notifications")
        assert client.get(url).content.decode().count(" checked") == 2 * len(CHOSEN)
        chosen = {"email_events": ["asked"], "push_events": ["asked", "reminder"], "quiet_from": "22:00",
                  "quiet_until": "06:30", "time_zone": "Europe/Berlin"}  # fmt: skip
        assert client.post(url, chosen).status_code == 302
        page = client.get(url).content.decode()
        assert page.count(" checked") == 3
        assert 'value="06:30"' in page
        assert 'value="Europe/Berlin"' in page

    def test_a_mistake_is_said_and_what_was_entered_stays(self) -> None:
        client = browser_of("approver")
        answer = client.post(
            reverse("console_notifications"), {"email_events": ["asked"], "quiet_from": "22:00", "time_zone": "Mars"}
        ).content.decode()
        assert "Give both a beginning and an end" in answer
        assert "Write a time zone such as Europe/Berlin." in answer
        assert 'value="Mars"' in answer
        assert answer.count(" checked") == 1
        assert not NoticePreference.objects.exists()

    def test_one_removes_ones_own_browser_and_no_other(self) -> None:
        client, other = browser_of("approver"), browser_of("viewer")
        subscription = PushSubscription.objects.create(
            user=User.objects.get(username="approver"), endpoint="https://push.example/capability-551",
            endpoint_sha256=bytes(32), browser="Firefox <b>",
        )  # fmt: skip
        page = client.get(reverse("console_notifications")).content.decode()
        assert "Firefox &lt;b&gt;" in page
        assert "capability-551" not in page
        forget = reverse("console_forget_browser", args=[subscription.pk])
        other.post(forget)
        assert PushSubscription.objects.exists()
        client.post(forget)
        assert not PushSubscription.objects.exists()


class TestSecrets:
    def test_a_secret_is_in_no_page_log_or_answer(self, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        channel = hook_channel(hook.url)
        request()
        hook.answer_next(500)
        spread_and_send()
        client = browser_of("owner")
        answers = [
            client.get(reverse(CHANGELIST)),
            client.get(reverse("admin:policies_noticechannel_change", args=[channel.pk])),
            client.get(reverse("admin:policies_noticedelivery_changelist")),
            client.get(reverse("admin:policies_noticedelivery_change", args=[NoticeDelivery.objects.get().pk])),
            client.get(api("notification-channel-list")),
            client.get(api("notification-delivery-list")),
        ]
        for answer in answers:
            assert answer.status_code == 200
            assert HOOK_SECRET not in answer.content.decode()
        assert HOOK_SECRET not in caplog.text
        assert "capability-9f31" not in caplog.text
        assert "capability-9f31" not in answers[0].content.decode()
        assert "capability-9f31" not in answers[2].content.decode()
        with connection.cursor() as cursor:
            cursor.execute("SELECT string_agg(c::text, '') FROM policies_noticechannel c")
            assert HOOK_SECRET not in cursor.fetchone()[0]

    def test_a_secret_does_not_follow_to_another_place(self, hook: Hook) -> None:
        channel = hook_channel(hook.url)
        given = {"channel_id": channel.pk, "name": "hook", "kind": "webhook", "allowed_networks": LOCAL, "now": NOW}
        with pytest.raises(ValidationError) as refused:
            services.notice_channel_save(target="http://127.0.0.1:9/other", **given)
        assert "secret" in refused.value.error_dict

    def test_a_secret_is_replaced_with_both_good_in_between(self, hook: Hook) -> None:
        channel = hook_channel(hook.url)
        given = {
            "channel_id": channel.pk, "name": "hook", "kind": "webhook", "target": hook.url, "allowed_networks": LOCAL,
            "now": NOW,
        }  # fmt: skip
        services.notice_channel_save(**given, secret="new", keeps_old_secret=True)
        services.notice_channel_test(channel_id=channel.pk, now=NOW)
        hook.secrets = ["new"]
        services.notice_channel_save(**given, keeps_old_secret=True)
        services.notice_channel_test(channel_id=channel.pk, now=NOW)
        assert secret_of(NoticeChannel.objects.get()).reveal() == b"new\n" + HOOK_SECRET.encode()
        services.notice_channel_save(**given)
        assert secret_of(NoticeChannel.objects.get()).reveal() == b"new"
        services.notice_channel_test(channel_id=channel.pk, now=NOW)
        assert hook.problems == []

    def test_secrets_are_sealed_again_under_a_new_master_key(self, hook: Hook, settings: Any) -> None:
        channel = hook_channel(hook.url)
        old = settings.WARDGATE_MASTER_KEYS
        settings.WARDGATE_MASTER_KEYS = f"newer:{base64.b64encode(bytes(range(32))).decode()},{old}"
        assert services.channel_secrets_seal_again() == (1, 0)
        channel.refresh_from_db()
        assert channel.key_id == "newer"
        assert secret_of(channel).reveal().decode() == HOOK_SECRET
        settings.WARDGATE_MASTER_KEYS = old
        request()
        spread_and_send()
        assert NoticeDelivery.objects.get().error == "The secret of the channel cannot be opened: set it again."

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"kind": "pigeon"}, "kind"),
            ({"events": ["asked", "x"]}, "events"),
            ({"risks": ["extreme"]}, "risks"),
            ({"allowed_networks": ["everywhere"]}, "allowed_networks"),
            ({"secret": "two\nlines"}, "secret"),
            ({"secret": ""}, "secret"),
            ({"signing_secret": "x"}, "signing_secret"),
            ({"most_per_minute": 0}, "most_per_minute"),
            ({"name": ""}, "name"),
            ({"kind": "email", "target": "nobody", "secret": ""}, "target"),
        ],
    )
    def test_what_cannot_be_is_refused_at_its_field(self, values: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError) as refused:
            hook_channel("https://hook.example/", **values)
        assert field in refused.value.error_dict

    def test_a_deleted_channel_leaves_its_log_and_what_waited_is_dropped(self, hook: Hook) -> None:
        channel = hook_channel(hook.url)
        request()
        services.outbox_spread(now=NOW)
        services.notice_channel_delete(channel_id=channel.pk)
        assert spread_and_send().sent == 0
        row = NoticeDelivery.objects.get()
        assert (row.state, row.told, row.channel) == ("dropped", "hook", None)
