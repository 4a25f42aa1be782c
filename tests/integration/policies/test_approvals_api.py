"""Approvals over REST, with the same checks as everywhere; and access for a time."""

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
from connections.models import Connection
from connections.services import connection_save
from policies import services
from policies.models import AccessGrant, ApprovalRequest, PolicyState

pytestmark = pytest.mark.django_db
ISSUER = "https://idp.test.example"
URL = "/api/v1/approvals/"


@pytest.fixture
def alice() -> Principal:
    return principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=timezone.now())


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=timezone.now())


@pytest.fixture
def request_held(alice: Principal, orders: Connection) -> ApprovalRequest:
    call = services.HeldCall(
        issuer=ISSUER, subject="alice", client_id="", client_name="", client_version="", user_agent="", address="",
        connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund",
        arguments={"id": 1}, masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32), body=b"{}",
    )  # fmt: skip
    return services.request_open(held=call, now=timezone.now())


def person(name: str, role: str | None, **values: Any) -> User:
    user = User.objects.create(username=name, is_staff=True, **values)
    if role is not None:
        RoleGrant.objects.create(user=user, role=role)
    return User.objects.get(pk=user.pk)


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(f"{URL}{path}", body, content_type="application/json")


def test_an_approver_decides_and_the_decision_says_how_they_proved_who_they_are(request_held: ApprovalRequest) -> None:
    client = logged_in(person("grace", "approver"))
    shown = client.get(f"{URL}{request_held.pk}/").json()
    assert (shown["state"], shown["arguments"]) == ("held", {"id": 1})
    done = post(client, f"{request_held.pk}/decide/", {"approve": True, "seen_at": shown["changed_at"]})
    assert (done.status_code, done.json()["state"]) == (200, "approved")
    [decision] = request_held.decisions.all()
    assert decision.user.username == "grace"
    assert decision.authentication
    assert bytes(decision.view_sha256)
    assert '"binding"' in decision.view


def test_a_second_decision_is_a_conflict_that_says_what_happened(request_held: ApprovalRequest) -> None:
    post(logged_in(person("grace", "approver")), f"{request_held.pk}/decide/", {"approve": True})
    late = post(
        logged_in(person("heidi", "approver")), f"{request_held.pk}/decide/", {"approve": False, "reason": "no"}
    )
    assert (late.status_code, late.json()["code"]) == (409, "not_pending")
    assert "approved already by grace" in late.json()["detail"]


@pytest.mark.parametrize("role", [None, "viewer", "auditor", "operator"])
def test_who_is_no_approver_decides_nothing(request_held: ApprovalRequest, role: str | None) -> None:
    answer = post(logged_in(person("v", role)), f"{request_held.pk}/decide/", {"approve": True})
    assert answer.status_code in {403, 404}
    request_held.refresh_from_db()
    assert request_held.state == "held"


def test_a_viewer_sees_only_what_was_asked_for_in_their_name(request_held: ApprovalRequest, alice: Principal) -> None:
    assert logged_in(person("v", "viewer")).get(URL).json()["results"] == []
    own = logged_in(person("a", "viewer", principal=alice))
    assert [row["code"] for row in own.get(URL).json()["results"]] == [request_held.code]
    assert post(own, f"{request_held.pk}/decide/", {"approve": True}).status_code == 403
    assert post(own, f"{request_held.pk}/withdraw/", {"reason": "not needed"}).json()["state"] == "cancelled"


def test_access_for_a_time_is_asked_for_given_ends_by_itself_and_can_be_ended_early(
    alice: Principal, orders: Connection
) -> None:
    robot = principal_ensure(issuer=ISSUER, subject="robot", kind="machine", now=timezone.now())
    Principal.objects.filter(pk=robot.pk).update(owner=alice)
    asker = logged_in(person("a", "viewer", principal=alice))
    body = {"principal": str(robot.pk), "connection": str(orders.pk), "tools": ["get_*"], "seconds": 600}
    refused = post(asker, "", {**body, "justification": "on call"})
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot_be_held")
    services.approval_rule_save(
        name="access", stages=[{"name": "owners"}], max_window_seconds=900, access_to=[orders], now=timezone.now()
    )
    assert post(asker, "", {**body, "seconds": 901, "justification": "x"}).status_code == 400
    made = post(asker, "", {**body, "justification": "on call"})
    assert made.status_code == 201
    assert not AccessGrant.objects.exists()
    path = f"{made.json()['id']}/decide/"
    assert post(asker, path, {"approve": True}).status_code == 403
    version = PolicyState.objects.get().version
    assert post(logged_in(person("grace", "approver")), path, {"approve": True}).json()["state"] == "approved"
    grant = AccessGrant.objects.get()
    assert (grant.principal, grant.tools, grant.kind) == (robot, ["get_*"], "just_in_time")
    assert grant.valid_until - grant.valid_from == timedelta(seconds=600)
    assert PolicyState.objects.get().version > version
    assert post(asker, f"{made.json()['id']}/withdraw/", {"reason": "done"}).json()["state"] == "cancelled"
    grant.refresh_from_db()
    assert not grant.is_active


def test_nobody_asks_for_somebody_elses_machine(alice: Principal, orders: Connection) -> None:
    services.approval_rule_save(
        name="access", stages=[{"name": "owners"}], max_window_seconds=900, access_to=[orders], now=timezone.now()
    )
    other = principal_ensure(issuer=ISSUER, subject="other", kind="machine", now=timezone.now())
    asker = logged_in(person("a", "viewer", principal=alice))
    body = {"principal": str(other.pk), "connection": str(orders.pk), "tools": ["*"], "seconds": 600}
    assert post(asker, "", {**body, "justification": "x"}).status_code == 409
