"""What proves the record, at the console and over REST: who sees it, who changes keys and sinks."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from sessions.checkpoints import Due, chain_load, checkpoint_write_if_due
from sessions.models import Checkpoint, CheckpointKey, CheckpointSink
from tests.support.chained import ChainWriter

pytestmark = pytest.mark.django_db

SECRET = "sink-secret-3vQ8"
HOOK = {"name": "hook", "kind": "webhook", "target": "https://logs.example.com/x", "secret": SECRET}
PAGES = ["checkpoint", "checkpointkey", "checkpointsink", "eventrelease"]


def browser_of(role: str) -> Client:
    """Return a browser in which somebody of that role has just logged in."""
    user, _ = User.objects.get_or_create(username=role, defaults={"is_staff": True, "role_names": [role]})
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def checkpoint(now: datetime) -> Checkpoint:
    """Write a record with one checkpoint."""
    ChainWriter().append(3)
    made = checkpoint_write_if_due(chain=chain_load(), due=Due(1, 0, 3600), now=now)
    assert made is not None
    return made


def test_an_auditor_sees_everything_that_proves_the_record(checkpoint: Checkpoint) -> None:
    browser = browser_of("auditor")
    for model in PAGES:
        assert browser.get(reverse(f"admin:gateway_sessions_{model}_changelist")).status_code == 200
    page = browser.get(reverse("admin:gateway_sessions_checkpoint_change", args=[checkpoint.pk]))
    assert bytes(checkpoint.hash).hex() in page.content.decode()
    state = browser.get(reverse("api:record-state-list")).json()
    assert (state["number"], state["events"], state["uncovered"]) == (1, 3, 0)
    listed = browser.get(reverse("api:checkpoint-list")).json()["results"]
    assert listed[0]["body"] == checkpoint.body


def test_a_viewer_sees_nothing_of_it(checkpoint: Checkpoint) -> None:
    browser = browser_of("viewer")
    for model in PAGES:
        assert browser.get(reverse(f"admin:gateway_sessions_{model}_changelist")).status_code == 403
    for name in ("record-state", "checkpoint", "checkpoint-key", "checkpoint-sink", "release"):
        assert browser.get(reverse(f"api:{name}-list")).status_code == 403


def test_the_overview_says_that_no_copy_leaves_the_machine(checkpoint: Checkpoint) -> None:
    assert "No copy of the checkpoints leaves" in browser_of("auditor").get(reverse("admin:index")).content.decode()


def test_nobody_changes_a_checkpoint(checkpoint: Checkpoint) -> None:
    browser = browser_of("owner")
    url = reverse("admin:gateway_sessions_checkpoint_delete", args=[checkpoint.pk])
    assert browser.post(url, {"post": "yes"}).status_code == 403
    assert browser.delete(reverse("api:checkpoint-detail", args=[checkpoint.pk])).status_code == 403


def test_no_answer_has_a_private_key(checkpoint: Checkpoint) -> None:
    (key,) = browser_of("auditor").get(reverse("api:checkpoint-key-list")).json()["results"]
    assert set(key) == {"kid", "public_key", "created_at", "signs_until", "endorsed_by", "endorsement"}


def test_an_auditor_does_not_change_the_key(checkpoint: Checkpoint) -> None:
    assert browser_of("auditor").post(reverse("api:checkpoint-key-rotate")).status_code == 403
    assert CheckpointKey.objects.count() == 1


def test_an_auditor_adds_no_sink() -> None:
    answer = browser_of("auditor").post(
        reverse("api:checkpoint-sink-list"), json.dumps(HOOK), content_type="application/json"
    )
    assert answer.status_code == 403
    assert not CheckpointSink.objects.exists()


def test_an_owner_changes_the_key_at_the_console_and_over_rest(checkpoint: Checkpoint) -> None:
    browser = browser_of("owner")
    answer = browser.post(reverse("api:checkpoint-key-rotate"), "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["endorsed_by"]) == (200, checkpoint.kid)
    page = reverse("admin:gateway_sessions_checkpointkey_rotate")
    assert "vouches" in browser.get(page).content.decode()
    assert browser.post(page, {"trust": "none"}).status_code == 302
    newest = CheckpointKey.objects.get(signs_until=None)
    assert newest.endorsed_by == ""
    assert CheckpointKey.objects.count() == 3


def test_the_secret_of_a_sink_goes_in_and_never_comes_out() -> None:
    browser = browser_of("owner")
    answer = browser.post(reverse("api:checkpoint-sink-list"), json.dumps(HOOK), content_type="application/json")
    assert answer.status_code == 201
    urls = [
        reverse("api:checkpoint-sink-detail", args=[answer.json()["id"]]),
        reverse("admin:gateway_sessions_checkpointsink_change", args=[answer.json()["id"]]),
        reverse("admin:gateway_sessions_checkpointsink_changelist"),
    ]
    shown = [answer.content, *(browser.get(url).content for url in urls)]
    assert all(SECRET.encode() not in content for content in shown)
    assert bytes(CheckpointSink.objects.get().ciphertext)


def test_a_test_that_a_sink_does_not_take_is_said_with_its_reason() -> None:
    browser = browser_of("owner")
    values = {
        "name": "log",
        "kind": "syslog",
        "target": "127.0.0.1:1",
        "has_tls": False,
        "allowed_networks": ["127.0.0.0/8"],
    }
    made = browser.post(reverse("api:checkpoint-sink-list"), json.dumps(values), content_type="application/json").json()
    answer = browser.post(reverse("api:checkpoint-sink-test", args=[made["id"]]), "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "sink_failed")
    page = reverse("admin:gateway_sessions_checkpointsink_changelist")
    said = browser.post(page, {"action": "send_test", "_selected_action": [made["id"]]}, follow=True)
    assert "cannot be reached" in said.content.decode()
