"""The inbox in a real browser."""

from __future__ import annotations

import secrets
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import RoleGrant, User
from accounts.services import principal_ensure
from connections.services import connection_save
from policies import services
from policies.models import ApprovalRequest

from .looking import LOOKS, Looked

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]
ISSUER = "https://idp.test.example"
HOSTILE = {
    "bidi": "\u202etxt.exe\u202c",
    "zero_width": "a\u200bb\u2060c\ufeff",
    "tags": "x\U000e0041\U000e0042",
    "ansi": "\x1b[8mhidden\x1b[0m",
    "html": "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "attribute": '"><svg onload=alert(3)>',
    "template": "{{7*7}}{% debug %}",
    "link": "javascript:alert(4)",
    "huge": "A" * 20_000,
    "lines": "a\r\nb\u2028c\u0085d",
}


def held(name: str = "refund_order", **arguments: Any) -> ApprovalRequest:
    now = timezone.now()
    principal_ensure(issuer=ISSUER, subject="alice", kind="human", display_name="Alice", now=now)
    orders = connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=now)
    call = services.HeldCall(
        issuer=ISSUER, subject="alice", client_id="", client_name="claude-code", client_version="2", user_agent="t",
        address="192.0.2.7", connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name=name,
        arguments=arguments, masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32), body=b"{}",
        rule_name="refunds wait", why="money leaves",
    )  # fmt: skip
    return services.request_open(held=call, now=now)


def elsewhere(work: Any, *given: Any, **named: Any) -> Any:
    """Do something with the database while a browser is open, as another process would."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work(*given, **named))
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return result[0]


def state_of(request: ApprovalRequest) -> str:
    return str(elsewhere(lambda: ApprovalRequest.objects.get(pk=request.pk).state))


def test_a_request_appears_without_a_reload_and_is_approved(open_live_page: Any) -> None:
    with open_live_page("/inbox/") as page:
        page.get_by_text("Nothing waits for you.").wait_for()
        request = elsewhere(held, id=1)
        page.get_by_role("link", name=request.code).wait_for(timeout=3000)
        page.get_by_role("link", name=request.code).click()
        page.get_by_role("button", name="Approve", exact=True).click()
        page.get_by_text(f"{request.code} is approved.").wait_for()
        assert page.problems == []
    assert ApprovalRequest.objects.get(pk=request.pk).state == "approved"


def test_what_somebody_else_decides_is_shown_at_once(open_live_page: Any) -> None:
    request = held(id=2)
    grace = User.objects.create(username="grace", is_staff=True)
    RoleGrant.objects.create(user=grace, role="approver")
    with open_live_page(f"/inbox/{request.code}/") as page:
        page.get_by_role("button", name="Deny").wait_for()

        def decide() -> None:
            user = User.objects.get(pk=grace.pk)
            services.request_decide(
                request_id=request.pk, deciding=services.Deciding(user=user), approve=False, reason="no",
                now=timezone.now(),
            )  # fmt: skip

        elsewhere(decide)
        page.get_by_role("status").filter(has_text="rejected already by grace").first.wait_for(timeout=4000)
        assert page.get_by_role("button", name="Deny").count() == 0
        assert page.problems == []


def test_with_the_keyboard_alone_a_request_is_found_and_denied(open_live_page: Any) -> None:
    request = held(id=3)
    with open_live_page("/inbox/") as page:
        page.get_by_role("link", name=request.code).wait_for()
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Deny").wait_for()
        page.keyboard.press("d")
        page.keyboard.type("not in the change window")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text(f"{request.code} is rejected.").wait_for()
        assert page.problems == []


def test_a_denial_without_a_reason_says_so_and_decides_nothing(open_live_page: Any) -> None:
    request = held(id=4)
    with open_live_page(f"/inbox/{request.code}/") as page:
        page.get_by_role("button", name="Deny").click()
        page.get_by_text("Say why.").wait_for()
    assert ApprovalRequest.objects.get(pk=request.pk).state == "held"


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_hostile_arguments_are_shown_in_full_marked_and_run_nowhere(
    open_live_page: Any, scheme: str, size: str
) -> None:
    request = held("refund\u202eorder", **HOSTILE)
    with open_live_page(f"/inbox/{request.code}/", scheme=scheme, size=size) as page:
        page.get_by_role("heading", name="Arguments, in full").wait_for()
        shown = page.locator("pre.whole")
        for mark in ("U+202E", "U+200B", "U+2060", "U+FEFF", "U+E0041", "\\u001b", "U+2028", "U+0085"):
            assert mark in page.content(), mark
        assert "<script>alert(2)</script>" in shown.inner_text()
        assert shown.inner_text().count("A") >= 20_000
        looked = Looked(f"-{scheme}-{size}")
        looked.at(page, "inbox-hostile")
        page.goto("/inbox/?tab=all")
        page.get_by_role("link", name=request.code).wait_for()
        looked.at(page, "inbox-list")
        page.goto("/inbox/")
        page.get_by_role("link", name="History").click()
        page.get_by_text("Nothing was decided yet.").wait_for()
        looked.at(page, "inbox-empty")
        looked.assert_fine()
        assert page.problems == []


def test_the_inbox_works_without_scripts(open_live_page: Any) -> None:
    request = held(id=6)
    with open_live_page("/inbox/", scripts=False) as page:
        page.get_by_role("link", name=request.code).click()
        page.get_by_role("button", name="Approve", exact=True).click()
        page.get_by_text(f"{request.code} is approved.").wait_for()
