"""Who is told of a request, in which way, how often, and what becomes of the messages."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Group as PermissionGroup
from django.contrib.auth.models import Permission
from django.db import connection, connections, transaction
from kombu.exceptions import OperationalError

from accounts.models import Group, IdentityProvider, RoleGrant, ScimMember, ScimUser, User
from accounts.services import person_log_in
from accounts.services.people import NotAllowed
from policies import services, tasks
from policies.approval_models import one_stage
from policies.models import ApprovalRequest, NoticeChannel, NoticeDelivery, NoticeOutbox
from policies.notices import email, ways
from policies.notices.message import CHOSEN, Event, Notice, NotSent, Sent
from policies.services import Deciding
from policies.services.notice_delivery import LEASE, MOST_ATTEMPTS, pause_after, sending
from policies.services.notice_recipients import Recipient, recipients_of
from policies.services.notice_spreading import quiet_until
from tests.support.notices import HOOK_SECRET, Hook, Mail, hook_server
from tests.support.servers import ROOT, wait_until

from .notifying import NOW, decide, hook_channel, orders, person, principal, request, rule, spread_and_send, told

pytestmark = pytest.mark.django_db
State = NoticeDelivery.State


def recipients(mail: Mail) -> list[str]:
    return sorted(str(message["To"]) for message in mail.messages)


class TestWhoIsTold:
    def test_those_who_may_decide_are_asked_and_nobody_else(self, mail: Mail) -> None:
        person("grace"), person("oscar", "operator"), person("vera", "viewer")
        person("gone", is_active=False)
        request()
        spread_and_send()
        assert recipients(mail) == ["grace@example.com"]

    def test_who_may_decide_by_a_permission_of_their_own_or_of_a_group_is_asked_as_well(self, mail: Mail) -> None:
        permission = Permission.objects.get(codename="decide_approvalrequest")
        person("hand", "viewer").user_permissions.add(permission)
        team = PermissionGroup.objects.create(name="deciders")
        team.permissions.add(permission)
        person("team", "viewer").groups.add(team)
        request()
        spread_and_send()
        assert recipients(mail) == ["hand@example.com", "team@example.com"]

    def test_nobody_is_asked_to_decide_their_own_request(self, mail: Mail) -> None:
        person("grace"), person("alice", principal=principal("alice"))
        request(subject="alice")
        spread_and_send()
        assert recipients(mail) == ["grace@example.com"]

    def test_nobody_is_asked_about_what_a_machine_of_theirs_asks(self, mail: Mail) -> None:
        ada = principal("ada")
        robot = principal("robot", "machine")
        robot.owner = ada
        robot.save()
        person("ada", principal=ada)
        request(subject="robot")
        spread_and_send()
        assert recipients(mail) == []

    def test_only_the_people_of_the_stage_are_asked_and_then_those_of_the_next(self, mail: Mail) -> None:
        first, second = person("first"), person("second")
        rule(stages=[
            {"name": "One", "needed": 1, "users": [first.pk]}, {"name": "Two", "needed": 1, "users": [second.pk]},
        ])  # fmt: skip
        approval = request()
        spread_and_send()
        assert recipients(mail) == ["first@example.com"]
        decide(approval, first)
        spread_and_send()
        assert recipients(mail) == ["first@example.com", "second@example.com"]

    def test_owners_of_the_connection_are_asked_when_the_stage_is_theirs(self, mail: Mail) -> None:
        person("grace")
        orders().owners.add(person("olga"))
        rule(stages=[{"name": "Owners", "needed": 1, "owners": True}])
        request()
        spread_and_send()
        assert recipients(mail) == ["olga@example.com"]

    def test_members_of_a_group_are_asked_as_the_directory_knows_them(self, mail: Mail) -> None:
        provider = IdentityProvider.objects.create(name="IdP", issuer="https://idp.test.example", audiences=["x"])
        group = Group.objects.create(provider=provider, name="prod-approvers")
        inside, _outside = person("inside", principal=principal("inside")), person("outside")
        member = ScimUser.objects.create(provider=provider, user_name="inside", principal=inside.principal)
        ScimMember.objects.create(group=group, user=member)
        rule(stages=[{"name": "Prod", "needed": 1, "groups": [group.pk]}])
        request()
        spread_and_send()
        assert recipients(mail) == ["inside@example.com"]

    def test_members_of_a_group_are_asked_as_their_last_login_knows_them(self, mail: Mail) -> None:
        provider = IdentityProvider.objects.create(name="IdP", issuer="https://idp.test.example", audiences=["x"])
        group = Group.objects.create(provider=provider, name="prod-approvers")
        RoleGrant.objects.create(group=group, role="approver")
        for subject, groups in (("inside", {"prod-approvers"}), ("left", {"prod-approvers"}), ("left", set())):
            who = {"issuer": provider.issuer, "subject": subject, "display_name": "", "email": f"{subject}@example.com"}
            with suppress(NotAllowed):
                person_log_in(**who, groups=frozenset(groups), now=NOW)
        RoleGrant.objects.create(user=User.objects.get(principal__subject="left"), role="approver")
        rule(stages=[{"name": "Prod", "needed": 1, "groups": [group.pk]}])
        request()
        spread_and_send()
        assert recipients(mail) == ["inside@example.com"]

    @pytest.mark.parametrize(("approve", "word"), [(True, "Approved"), (False, "Denied")])
    def test_whoever_asked_is_told_the_decision_with_a_link_to_their_own_page(
        self, mail: Mail, approve: bool, word: str
    ) -> None:
        grace = person("grace")
        person("alice", role=None, principal=principal("alice"))
        approval = request(subject="alice")
        decide(approval, grace, approve=approve, reason="not on a Friday")
        spread_and_send()
        [message] = mail.messages
        assert message["To"] == "alice@example.com"
        assert word in message["Subject"]
        text = message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        assert f"/approvals/{approval.code}/" in text
        assert "/inbox/" not in text
        assert "not on a Friday" in text
        assert "Decided by: grace" in text

    def test_the_human_behind_a_machine_is_told_what_became_of_its_request(self, mail: Mail) -> None:
        ada, robot = principal("ada"), principal("robot", "machine")
        robot.owner = ada
        robot.save()
        person("ada", role=None, principal=ada)
        decide(request(subject="robot"), person("grace"))
        spread_and_send()
        assert recipients(mail) == ["ada@example.com"]

    def test_whoever_asked_is_told_at_the_address_of_their_token_when_they_never_were_here(self, mail: Mail) -> None:
        principal("alice", email="alice@corp.example")
        approval = request(subject="alice")
        services.requests_expire(now=approval.expires_at)
        spread_and_send(approval.expires_at)
        assert recipients(mail) == ["alice@corp.example"]
        assert "Expired" in mail.messages[0]["Subject"]

    def test_whoever_a_request_is_handed_to_is_asked(self, mail: Mail) -> None:
        first, second = person("first"), person("second")
        rule(stages=[{"name": "One", "needed": 1, "users": [first.pk]}])
        approval = request()
        services.request_hand_over(request_id=approval.pk, deciding=Deciding(user=first), to=second, now=NOW)
        services.outbox_spread(now=NOW)
        assert told(event="handed_over") == [("handed_over", "email", "second")]

    def test_an_escalation_asks_those_whom_it_names_and_the_others_not_again(self, mail: Mail) -> None:
        first, boss = person("first"), person("boss")
        rule(
            stages=[{"name": "One", "needed": 1, "users": [first.pk]}],
            escalate_seconds=60, escalate_to={"users": [boss.pk]},
        )  # fmt: skip
        request()
        services.outbox_spread(now=NOW)
        later = NOW + timedelta(seconds=61)
        services.requests_escalate(now=later)
        services.outbox_spread(now=later)
        assert told(event="escalated") == [("escalated", "email", "boss")]

    def test_an_approval_in_an_emergency_is_told_to_those_who_may_review_it_and_not_to_whoever_gave_it(
        self, mail: Mail
    ) -> None:
        person("grace"), person("alice", principal=principal("alice"))
        owner = person("owner", "owner")
        approval = request(subject="alice")
        services.request_break_glass(
            request_id=approval.pk, deciding=Deciding(user=owner), reason="the site is down", now=NOW
        )
        services.outbox_spread(now=NOW)
        assert told(event="break_glass") == [("break_glass", "email", "grace")]
        assert told(event="approved") == [("approved", "email", "alice")]

    def test_a_review_that_nobody_made_for_a_day_is_called_to_mind_once(self, mail: Mail) -> None:
        person("grace")
        approval = request()
        services.request_break_glass(
            request_id=approval.pk, deciding=Deciding(user=person("owner", "owner")), reason="down", now=NOW
        )
        for hours in (23, 25, 26):
            services.overdue_reviews_note(now=NOW + timedelta(hours=hours))
        assert NoticeOutbox.objects.filter(event="review_due").count() == 1

    def test_a_question_goes_to_whoever_asked_and_the_answer_back(self, mail: Mail) -> None:
        grace, alice = person("grace"), person("alice", role=None, principal=principal("alice"))
        approval = request(subject="alice")
        services.question_ask(request_id=approval.pk, deciding=Deciding(user=grace), text="Why now?", now=NOW)
        services.question_answer(request_id=approval.pk, deciding=Deciding(user=alice), text="A refund", now=NOW)
        services.outbox_spread(now=NOW)
        assert told(event="question") == [("question", "email", "alice"), ("question", "email", "grace")]


class TestWhatIsChosen:
    def test_what_a_person_did_not_choose_is_not_sent(self, mail: Mail) -> None:
        grace = person("grace")
        services.notice_preference_save(user=grace, email_events=["reminder"], push_events=[], now=NOW)
        request()
        spread_and_send()
        assert mail.messages == []

    def test_quiet_hours_put_a_message_off_and_it_is_dropped_when_nobody_is_needed_any_more(self, mail: Mail) -> None:
        grace, other = person("grace"), person("other")
        services.notice_preference_save(
            user=grace, email_events=["asked"], push_events=[], quiet_from=time(11), quiet_until=time(14), now=NOW
        )
        approval = request()
        spread_and_send()
        assert recipients(mail) == ["other@example.com"]
        decide(approval, other)
        spread_and_send(NOW + timedelta(hours=3))
        row = NoticeDelivery.objects.get(event="asked", user=grace)
        assert (row.state, row.error) == (State.DROPPED, "Nobody has to decide any more.")

    @pytest.mark.parametrize(
        ("begins", "ends", "zone", "at", "until"),
        [
            (time(22), time(7), "UTC", "2026-11-21T23:30:00", "2026-11-22T07:00:00"),
            (time(22), time(7), "UTC", "2026-11-21T06:59:00", "2026-11-21T07:00:00"),
            (time(22), time(7), "UTC", "2026-11-21T07:00:00", "2026-11-21T07:00:00"),
            (time(22), time(7), "Europe/Berlin", "2026-11-21T21:30:00", "2026-11-22T06:00:00"),
            (time(9), time(17), "UTC", "2026-11-21T12:00:00", "2026-11-21T17:00:00"),
        ],
        ids=["before midnight", "after midnight", "just over", "elsewhere", "by day"],
    )
    def test_quiet_hours_end_where_the_person_is(
        self, begins: time, ends: time, zone: str, at: str, until: str
    ) -> None:
        preference = services.notice_preference_save(
            user=person("grace"), email_events=[], push_events=[], quiet_from=begins, quiet_until=ends,
            time_zone=zone, now=NOW,
        )  # fmt: skip
        over = quiet_until(preference, datetime.fromisoformat(at).replace(tzinfo=UTC))
        assert over == datetime.fromisoformat(until).replace(tzinfo=UTC)

    def test_a_channel_gets_what_its_filters_let_through(self, hook: Hook) -> None:
        high = rule(risk="high")
        other = services.approval_rule_save(name="other", stages=one_stage(), now=NOW)
        hook_channel(hook.url, name="all")
        hook_channel(hook.url, name="high", risks=["high"])
        hook_channel(hook.url, name="low", risks=["low"])
        hook_channel(hook.url, name="of the rule", approval_rules=[high])
        hook_channel(hook.url, name="of another rule", approval_rules=[other])
        hook_channel(hook.url, name="decisions", events=["approved", "denied"])
        hook_channel(hook.url, name="of the connection", connections=[orders()])
        hook_channel(hook.url, name="off", is_active=False)
        request()
        services.outbox_spread(now=NOW)
        names = sorted(row.told for row in NoticeDelivery.objects.all())
        assert names == ["all", "high", "of the connection", "of the rule"]

    def test_arguments_go_along_only_where_a_channel_asks_for_them_and_masked(self, hook: Hook) -> None:
        hook_channel(hook.url, name="without")
        hook_channel(hook.url, name="with", includes_arguments=True)
        request()
        spread_and_send()
        arguments = sorted(str(body["data"]["arguments"]) for body in hook.bodies)
        assert arguments == ["None", '{"id": 1, "iban": "[MASKED:iban]"}']
        assert "unmasked-4471" not in str(hook.bodies)

    @pytest.mark.parametrize(
        ("uri", "shown"),
        [
            ("file:///etc/hosts", "file[:]///etc/hosts"),
            ("https://u:canary@files.example/a?token=canary#canary", "https[:]//files.example/a?…"),
            ("notes://x#canary", "notes[:]//x?…"),
        ],
    )
    def test_of_a_resource_only_its_place_is_told(self, hook: Hook, uri: str, shown: str) -> None:
        hook_channel(hook.url)
        request(method="resources/read", name=uri)
        spread_and_send()
        assert hook.bodies[0]["data"]["what"] == shown
        assert "canary" not in str(hook.bodies)


class TestOnce:
    def test_joining_a_request_tells_nobody_again(self, hook: Hook) -> None:
        hook_channel(hook.url)
        binding = b"b" * 32
        assert request(binding=binding).pk == request(binding=binding).pk
        spread_and_send()
        assert len(hook.bodies) == 1

    def test_a_reminder_comes_once_at_half_of_the_time(self, hook: Hook) -> None:
        rule(expires_seconds=3600)
        hook_channel(hook.url)
        request()
        for minutes in (1, 29, 31, 40):
            services.reminders_note(now=NOW + timedelta(minutes=minutes))
            spread_and_send(NOW + timedelta(minutes=minutes))
        assert [body["type"] for body in hook.bodies] == [
            "wardgate.approval.asked", "wardgate.approval.reminder",
        ]  # fmt: skip

    def test_nobody_is_reminded_of_what_expires_within_minutes_or_was_decided(self) -> None:
        rule(expires_seconds=599)
        request()
        assert services.reminders_note(now=NOW + timedelta(seconds=400)) == 0
        decide(request(subject="bob"), person("grace"))
        ApprovalRequest.objects.filter(principal__subject="bob").update(expires_at=NOW + timedelta(hours=1))
        assert services.reminders_note(now=NOW + timedelta(minutes=40)) == 0

    def test_what_is_noted_is_undone_with_what_it_is_about(self) -> None:
        with pytest.raises(RuntimeError), transaction.atomic():
            request()
            raise RuntimeError
        assert not NoticeOutbox.objects.exists()

    def test_a_crash_while_it_is_looked_up_who_is_told_leaves_the_entry_where_it_is(
        self, hook: Hook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook_channel(hook.url)
        request()
        with monkeypatch.context() as broken:
            broken.setattr("policies.services.notice_spreading.recipients_of", crash)
            with pytest.raises(Crash):
                services.outbox_spread(now=NOW)
        assert NoticeDelivery.objects.count() == 0
        spread_and_send()
        assert len(hook.bodies) == 1

    def test_an_entry_that_breaks_keeps_none_of_the_others_back(
        self, hook: Hook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook_channel(hook.url)
        broken_one, good_one = request(subject="alice"), request(subject="bob")

        def broken(entry: NoticeOutbox, *, now: datetime) -> list[Recipient]:
            if entry.request == broken_one:
                raise ValueError
            return recipients_of(entry, now=now)

        with monkeypatch.context() as patched:
            patched.setattr("policies.services.notice_spreading.recipients_of", broken)
            spread_and_send()
        assert [body["data"]["code"] for body in hook.bodies] == [good_one.code]
        spread_and_send()
        assert hook.bodies[-1]["data"]["code"] == broken_one.code

    def test_a_message_whose_worker_died_is_sent_by_the_next_under_the_same_id(
        self, hook: Hook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook_channel(hook.url)
        request()
        services.outbox_spread(now=NOW)
        with monkeypatch.context() as broken:
            broken.setattr("policies.services.notice_delivery._end", crash)
            with pytest.raises(Crash):
                services.deliveries_send(now=NOW, seconds=5)
        assert services.deliveries_send(now=NOW + LEASE / 2, seconds=5).sent == 0
        assert services.deliveries_send(now=NOW + LEASE + timedelta(seconds=1), seconds=5).sent == 1
        assert len(hook.ids) == 2
        assert len(set(hook.ids)) == 1


class Crash(BaseException):
    """The process ends here."""


def crash(*args: object, **values: object) -> None:
    raise Crash


@pytest.mark.django_db(transaction=True)
def test_workers_at_the_same_time_send_each_message_once(hook: Hook) -> None:
    hook_channel(hook.url, most_per_minute=1000)
    for number in range(5):
        request(subject=f"alice{number}")
    begin = threading.Barrier(4)

    def work(_: int) -> None:
        begin.wait(10)
        services.outbox_spread(now=NOW)
        services.deliveries_send(now=NOW, seconds=10)
        connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    spread_and_send()
    assert len(hook.ids) == 5
    assert len(set(hook.ids)) == 5


WORKER = """
import sys, django
django.setup()
from django.utils.dateparse import parse_datetime
from policies import services
now = parse_datetime(sys.argv[1])
services.outbox_spread(now=now)
services.deliveries_send(now=now, seconds=20)
"""


@pytest.mark.django_db(transaction=True)
def test_a_slow_service_holds_up_two_workers_and_no_third() -> None:
    inside, leave = threading.Barrier(3), threading.Event()

    def sender() -> bool:
        with sending() as may_send:
            inside.wait(10)
            leave.wait(10)
        connections.close_all()
        return may_send

    with ThreadPoolExecutor(2) as pool:
        senders = [pool.submit(sender) for _ in range(2)]
        inside.wait(10)
        with sending() as may_send:
            assert not may_send
        leave.set()
        assert [one.result(10) for one in senders] == [True, True]
    with sending() as may_send:
        assert may_send


@pytest.mark.django_db(transaction=True)
def test_of_a_worker_that_is_killed_while_it_sends_another_one_sends_the_message_under_the_same_id(hook: Hook) -> None:
    hook_channel(hook.url)
    request()
    hook.stalls = True
    database = connection.settings_dict
    place = quote(str(database["HOST"]), safe="")
    url = f"postgres://{database['USER']}:{database['PASSWORD']}@{place}:{database['PORT']}/{database['NAME']}"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, NOW.isoformat()], cwd=ROOT, env=os.environ | {"DATABASE_URL": url}
    )
    try:
        wait_until(lambda: hook.asked == 1, seconds=40, what="the worker's message")
    finally:
        worker.kill()
        worker.wait(10)
    hook.stalls = False
    assert NoticeDelivery.objects.get().state == State.SENDING
    assert services.deliveries_send(now=NOW + LEASE / 2, seconds=5).sent == 0
    assert services.deliveries_send(now=NOW + LEASE * 2, seconds=5).sent == 1
    assert hook.asked_ids == [hook.ids[0]] * 2


class TestAgain:
    def test_a_message_that_was_not_taken_is_sent_again_when_the_service_asks_for_it(self, hook: Hook) -> None:
        channel = hook_channel(hook.url)
        hook.answer_next(429, retry_after="120")
        request()
        spread_and_send()
        channel.refresh_from_db()
        assert channel.last_error == "The service answered 429."
        assert spread_and_send(NOW + timedelta(seconds=119)).sent == 0
        assert hook.asked == 1
        assert spread_and_send(NOW + timedelta(seconds=121)).sent == 1
        channel.refresh_from_db()
        assert (channel.failures, channel.last_error, channel.sent) == (0, "", 1)

    def test_a_channel_that_does_not_take_one_message_is_left_alone_with_the_others(self, hook: Hook) -> None:
        hook_channel(hook.url)
        hook.answer_next(503, times=10)
        for number in range(3):
            request(subject=f"alice{number}")
        spread_and_send()
        assert hook.asked == 1

    def test_a_channel_that_fails_holds_up_no_other(self, hook: Hook) -> None:
        with hook_server() as other:
            other.answer_next(500, times=10)
            hook_channel(other.url, name="broken")
            hook_channel(hook.url, name="good")
            request()
            spread_and_send()
        assert len(hook.bodies) == 1

    def test_what_is_never_taken_is_given_up_at_once_with_the_reason(self, hook: Hook) -> None:
        hook_channel(hook.url)
        hook.answer_next(400)
        request()
        spread_and_send()
        row = NoticeDelivery.objects.get()
        assert (row.state, row.error, row.attempts) == (State.FAILED, "The service answered 400.", 1)

    def test_after_so_many_tries_it_is_given_up(self, hook: Hook) -> None:
        hook_channel(hook.url)
        hook.answer_next(500, times=50)
        request()
        now = NOW
        for _ in range(MOST_ATTEMPTS + 3):
            spread_and_send(now)
            now += timedelta(minutes=16)
        row = NoticeDelivery.objects.get(event="asked")
        assert (row.state, row.attempts) == (State.FAILED, MOST_ATTEMPTS)
        assert hook.asked == MOST_ATTEMPTS

    def test_what_was_given_up_can_be_sent_again_by_a_person(self, hook: Hook) -> None:
        hook_channel(hook.url)
        hook.answer_next(400)
        request()
        spread_and_send()
        row = NoticeDelivery.objects.get()
        services.delivery_retry(delivery_id=row.pk, now=NOW)
        assert spread_and_send().sent == 1
        with pytest.raises(services.NothingToRetry):
            services.delivery_retry(delivery_id=row.pk, now=NOW)

    def test_pauses_grow_and_are_never_shorter_than_asked_for(self) -> None:
        assert 2.5 <= pause_after(1, None) <= 5
        assert 40 <= pause_after(5, None) <= 80
        assert 450 <= pause_after(30, None) <= 900
        assert pause_after(1, 300) == 300

    def test_a_mailbox_that_does_not_exist_is_given_up_and_a_busy_server_is_asked_again(self, mail: Mail) -> None:
        person("grace")
        mail.answer_next(550)
        request()
        spread_and_send()
        row = NoticeDelivery.objects.get()
        assert (row.state, row.error) == (State.FAILED, "The mail server refused the address (550).")
        mail.answer_next(451)
        request()
        spread_and_send()
        assert spread_and_send(NOW + timedelta(seconds=6)).sent == 1

    def test_without_a_mail_server_nobody_waits_for_mail(self) -> None:
        person("grace")
        request()
        services.outbox_spread(now=NOW)
        assert not NoticeDelivery.objects.exists()

    def test_a_bug_in_a_way_fails_its_message_and_no_other(
        self, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        hook_channel(hook.url, name="good")
        services.notice_channel_save(name="mail", kind="email", target="a@example.com", now=NOW)

        def broken(*args: object, **values: object) -> Sent:
            raise ValueError(HOOK_SECRET)

        monkeypatch.setattr(email, "send", broken)
        request()
        spread_and_send()
        assert len(hook.bodies) == 1
        row = NoticeDelivery.objects.get(told="mail")
        assert row.error == "The gateway itself failed (ValueError)."
        assert HOOK_SECRET not in caplog.text

    def test_old_entries_of_the_log_go_and_what_waits_stays(self, hook: Hook) -> None:
        hook_channel(hook.url)
        approval = request()
        spread_and_send()
        hook.answer_next(500, times=5)
        decide(approval, person("grace"))
        spread_and_send()
        assert services.notices_forget(before=NOW + timedelta(days=1)) == 1
        assert told() == [("approved", "webhook", "hook")]


class TestFloods:
    def test_beyond_its_cap_a_channel_gets_one_message_for_all_the_others(self, hook: Hook) -> None:
        hook_channel(hook.url, most_per_minute=3)
        for number in range(10):
            request(subject=f"alice{number}")
        spread_and_send()
        assert [body["type"] for body in hook.bodies] == ["wardgate.approval.asked"] * 3
        spread_and_send(NOW + timedelta(seconds=61))
        assert len(hook.bodies) == 4
        summary = hook.bodies[-1]
        assert (summary["type"], summary["data"]["count"]) == ("wardgate.approval.summary", 7)
        assert summary["data"]["url"].endswith("/inbox/")
        assert NoticeDelivery.objects.filter(state=State.MERGED).count() == 7

    def test_a_minute_later_messages_come_one_by_one_again(self, hook: Hook) -> None:
        hook_channel(hook.url, most_per_minute=1)
        for number in range(3):
            request(subject=f"alice{number}")
        spread_and_send()
        later = NOW + timedelta(seconds=61)
        request(subject="bob", now=later)
        spread_and_send(later)
        assert sorted(body["type"].rpartition(".")[2] for body in hook.bodies) == ["asked", "asked", "summary"]

    def test_a_person_is_told_of_a_flood_in_one_message(self, mail: Mail) -> None:
        person("grace")
        for number in range(25):
            request(subject=f"alice{number}")
        spread_and_send()
        assert len(mail.raw) == 20
        spread_and_send(NOW + timedelta(seconds=61))
        assert "5 more notifications" in mail.messages[-1]["Subject"]


class Chat:
    """A way whose messages can be changed."""

    UPDATES = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fails = 0

    def send(self, notice: Notice, target: str, secret: Any, networks: Any, *, reference: str = "") -> Sent:
        if self.fails:
            self.fails -= 1
            raise NotSent("busy")
        self.sent.append((notice.event, reference))
        return Sent(reference or f"ref-{len(self.sent)}")

    def refusal(self, target: str, secret: str | None, networks: Any) -> None:
        return None


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Chat:
    way = Chat()
    monkeypatch.setattr(ways, "WAYS", {**ways.WAYS, "slack": way})
    for module in ("notice_channels", "notice_spreading", "notice_delivery", "notice_people"):
        monkeypatch.setattr(f"policies.services.{module}.WAYS", ways.WAYS)
    services.notice_channel_save(name="chat", kind="slack", target="C1", secret="x", events=["asked"], now=NOW)
    return way


class TestBringingUpToDate:
    def test_a_message_that_asks_is_changed_when_the_request_is_decided_elsewhere(self, chat: Chat) -> None:
        approval = request()
        spread_and_send()
        decide(approval, person("grace"), approve=False)
        spread_and_send()
        assert chat.sent == [("asked", ""), ("denied", "ref-1")]

    def test_what_was_decided_before_it_was_told_is_not_told(self, chat: Chat) -> None:
        approval = request()
        services.outbox_spread(now=NOW)
        decide(approval, person("grace"))
        spread_and_send()
        spread_and_send(NOW + timedelta(seconds=11))
        assert chat.sent == []
        assert set(NoticeDelivery.objects.values_list("state", flat=True)) == {State.DROPPED}

    def test_a_change_waits_for_the_message_that_it_changes(self, chat: Chat) -> None:
        approval = request()
        spread_and_send()
        NoticeDelivery.objects.update(state=State.SENDING, next_at=NOW + timedelta(seconds=30), reference="")
        decide(approval, person("grace"))
        spread_and_send()
        assert chat.sent == [("asked", "")]
        NoticeDelivery.objects.filter(event="asked").update(state=State.SENT, reference="ref-1")
        spread_and_send(NOW + timedelta(seconds=11))
        assert chat.sent[-1] == ("approved", "ref-1")

    def test_a_channel_that_wants_decisions_gets_one_message_though_it_was_never_asked(self, chat: Chat) -> None:
        NoticeChannel.objects.update(events=[])
        approval = request()
        services.outbox_spread(now=NOW)
        services.reminders_note(now=NOW + timedelta(hours=5))
        services.outbox_spread(now=NOW)
        decide(approval, person("grace"))
        spread_and_send()
        spread_and_send(NOW + timedelta(seconds=11))
        assert chat.sent == [("approved", "")]

    def test_an_approval_that_expired_unused_is_told(self, chat: Chat) -> None:
        approval = request()
        spread_and_send()
        decide(approval, person("grace"))
        spread_and_send()
        approval.refresh_from_db()
        assert approval.usable_until is not None
        services.requests_expire(now=approval.usable_until)
        spread_and_send(approval.usable_until)
        assert [event for event, _ in chat.sent] == ["asked", "approved", "expired"]


class TestTheTask:
    def test_it_reminds_spreads_and_sends(self, hook: Hook) -> None:
        hook_channel(hook.url)
        approval = request(now=datetime.now(UTC))
        tasks.send_notices()
        assert hook.bodies[0]["data"]["code"] == approval.code

    def test_it_carries_nothing_in_its_arguments(self) -> None:
        assert tasks.send_notices.run.__code__.co_argcount == 0

    def test_every_event_can_be_chosen_but_those_of_the_gateway_itself(self) -> None:
        assert {event.value for event in CHOSEN} == {event.value for event in Event} - {"summary", "test"}

    def test_while_the_broker_is_away_everything_is_noted_and_told_later(
        self, hook: Hook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook_channel(hook.url)

        def away(*args: object, **values: object) -> None:
            raise OperationalError

        monkeypatch.setattr("celery.app.task.Task.apply_async", away)
        monkeypatch.setattr("channels.layers.get_channel_layer", away)
        decide(request(), person("grace"))
        assert NoticeOutbox.objects.filter(spread_at=None).count() == 2
        spread_and_send()
        assert [body["type"] for body in hook.bodies] == ["wardgate.approval.approved"]

    def test_requests_are_opened_without_asking_who_is_told(self, django_assert_max_num_queries: Any) -> None:
        for number in range(20):
            person(f"grace{number}")
        request(subject="warm")
        principal("alice")
        with django_assert_max_num_queries(20):
            request(subject="alice")
        assert ApprovalRequest.objects.count() == 2
        assert User.objects.count() == 20
