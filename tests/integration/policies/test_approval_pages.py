"""The pages of whoever asks, reviews or is away: each shows and moves the rows of its own person, and no other."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Principal, RoleGrant, User
from accounts.services import principal_ensure
from connections.models import Connection, Tool
from connections.services import connection_save
from policies import services
from policies.models import AccessGrant, ApprovalDelegation, ApprovalMessage, ApprovalRequest
from policies.services import Deciding

pytestmark = pytest.mark.django_db
ISSUER = "https://idp.test.example"


def principal(name: str, kind: str = "human", **values: Any) -> Principal:
    row = principal_ensure(issuer=ISSUER, subject=name, kind=kind, now=timezone.now())
    Principal.objects.filter(pk=row.pk).update(**values)
    return Principal.objects.get(pk=row.pk)


def person(name: str, role: str | None = None, **values: Any) -> User:
    """A person; without a role they are no member of the console's staff."""
    user = User.objects.create(username=name, is_staff=role is not None, **values)
    if role is not None:
        RoleGrant.objects.create(user=user, role=role)
    return User.objects.get(pk=user.pk)


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=timezone.now())


@pytest.fixture
def held(orders: Connection) -> ApprovalRequest:
    principal("alice")
    return hold(orders, "alice")


def hold(orders: Connection, subject: str, **arguments: Any) -> ApprovalRequest:
    call = services.HeldCall(
        issuer=ISSUER, subject=subject, client_id="", client_name="claude-code", client_version="2", user_agent="",
        address="", connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund",
        arguments=arguments or {"note": "a\u202eb<script>"}, masked_count=1, arguments_sha256=bytes(32),
        binding=secrets.token_bytes(32), body=b"{}",
    )  # fmt: skip
    return services.request_open(held=call, now=timezone.now())


def page_of(row: ApprovalRequest) -> str:
    return f"/approvals/{row.code}/"


def decide(row: ApprovalRequest, user: User, *, approve: bool = True, **values: Any) -> None:
    services.request_decide(
        request_id=row.pk, deciding=Deciding(user=user), approve=approve, reason="seen", now=timezone.now(), **values
    )


def test_the_requester_sees_what_was_asked_who_decides_and_that_it_waits(held: ApprovalRequest) -> None:
    text = browser(person("a", principal=held.principal)).get(page_of(held)).content.decode()
    assert "It waits for a decision" in text
    assert "U+202E" in text
    assert "&lt;script&gt;" in text
    assert "1 value masked" in text
    assert "Approvers</strong>: 0 of 1, awaited now" in text
    assert "data-left" in text


def test_the_human_behind_a_machine_sees_its_requests_too(orders: Connection) -> None:
    boss = principal("boss")
    principal("robot", "machine", owner=boss)
    row = hold(orders, "robot")
    assert browser(person("b", principal=boss)).get(page_of(row)).status_code == 200


@pytest.mark.parametrize("role", [None, "viewer"])
def test_nobody_else_learns_that_the_request_exists(held: ApprovalRequest, role: str | None) -> None:
    client = browser(person("m", role, principal=principal("mallory")))
    assert client.get(page_of(held)).status_code == 404
    for way in ("act", "say"):
        assert client.post(f"{page_of(held)}{way}/", {"action": "withdraw", "text": "x"}).status_code == 404
    held.refresh_from_db()
    assert held.state == "held"
    assert not ApprovalMessage.objects.exists()


def test_whoever_may_see_every_request_is_led_to_the_inbox(held: ApprovalRequest) -> None:
    answer = browser(person("g", "approver")).get(page_of(held))
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/inbox/{held.code}/")


def test_without_a_login_one_is_asked_for_it_and_comes_back(held: ApprovalRequest) -> None:
    answer = Client().get(page_of(held))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/?next=/approvals/APR-")


def test_the_decision_its_reason_and_what_happened_afterwards_are_shown(held: ApprovalRequest) -> None:
    alice = browser(person("a", principal=held.principal))
    decide(held, person("grace", "approver"))
    claimed = services.use_claim(
        request_id=held.pk, binding=bytes(held.binding), call_id=uuid4(), instance_id=uuid4(), now=timezone.now()
    )
    assert claimed is not None
    text = alice.get(page_of(held)).content.decode()
    assert "by grace" in text
    assert "<q>seen</q>" in text
    assert "Run 1: about to begin" in text


