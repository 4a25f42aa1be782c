"""The inbox with very many requests: what a page asks the database does not grow with them.

`python -m bench.inbox_pages` measures ten thousand.
"""

from __future__ import annotations

import random
import statistics
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import RoleGrant, User
from accounts.services import principal_ensure
from connections.services import connection_save
from policies import inbox
from policies.models import ApprovalRequest

pytestmark = pytest.mark.django_db
REQUESTS = 3_000
MOST_SECONDS = 0.3
TABS = ["tab=mine", "tab=groups", "tab=all", "tab=all&tool=refund*&risk=low&requester=ali", "tab=history", "tab=own"]


@pytest.fixture
def browser() -> Client:
    grace = User.objects.create(username="grace", is_staff=True)
    RoleGrant.objects.create(user=grace, role="approver")
    made = Client()
    made.force_login(User.objects.get(pk=grace.pk), backend="accounts.backends.LocalBackend")
    return made


def requests(count: int) -> None:
    dice, now = random.Random(count), timezone.now()
    alice = principal_ensure(issuer="https://idp.test.example", subject="alice", kind="human", now=now)
    orders = connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=now)
    open_to_all: list[dict[str, Any]] = [{"name": "Approvers", "needed": 1}]
    others: list[dict[str, Any]] = [{"name": "Others", "needed": 1, "groups": [7], "users": [1_000_000]}]
    ApprovalRequest.objects.bulk_create(
        ApprovalRequest(
            code=f"APR-{dice.randbytes(6).hex()}", principal=alice, connection=orders, name="refund_order",
            arguments={"x": "y" * 100}, binding=dice.randbytes(32), terms={"risk": "low"},
            stages=open_to_all if number % 3 == 0 else others, state="held" if number % 2 == 0 else "used",
            opened_at=now - timedelta(seconds=number), changed_at=now, expires_at=now + timedelta(hours=1),
        )
        for number in range(count)
    )  # fmt: skip


def asked(browser: Client, query: str) -> tuple[int, float]:
    """Return how many queries a page took, and the median of its seconds of this process's CPU.

    Not those of the clock: other tests run on the same processors.
    """
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert browser.get(f"/inbox/?{query}").status_code == 200
    spans = []
    for _ in range(5):
        begun = time.process_time()
        browser.get(f"/inbox/?{query}")
        spans.append(time.process_time() - begun)
    return len(captured), statistics.median(spans)


def test_a_page_asks_no_more_of_many_requests_than_of_few(browser: Client) -> None:
    requests(12)
    few = {query: asked(browser, query)[0] for query in TABS}
    requests(REQUESTS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE policies_approvalrequest")
    many = {query: asked(browser, query) for query in TABS}
    assert {query: count for query, (count, _) in many.items()} == few
    slow = {query: span for query, (_, span) in many.items() if span > MOST_SECONDS}
    assert slow == {}


def test_what_a_page_reads_is_bounded(browser: Client) -> None:
    requests(400)
    page = browser.get("/inbox/?tab=all")
    assert len(page.context["rows"]) == inbox.PAGE
    assert all(
        field in row.request.get_deferred_fields()
        for row in page.context["rows"]
        for field in ("ciphertext", "arguments")
    )
