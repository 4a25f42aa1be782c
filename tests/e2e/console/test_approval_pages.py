"""The pages of whoever asks, reviews or is away, in a real browser."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Principal, RoleGrant, User
from connections.models import Connection, Tool
from policies import services
from policies.models import ApprovalRequest
from policies.services import Deciding

from .looking import LOOKS, Looked
from .test_inbox import HOSTILE, elsewhere, held

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def grace() -> User:
    user = User.objects.create(username="grace", is_staff=True)
    RoleGrant.objects.create(user=user, role=RoleGrant.Role.APPROVER)
    return User.objects.get(pk=user.pk)


def mine(admin_user: User, **arguments: Any) -> ApprovalRequest:
    """Return a request of the person whose browser it is."""
    row = held(**arguments)
    User.objects.filter(pk=admin_user.pk).update(principal=row.principal)
    return row


def decide(row: ApprovalRequest, user: User, **values: Any) -> None:
    given = Deciding(user=User.objects.get(pk=user.pk))
    services.request_decide(
        request_id=row.pk, deciding=given, approve=True, reason="fine", now=timezone.now(), **values
    )


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_the_requester_sees_where_it_stands_answers_and_withdraws(
    open_page: Any, admin_user: User, grace: User, scheme: str, size: str
) -> None:
    row = mine(admin_user, **HOSTILE)
    services.question_ask(
        request_id=row.pk, deciding=Deciding(user=grace), text="Which <b>order</b>?\u202e", now=timezone.now()
    )
    with open_page(f"/approvals/{row.code}/", scheme=scheme, size=size) as page:
        page.get_by_text("It waits for a decision.").wait_for()
        looked = Looked(f"-{scheme}-{size}")
        looked.at(page, "status-held")
        for mark in ("U+202E", "U+200B", "U+E0041", "U+2028"):
            assert mark in page.content(), mark
        page.get_by_label("Your answer").fill("A-1004")
        page.get_by_role("button", name="Answer").click()
        page.get_by_text("Whoever decides sees your answer.").wait_for()
        page.get_by_role("button", name="Withdraw the request").click()
        page.get_by_text("is withdrawn.").wait_for()
        looked.at(page, "status-withdrawn")
        page.get_by_role("link", name="Your requests").click()
        page.get_by_role("link", name=row.code).wait_for()
        looked.at(page, "own")
        looked.assert_fine()
        assert page.problems == []
    assert ApprovalRequest.objects.get(pk=row.pk).state == "cancelled"


def test_the_status_follows_a_decision_without_a_reload(open_page: Any, admin_user: User, grace: User) -> None:
    row = mine(admin_user, id=1)
    with open_page(f"/approvals/{row.code}/") as page:
        page.get_by_text("It waits for a decision.").wait_for()
        elsewhere(decide, row, grace)
        page.get_by_text("It is approved.").wait_for(timeout=5000)
        assert page.get_by_text("by grace").is_visible()
        assert page.problems == []


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_access_is_asked_for_listed_and_ended(
    open_page: Any, admin_user: User, grace: User, scheme: str, size: str
) -> None:
    mine(admin_user, id=1)
    orders = Connection.objects.get()
    services.approval_rule_save(
        name="access", stages=[{"name": "owners of orders"}], max_window_seconds=1800, access_to=[orders],
        now=timezone.now(),
    )  # fmt: skip
    for name in ("get_order", "search_orders", "list_\u202ecustomers"):
        Tool.objects.create(connection=orders, name=name, state="accepted")
    Principal.objects.create(
        issuer="https://idp.test.example", subject="robot", kind="machine", owner=Principal.objects.get(subject="alice")
    )
    with open_page("/approvals/access/", scheme=scheme, size=size) as page:
        looked = Looked(f"-{scheme}-{size}")
        looked.at(page, "ask-which")
        page.get_by_role("link", name="Orders").click()
        page.get_by_label("get_order").check()
        page.get_by_label("For minutes").fill("15")
        page.get_by_label("What for").fill("\u200b")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("Say what you need it for.").wait_for()
        assert page.get_by_label("get_order").is_checked()
        looked.at(page, "ask-refused")
        page.get_by_label("What for").fill("on call tonight")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("waits for a decision. This page").wait_for()
        row = elsewhere(lambda: ApprovalRequest.objects.get(kind="access"))
        elsewhere(decide, row, grace)
        page.goto("/approvals/")
        page.get_by_text("Access that you have").wait_for()
        looked.at(page, "own-access")
        page.get_by_role("button", name=f"End {row.code} now").click()
        page.get_by_text("the access has ended").wait_for()
        looked.assert_fine()
        # The one answer that is no success is the form that was refused.
        assert [text for text in page.problems if "400" not in text] == []


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_emergencies_are_reviewed_and_delegates_named(
    open_page: Any, admin_user: User, grace: User, scheme: str, size: str
) -> None:
    row = held(id=2)
    RoleGrant.objects.create(user=grace, role=RoleGrant.Role.OWNER)
    breaker = Deciding(user=User.objects.get(pk=grace.pk))
    services.request_break_glass(request_id=row.pk, deciding=breaker, reason="shop is down", now=timezone.now())
    with open_page("/approvals/reviews/", scheme=scheme, size=size) as page:
        looked = Looked(f"-{scheme}-{size}")
        page.get_by_text("shop is down").wait_for()
        looked.at(page, "reviews")
        page.get_by_label("What you found").fill("Nobody else was there.")
        page.get_by_role("button", name="Justified", exact=True).click()
        page.get_by_text("No emergency waits for a review.").wait_for()
        page.goto("/approvals/away/")
        page.get_by_label("Who decides for you").select_option("grace")
        page.get_by_label("Until").fill(f"{timezone.now() + timedelta(days=2):%Y-%m-%dT%H:%M}")
        page.get_by_role("button", name="Name them").click()
        page.get_by_role("button", name="End it for grace").wait_for()
        looked.at(page, "away")
        looked.assert_fine()
        assert page.problems == []


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_the_stages_of_a_rule_are_filled_in(open_page: Any, grace: User, scheme: str, size: str) -> None:
    with open_page("/admin/policies/approvalrule/add/", scheme=scheme, size=size) as page:
        looked = Looked(f"-{scheme}-{size}")
        page.locator("#id_name").fill("prod")
        page.locator("#id_stage_1_name").fill("Team")
        looked.at(page, "rule-form")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("was added successfully").wait_for()
        looked.assert_fine()
        assert page.problems == []