def test_a_request_is_withdrawn_by_a_form_and_never_by_a_link(held: ApprovalRequest) -> None:
    user = person("a", principal=held.principal)
    assert browser(user).get(f"{page_of(held)}act/?action=withdraw").status_code == 405
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(user)
    assert careful.post(f"{page_of(held)}act/", {"action": "withdraw"}).status_code == 403
    held.refresh_from_db()
    assert held.state == "held"
    browser(user).post(f"{page_of(held)}act/", {"action": "withdraw", "reason": "typo"})
    held.refresh_from_db()
    assert (held.state, held.end_reason) == ("cancelled", "typo")


def test_an_approver_asks_the_requester_answers_and_the_clock_goes_on(held: ApprovalRequest) -> None:
    grace, alice = browser(person("g", "approver")), browser(person("a", principal=held.principal))
    before = (held.expires_at, held.changed_at)
    grace.post(f"{page_of(held)}say/", {"text": "Which\x1b[8m order?\u202e"})
    alice.post(f"{page_of(held)}say/", {"text": "4711"})
    said = [(row.kind, row.text) for row in held.messages.all()]
    assert said == [("question", "Which [8m order?"), ("answer", "4711")]
    text = alice.get(page_of(held)).content.decode()
    assert "Which [8m order?" in text
    assert "4711" in text
    held.refresh_from_db()
    assert (held.expires_at, held.changed_at) == before


def test_who_may_not_decide_asks_nothing_and_after_the_end_nobody_answers(held: ApprovalRequest) -> None:
    auditor, alice = browser(person("u", "auditor")), browser(person("a", principal=held.principal))
    auditor.post(f"{page_of(held)}say/", {"text": "why?"})
    decide(held, person("grace", "approver"), approve=False)
    alice.post(f"{page_of(held)}say/", {"text": "please"})
    assert not ApprovalMessage.objects.exists()


@pytest.fixture
def offered(orders: Connection) -> Connection:
    services.approval_rule_save(
        name="access", stages=[{"name": "owners"}], max_window_seconds=900, access_to=[orders], now=timezone.now()
    )
    return orders


def asked(client: Client, **values: Any) -> Any:
    given = {"connection": "orders", "patterns": "get_*", "minutes": "10", "justification": "on call", **values}
    return client.post("/approvals/access/", given)


def test_access_is_asked_for_by_whoever_has_no_role_and_for_a_machine_of_theirs(offered: Connection) -> None:
    alice = principal("alice")
    robot = principal("robot", "machine", owner=alice)
    client = browser(person("a", principal=alice))
    assert b"Orders" in client.get("/approvals/access/").content
    Tool.objects.create(connection=offered, name="list_orders", state="accepted")
    Tool.objects.create(connection=offered, name="evil", state="quarantined")
    shown = client.get("/approvals/access/?connection=orders").content
    assert b"list_orders" in shown
    assert b"evil" not in shown
    asked(client, principal=str(robot.pk), tool="list_orders")
    row = ApprovalRequest.objects.get()
    assert (row.kind, row.principal, row.wanted["tools"]) == ("access", robot, ["list_orders", "get_*"])
    assert row.wanted["seconds"] == 600


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"minutes": "16"}, "Ask for 60 to 900 seconds."),
        ({"minutes": "x"}, "Ask for 60 to 900 seconds."),
        ({"patterns": ""}, "Name at least one tool"),
        ({"justification": " \u200b"}, "Say what you need it for."),
    ],
)
def test_what_cannot_be_asked_for_is_said_and_kept_in_the_form(
    offered: Connection, values: dict[str, str], said: str
) -> None:
    answer = asked(browser(person("a", principal=principal("alice"))), **values)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not ApprovalRequest.objects.exists()


