"""The console as people use it: on a phone, in the dark. The replay and the search are in `test_replay`."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse

from tests.support.record import Record

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def record(transactional_db):
    found = Record()
    found.call("get_order", hits={"email": 2}, answers=({"result": {"to": "[MASKED:email]", "n": 1.0, "ok": True}},))
    found.call("delete_order", verdict="deny", reason="Deleting needs a ticket.")
    found.call("refund_order", verdict="hold")
    found.call("list_orders", state="outcome_unknown", answers=(), reason="timeout", upstream_us=30_000_000)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_pages_are_accessible_and_fit_their_window(open_page, record, scheme, size):
    Record(slug="wiki", subject="grace")
    paths = [
        reverse("admin:login"),
        reverse("admin:index"),
        reverse("admin:gateway_sessions_session_changelist"),
        reverse("admin:connections_connection_add"),
        reverse("admin:connections_credential_add"),
        reverse("admin:policies_accessgrant_add"),
    ]
    found = {}
    with open_page(paths[0], scheme=scheme, size=size, login=False) as page:
        page.locator("#id_username").wait_for()
        found[paths[0]] = Axe().run(page)
    with open_page(paths[1], scheme=scheme, size=size) as page:
        for path in paths[1:]:
            page.goto(path)
            page.locator("main").wait_for()
            if path == paths[5]:
                page.locator("[aria-label=Principal]").first.wait_for()
            found[path] = Axe().run(page)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert page.problems == []
    assert {path: result.generate_report() for path, result in found.items() if result.violations_count} == {}


def test_a_person_logs_in_adds_a_connection_and_is_told_what_is_wrong(open_page, transactional_db, django_user_model):
    django_user_model.objects.create_superuser("grace", password="correct horse battery")
    with open_page(reverse("admin:connections_connection_add"), login=False) as page:
        page.get_by_label("Username").fill("grace")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Name").fill("Wiki")
        page.get_by_label("Slug").fill("wiki")
        page.get_by_label("Upstream URL").fill("ftp://wiki.example.com")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("must start with http:// or https://").wait_for()
        page.get_by_label("Upstream URL").fill("https://wiki.example.com/mcp")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("was added successfully").wait_for()
