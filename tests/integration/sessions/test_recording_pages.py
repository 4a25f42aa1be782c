"""Recordings at the console and over REST: who sees them, who takes them away, who holds and who deletes."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ConsoleSession, User
from sessions import recordings, retention
from sessions.models import LegalHold, ReadEvent, RetentionRule
from tests.integration.sessions.test_recordings import compact, finished, leave
from tests.support.record import START

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.WARDGATE_RECORDING_FOLDER = str(tmp_path / "recordings")
    settings.WARDGATE_RECORDING_STORAGE = "local"
    return tmp_path / "recordings"


def browser_of(role: str) -> Client:
    """Return a browser in which somebody of that role is logged in."""
    user, _ = User.objects.get_or_create(username=role, defaults={"is_staff": True, "role_names": [role]})
    client = Client()
    client.force_login(user)
    return client


def api(name: str, *args: Any) -> str:
    return reverse(f"api:{name}", args=args)


def test_an_auditor_takes_a_recording_away_and_it_is_noted(folder):
    session = finished()
    row = compact(session)
    for url in (api("recording-file", row.pk), reverse("admin:gateway_sessions_recording_file", args=[row.pk])):
        answer = browser_of("auditor").get(url)
        assert answer.status_code == 200
        assert b"".join(answer.streaming_content) == (folder / row.name).read_bytes()
        assert answer["Content-Disposition"] == f'attachment; filename="{session.pk}.1.wgr"'
        assert answer["X-Content-Type-Options"] == "nosniff"
        noted = ReadEvent.objects.order_by("-seq").first()
        assert (noted.kind, noted.session_id, noted.username) == ("export", session.pk, "auditor")
    assert ReadEvent.objects.count() == 2


@pytest.mark.parametrize("role", ["viewer", "approver", "operator"])
def test_who_may_not_read_contents_takes_nothing_away(role):
    row = compact(finished())
    for url in (api("recording-file", row.pk), reverse("admin:gateway_sessions_recording_file", args=[row.pk])):
        assert browser_of(role).get(url).status_code in {403, 404}
    assert ReadEvent.objects.count() == 0


def test_a_recording_says_what_proves_it_and_never_its_key():
    session = finished()
    RetentionRule.objects.create(connection=session.connection, is_encrypted=True)
    row = compact(session)
    client = browser_of("auditor")
    shown = client.get(api("recording-detail", row.pk)).json()
    assert shown["content_sha256"] == row.content_sha256
    assert not {"wrapped_key", "ciphertext", "key_id"} & shown.keys()
    assert client.get(api("recording-proof", row.pk)).json()["is_sound"] is True
    page = client.get(reverse("admin:gateway_sessions_recording_change", args=[row.pk]))
    assert bytes(row.ciphertext).hex() not in page.content.decode()


def test_a_damaged_recording_is_said_to_be_unsound_at_console_and_rest(folder):
    row = compact(finished())
    path = folder / row.name
    path.write_bytes(path.read_bytes()[:-5])
    client = browser_of("auditor")
    assert client.get(api("recording-proof", row.pk)).json()["is_sound"] is False
    url = reverse("admin:gateway_sessions_recording_changelist")
    page = client.post(url, {"action": "prove_selected", "_selected_action": str(row.pk)}, follow=True)
    assert "NOT sound" in page.content.decode()


def test_the_lists_and_pages_open(folder):
    session = finished()
    compact(session)
    leave(session)
    rule = retention.rule_save(days=1, now=START)
    hold = retention.hold_place(kind="session", session=session, reason="Case 7", now=START)
    retention.hold_lift(hold_id=hold.pk, now=START)
    retention.retention_apply(now=timezone.now())
    client = browser_of("owner")
    for model, pk in (
        ("recording", session.recordings.get().pk),
        ("retentionrule", rule.pk),
        ("legalhold", hold.pk),
        ("tombstone", 1),
    ):
        assert client.get(reverse(f"admin:gateway_sessions_{model}_changelist")).status_code == 200
        assert client.get(reverse(f"admin:gateway_sessions_{model}_change", args=[pk])).status_code == 200
    for name in ("recording", "retention-rule", "legal-hold", "tombstone"):
        assert len(client.get(api(f"{name}-list")).json()["results"]) == 1


def test_an_owner_makes_rules_and_holds_and_lifts_them_at_the_console():
    session = finished()
    client = browser_of("owner")
    client.post(
        reverse("admin:gateway_sessions_retentionrule_add"),
        {"connection": str(session.connection_id), "days": "30", "is_encrypted": "on"},
    )
    rule = RetentionRule.objects.get()
    assert (rule.connection_id, rule.days, rule.is_encrypted) == (session.connection_id, 30, True)
    client.post(
        reverse("admin:gateway_sessions_legalhold_add"),
        {"kind": "session", "session": str(session.pk), "reason": "Case 7"},
    )
    hold = LegalHold.objects.get()
    assert (hold.session_id, hold.actor.username) == (session.pk, "owner")
    client.post(
        reverse("admin:gateway_sessions_legalhold_changelist"),
        {"action": "lift_selected", "_selected_action": str(hold.pk)},
    )
    hold.refresh_from_db()
    assert hold.lifted_by.username == "owner"


def test_rules_and_holds_over_rest():
    session = finished()
    client = browser_of("owner")

    def send(method: str, url: str, body: Any) -> Any:
        return getattr(client, method)(url, json.dumps(body), content_type="application/json")

    made = send("post", api("retention-rule-list"), {"days": 30})
    assert made.status_code == 201
    changed = send("patch", api("retention-rule-detail", made.json()["id"]), {"days": 60})
    assert changed.json()["days"] == 60
    assert send("post", api("retention-rule-list"), {"days": 0}).status_code == 400
    hold = send(
        "post", api("legal-hold-list"), {"kind": "principal", "principal": str(session.principal_id), "reason": "x"}
    )
    assert hold.status_code == 201
    assert send("post", api("legal-hold-list"), {"kind": "session", "reason": "x"}).status_code == 400
    assert send("post", api("legal-hold-lift", hold.json()["id"]), {}).json()["lifted_at"] is not None
    assert client.delete(api("retention-rule-detail", made.json()["id"])).status_code == 204


def test_an_old_login_proves_itself_again_before_it_changes_what_is_kept():
    finished()
    client = browser_of("owner")
    ConsoleSession.objects.update(authenticated_at=timezone.now() - timedelta(hours=2))
    answer = client.post(api("retention-rule-list"), json.dumps({"days": 1}), content_type="application/json")
    assert answer.json()["code"] == "proof_needed"
    client.post(reverse("admin:gateway_sessions_retentionrule_add"), {"days": "1"})
    assert RetentionRule.objects.count() == 0


def test_a_recording_that_was_deleted_is_no_longer_there_to_take():
    session = finished()
    row = compact(session)
    leave(session)
    retention.rule_save(days=1, now=START)
    retention.retention_apply(now=timezone.now())
    assert browser_of("auditor").get(api("recording-file", row.pk)).status_code == 404
    assert recordings.recording_digest_of(session=session) == (1, 1)


def test_a_replay_of_a_damaged_recording_says_so_and_shows_nothing_else(folder):
    session = finished()
    row = compact(session)
    leave(session)
    (folder / row.name).write_bytes(b"gone")
    client = browser_of("auditor")
    client.raise_request_exception = False
    page = client.get(reverse("admin:gateway_sessions_session_replay", args=[session.pk]))
    assert page.status_code == 503
    assert "cannot be read" in page.content.decode()
    assert client.get(api("session-calls", session.pk)).json()["code"] == "recording_unreadable"
    exported = client.get(api("session-export-detail", session.pk) + "?kind=csv")
    assert (exported.status_code, exported.json()["code"]) == (409, "recording_unreadable")
    for url in (
        reverse("admin:gateway_sessions_recording_export", args=[session.pk, "csv"]),
        reverse("admin:gateway_sessions_recording_export", args=[session.pk, "har"]),
    ):
        assert client.get(url).status_code == 503
    (folder / row.name).unlink()
    assert client.get(reverse("admin:gateway_sessions_recording_file", args=[row.pk])).status_code == 503


def test_a_replay_reads_a_session_whose_events_have_left():
    session = finished()
    client = browser_of("auditor")
    url = reverse("admin:gateway_sessions_session_replay", args=[session.pk])
    before = client.get(url).content.decode().count("get_order")
    compact(session)
    leave(session)
    assert client.get(url).content.decode().count("get_order") == before > 0
