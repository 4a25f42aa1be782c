"""Back-tests and unused access in a browser."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection as database
from django.urls import reverse
from django.utils import timezone

from accounts.models import Group, IdentityProvider
from connections.models import Connection, Tool
from policies import services
from tests.support.recorded_calls import ISSUER, Recorded, Who

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]

ADA = Who("ada", frozenset({"ops"}))


@pytest.fixture
def record(transactional_db):
    now = timezone.now()
    orders = Connection.objects.create(slug="orders", name="Orders", upstream_url="https://o.example.com/mcp")
    for name in ("get_order", "delete_order", "refund_order"):
        Tool.objects.create(connection=orders, name=name)
    group = Group.objects.create(provider=IdentityProvider.objects.create(name="Login", issuer=ISSUER), name="ops")
    services.grant_save(connection=orders, group=group, tools=["*"], now=now)
    with Recorded(start=now - timedelta(hours=2)) as found:
        for _ in range(12):
            found.call(ADA, orders, "get_order")
        for _ in range(3):
            found.call(ADA, orders, "delete_order", {"to": "[MASKED:email]"}, hits={"email": 1})
        found.call(ADA, orders, '<img src=x onerror="alert(1)">')


def asked():
    document = {
        "guardrails": [
            {"name": "no deletes", "effect": "deny", "names": ["delete_*"]},
            {"name": "large", "effect": "hold", "names": ["get_*"]},
        ]
    }
    return services.back_test_start(
        document={**document, "grants": services.draft_save(name="x", now=timezone.now()).document["grants"]},
        since=timezone.now() - timedelta(days=1),
        now=timezone.now(),
    )


def run_elsewhere(test):
    """Run a back-test as a worker does, in a thread with a connection of its own."""

    def work():
        try:
            services.back_test_run(back_test_id=test.pk, now=timezone.now())
        finally:
            database.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_the_page_follows_a_back_test_without_being_loaded_again(open_page, record):
    test = asked()
    with open_page(reverse("admin:policies_backtest_change", args=[test.pk])) as page:
        page.get_by_role("heading", name="Waiting for a worker").wait_for()
        assert page.locator("progress").count() == 1
        page.evaluate("window.wasLoadedOnce = true")
        run_elsewhere(test)
        page.get_by_role("heading", name="Done").wait_for()
        assert page.evaluate("window.wasLoadedOnce")
        assert page.locator("tbody tr").count() == 2
        assert "no deletes" in page.locator("tbody").inner_text()
        page.get_by_role("link", name="allow to hold (12)").click()
        page.wait_for_url("**change=allow*hold")
        assert page.locator("tbody tr").count() == 1
        page.locator("tbody td[data-label=Examples] a").first.click()
        page.wait_for_url("**/replay/calls/**")
        assert page.problems == []


def test_a_back_test_is_cancelled_with_a_button(open_page, record):
    test = asked()
    with open_page(reverse("admin:policies_backtest_change", args=[test.pk])) as page:
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("heading", name="Cancelled").wait_for()
        assert page.locator("progress").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_pages_are_accessible_and_fit_their_window(open_page, record, scheme, size, tmp_path):
    waiting = asked()
    done = services.back_test_start(document={}, since=timezone.now() - timedelta(days=1), now=timezone.now())
    services.back_test_run(back_test_id=done.pk, now=timezone.now())
    paths = [
        reverse("admin:policies_backtest_changelist"),
        reverse("admin:policies_backtest_add"),
        reverse("admin:policies_backtest_change", args=[waiting.pk]),
        reverse("admin:policies_backtest_change", args=[done.pk]),
        reverse("admin:policies_accessgrant_unused"),
    ]
    found = {}
    with open_page(paths[0], scheme=scheme, size=size) as page:
        for number, path in enumerate(paths):
            page.goto(path)
            page.locator("main").wait_for()
            page.screenshot(path=tmp_path / f"{number}.png", full_page=True)
            found[path] = Axe().run(page)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert page.problems == []
    assert {path: result.generate_report() for path, result in found.items() if result.violations_count} == {}