def test_nobody_asks_for_somebody_else_or_for_what_is_not_offered(orders: Connection, offered: Connection) -> None:
    client = browser(person("a", principal=principal("alice")))
    assert asked(client, principal=str(principal("mallory").pk)).status_code == 404
    connection_save(slug="secret", name="Secret", upstream_url="https://s.example/mcp", now=timezone.now())
    assert b"Secret" not in client.get("/approvals/access/").content
    asked(client, connection="secret")
    assert browser(person("local")).get("/approvals/access/").status_code == 403
    assert not ApprovalRequest.objects.exists()


def test_ones_own_access_is_listed_with_its_time_and_ended_now(offered: Connection) -> None:
    client = browser(person("a", principal=principal("alice")))
    asked(client)
    row = ApprovalRequest.objects.get()
    decide(row, person("grace", "approver"))
    grant = AccessGrant.objects.get()
    assert grant.is_active
    assert b"End it now" in client.get("/approvals/").content
    client.post(f"{page_of(row)}act/", {"action": "withdraw"})
    grant.refresh_from_db()
    assert not grant.is_active
    assert b"End it now" not in client.get("/approvals/").content


def test_an_approver_ends_access_early_from_the_inbox(offered: Connection) -> None:
    asked(browser(person("a", principal=principal("alice"))))
    row = ApprovalRequest.objects.get()
    grace = person("grace", "approver")
    assert not services.may_withdraw(row, grace)
    decide(row, grace)
    browser(grace).post(f"/inbox/{row.code}/act/", {"action": "withdraw", "reason": "over"})
    assert not AccessGrant.objects.get().is_active


def broken(row: ApprovalRequest, user: User) -> None:
    services.request_break_glass(
        request_id=row.pk, deciding=Deciding(user=user), reason="the shop is down", now=timezone.now()
    )


def test_a_second_person_reviews_an_emergency_on_the_page(held: ApprovalRequest) -> None:
    olga, grace = person("olga", "owner"), person("grace", "approver")
    broken(held, olga)
    assert b"the shop is down" in browser(grace).get("/approvals/reviews/").content
    breaker = browser(olga)
    assert b"Somebody else reviews this" in breaker.get("/approvals/reviews/").content
    breaker.post(f"{page_of(held)}review/", {"finding": "justified", "comment": "me"})
    assert not held.decisions.filter(verdict="review").exists()
    browser(grace).post(f"{page_of(held)}review/", {"finding": "not_justified", "comment": "could have waited"})
    review = held.decisions.get(verdict="review")
    assert (review.finding, review.reason, review.user) == ("not_justified", "could have waited", grace)
    assert b"No emergency waits" in browser(grace).get("/approvals/reviews/").content


@pytest.mark.parametrize("path", ["/approvals/reviews/", "/approvals/away/"])
@pytest.mark.parametrize("role", [None, "viewer", "auditor", "operator"])
def test_who_decides_nothing_has_no_reviews_and_no_delegates(path: str, role: str | None) -> None:
    assert browser(person("v", role)).get(path).status_code == 403


def test_somebody_who_is_away_names_a_delegate_and_takes_it_back() -> None:
    grace, heidi = person("grace", "approver"), person("heidi", "approver")
    client = browser(grace)
    until = f"{timezone.now() + timedelta(days=3):%Y-%m-%dT%H:%M}"
    assert client.post("/approvals/away/", {"delegate": grace.pk, "ends_at": until}).status_code == 400
    assert client.post("/approvals/away/", {"delegate": heidi.pk, "ends_at": "soon"}).status_code == 400
    assert client.post("/approvals/away/", {"delegate": heidi.pk, "ends_at": until}).status_code == 302
    row = ApprovalDelegation.objects.get()
    assert (row.delegator, row.delegate) == (grace, heidi)
    assert b"Give it back" in browser(heidi).get("/approvals/away/").content
    mallory = browser(person("mallory", "approver"))
    assert mallory.post(f"/approvals/away/{row.pk}/end/").status_code == 404
    browser(heidi).post(f"/approvals/away/{row.pk}/end/")
    row.refresh_from_db()
    assert (row.ended_at is not None, row.ended_by) == (True, heidi)
