"""Back-tests as people and programs ask for them: REST, the console, the worker."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from accounts.models import RoleGrant
from connections.models import Connection
from policies import services, tasks
from policies.models import BackTest
from tests.support.recorded_calls import Recorded, Who

pytestmark = pytest.mark.django_db

EVE = Who("=cmd|eve", frozenset())


@pytest.fixture
def sent(monkeypatch):
    """The back-tests that were sent to a worker."""
    found = []
    monkeypatch.setattr(tasks.run_back_test, "apply_async", lambda args, **_: found.append(UUID(args[0])))
    monkeypatch.setattr(tasks.run_back_test, "delay", lambda id: found.append(UUID(id)))
    return found


@pytest.fixture
def record():
    connection = Connection.objects.create(slug="orders", name="Orders", upstream_url="https://o.example.com/mcp")
    with Recorded(start=timezone.now() - timedelta(hours=1)) as found:
        for _ in range(3):
            found.call(EVE, connection, "get_order")
    return found


@pytest.fixture
def as_role(client, django_user_model):
    def login(role):
        user = django_user_model.objects.create_user(role, is_staff=True)
        RoleGrant.objects.create(user=user, role=role)
        client.force_login(user)
        return client

    return login


def finished(**values):
    test = services.back_test_start(since=timezone.now() - timedelta(days=1), now=timezone.now(), **values)
    services.back_test_run(back_test_id=test.pk, now=timezone.now())
    return BackTest.objects.get(pk=test.pk)


def test_rest_asks_for_one_and_shows_how_far_it_is(admin_client, record, sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(
            "/api/v1/back-tests/", {"text": "guardrails: []\n", "days": 2}, content_type="application/json"
        )
    assert answer.status_code == 201, answer.content
    found = answer.json()
    assert (found["state"], found["title"], found["differences"]) == ("waiting", "A document", [])
    assert "document" not in found
    assert sent == [UUID(found["id"])]
    tasks.run_back_test(found["id"])
    found = admin_client.get(f"/api/v1/back-tests/{found['id']}/").json()
    assert (found["state"], found["calls_done"], found["differences_total"]) == ("done", 3, 3)
    assert found["differences"][0]["before"] == "allow"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"days": 1, "since": "2026-01-01T00:00:00Z"}, "since"),
        ({"days": 400}, "days"),
        ({"days": 1, "text": "rules: []"}, "text"),
        ({"days": 1, "text": "{}", "document": {}}, ""),
        ({"days": 1, "version_number": 5}, "version_number"),
        ({"days": 1, "state": "done"}, "state"),
    ],
)
def test_rest_refuses_what_cannot_be_tested(admin_client, sent, body, field):
    answer = admin_client.post("/api/v1/back-tests/", body, content_type="application/json")
    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert not BackTest.objects.exists()
    assert sent == []


def test_rest_cancels_one_once(admin_client):
    test = services.back_test_start(since=timezone.now() - timedelta(days=1), now=timezone.now())
    answer = admin_client.post(f"/api/v1/back-tests/{test.pk}/cancel/", content_type="application/json")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    answer = admin_client.post(f"/api/v1/back-tests/{test.pk}/cancel/", content_type="application/json")
    assert answer.status_code == 409
    assert "back_test_ended" in answer.content.decode()
    assert admin_client.delete(f"/api/v1/back-tests/{test.pk}/").status_code == 204


def test_the_table_is_a_csv_file_whose_cells_are_no_formulas(admin_client, record):
    test = finished(document={})
    for url in (f"/api/v1/back-tests/{test.pk}/csv/", reverse("admin:policies_backtest_csv", args=[test.pk])):
        answer = admin_client.get(url)
        assert answer["content-type"].startswith("text/csv")
        lines = answer.content.decode().splitlines()
        assert lines[0].startswith("before,before_rule,after")
        assert "'=cmd|eve" in lines[1]


@pytest.mark.parametrize(("role", "may_start"), [("viewer", False), ("auditor", False), ("operator", True)])
def test_everybody_reads_them_and_operators_ask_for_them(as_role, record, sent, role, may_start):
    test = finished(document={})
    browser = as_role(role)
    page = reverse("admin:policies_backtest_change", args=[test.pk])
    assert browser.get(page).status_code == 200
    assert browser.get(f"/api/v1/back-tests/{test.pk}/").status_code == 200
    answer = browser.post("/api/v1/back-tests/", {"days": 1}, content_type="application/json")
    assert answer.status_code == (201 if may_start else 403)
    assert browser.get(reverse("admin:policies_backtest_add")).status_code == (200 if may_start else 403)
    waiting = services.back_test_start(since=timezone.now() - timedelta(days=1), now=timezone.now())
    answer = browser.post(reverse("admin:policies_backtest_cancel", args=[waiting.pk]))
    assert answer.status_code == (302 if may_start else 403)


def test_the_form_asks_for_a_back_test_and_leads_to_its_page(
    admin_client, record, sent, django_capture_on_commit_callbacks
):
    add = reverse("admin:policies_backtest_add")
    answer = admin_client.post(add, {"days": "3", "text": "guardrails: [}", "version_number": "", "draft": ""})
    assert answer.status_code == 200
    assert "line 1, column" in answer.content.decode()
    draft = services.draft_save(name="closed", document={}, now=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(add, {"days": "3", "text": "", "version_number": "", "draft": str(draft.pk)})
    test = BackTest.objects.get()
    assert answer.url == reverse("admin:policies_backtest_change", args=[test.pk])
    assert (test.title, test.draft, sent) == ("closed", draft, [test.pk])
    assert test.until - test.since == timedelta(days=3)


def test_the_page_shows_what_would_change_and_leads_to_the_calls(admin_client, record):
    test = finished(document={})
    page = admin_client.get(reverse("admin:policies_backtest_change", args=[test.pk])).content.decode()
    example = test.differences[0]["examples"][0]
    assert reverse("admin:gateway_sessions_session_call", args=[example["session"], example["call"]]) in page
    assert "allow to deny (3)" in page
    fragment = admin_client.get(reverse("admin:policies_backtest_found", args=[test.pk]) + "?change=allow+hold")
    assert "<html" not in fragment.content.decode()
    assert "data-is-open" not in fragment.content.decode()


def test_without_a_broker_a_back_test_waits_and_is_sent_later(
    record, monkeypatch, django_capture_on_commit_callbacks, caplog
):
    def away(*_, **__):
        raise OperationalError

    monkeypatch.setattr(tasks.run_back_test, "apply_async", away)
    with django_capture_on_commit_callbacks(execute=True):
        test = services.back_test_start(since=timezone.now() - timedelta(days=1), now=timezone.now())
        tasks.send_back_test(test.pk)
    assert "the broker is away" in caplog.text
    found = []
    monkeypatch.setattr(tasks.run_back_test, "delay", found.append)
    tasks.resume_back_tests()
    assert found == [str(test.pk)]


def test_the_page_of_a_draft_leads_to_a_form_that_names_it(admin_client):
    draft = services.draft_save(name="closed", document={}, now=timezone.now())
    page = admin_client.get(reverse("admin:policies_policydraft_change", args=[draft.pk])).content.decode()
    link = f"{reverse('admin:policies_backtest_add')}?draft={draft.pk}"
    assert link in page
    form = admin_client.get(link).content.decode()
    assert f'<option value="{draft.pk}" selected' in form
