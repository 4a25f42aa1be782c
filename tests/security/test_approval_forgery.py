"""Nobody decides for an approver: not another site, not a link, not a frame, not a login that has ended (row H5)."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ConsoleSession, RoleGrant, User
from accounts.services import principal_ensure
from connections.services import connection_save
from policies import services
from policies.models import ApprovalDecision, ApprovalRequest

pytestmark = pytest.mark.django_db
ISSUER = "https://idp.test.example"
FOREIGN = ["https://evil.example", "null", "http://testserver.evil.example", "https://testserver"]
GIVEN = {"action": "approve", "reason": "looked at it", "uses": "1", "window_minutes": "0"}


@pytest.fixture
def held() -> ApprovalRequest:
    now = timezone.now()
    principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=now)
    orders = connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=now)
    call = services.HeldCall(
        issuer=ISSUER, subject="alice", client_id="", client_name="", client_version="", user_agent="", address="",
        connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund",
        arguments={"id": 1}, masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32), body=b"{}",
    )  # fmt: skip
    return services.request_open(held=call, now=now)


@pytest.fixture
def victim() -> Client:
    """Return the browser of an approver who is logged in, and which checks as a real one is checked."""
    user = User.objects.create(username="grace", is_staff=True)
    RoleGrant.objects.create(user=user, role=RoleGrant.Role.APPROVER)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.get(pk=user.pk), backend="accounts.backends.LocalBackend")
    return browser


def token_in(page: Any) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())
    assert found is not None
    return found[1]


def given(held: ApprovalRequest, **more: str) -> dict[str, str]:
    """Return what the form of the page sends."""
    return {**GIVEN, "seen_at": held.changed_at.isoformat(), "code": held.code, **more}


def posted(browser: Client, place: str, held: ApprovalRequest, token: str = "", **headers: str) -> Any:
    """Post a decision that would do, were it not for where it comes from."""
    sent = {"x-csrftoken": token, **headers}
    if place.startswith("/api/"):
        body = {"approve": True, "reason": "looked at it", "seen_at": held.changed_at.isoformat()}
        return browser.post(place, body, content_type="application/json", headers=sent)
    return browser.post(place, given(held, csrfmiddlewaretoken=token), headers=sent)


def places(held: ApprovalRequest) -> list[str]:
    return [f"/inbox/{held.code}/act/", "/inbox/together/", f"/api/v1/approvals/{held.pk}/decide/"]


def assert_undecided(held: ApprovalRequest) -> None:
    assert ApprovalRequest.objects.get(pk=held.pk).state == "held"
    assert not ApprovalDecision.objects.exists()


def test_the_approver_decides_with_the_form_of_the_page(victim: Client, held: ApprovalRequest) -> None:
    token = token_in(victim.get(f"/inbox/{held.code}/"))
    posted(victim, f"/inbox/{held.code}/act/", held, token)
    assert ApprovalRequest.objects.get(pk=held.pk).state == "approved"


def test_the_approver_decides_over_rest_with_the_token_of_the_page(victim: Client, held: ApprovalRequest) -> None:
    token = token_in(victim.get(f"/inbox/{held.code}/"))
    assert posted(victim, f"/api/v1/approvals/{held.pk}/decide/", held, token).status_code == 200
    assert ApprovalRequest.objects.get(pk=held.pk).state == "approved"


@pytest.mark.parametrize("content_type", ["form", "json", "text/plain", "multipart"])
def test_a_post_of_another_site_decides_nothing(victim: Client, held: ApprovalRequest, content_type: str) -> None:
    victim.get(f"/inbox/{held.code}/")
    for place in places(held):
        if content_type == "multipart":
            answer = victim.post(place, given(held))
        elif content_type == "form":
            body = urlencode(given(held, approve="true"))
            answer = victim.post(place, body, content_type="application/x-www-form-urlencoded")
        else:
            kind = "application/json" if content_type == "json" else content_type
            body = json.dumps({**given(held), "approve": True})
            answer = victim.post(place, body, content_type=kind)
        assert answer.status_code in {401, 403, 415}, place
    assert_undecided(held)


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_genuine_token_with_a_foreign_origin_decides_nothing(
    victim: Client, held: ApprovalRequest, origin: str
) -> None:
    token = token_in(victim.get(f"/inbox/{held.code}/"))
    for place in places(held):
        answer = posted(victim, place, held, token, origin=origin)
        assert answer.status_code == 403, place
    assert_undecided(held)


def test_a_token_of_another_browser_decides_nothing(victim: Client, held: ApprovalRequest) -> None:
    mallory = User.objects.create(username="mallory", is_staff=True)
    RoleGrant.objects.create(user=mallory, role=RoleGrant.Role.APPROVER)
    other = Client(enforce_csrf_checks=True)
    other.force_login(User.objects.get(pk=mallory.pk), backend="accounts.backends.LocalBackend")
    stolen = token_in(other.get(f"/inbox/{held.code}/"))
    victim.get(f"/inbox/{held.code}/")
    for place in places(held):
        answer = posted(victim, place, held, stolen)
        assert answer.status_code == 403, place
    assert_undecided(held)


@pytest.mark.parametrize("method", ["get", "head", "options", "put", "patch", "delete"])
def test_no_other_method_decides(victim: Client, held: ApprovalRequest, method: str) -> None:
    token = token_in(victim.get(f"/inbox/{held.code}/"))
    query = "?" + "&".join(f"{name}={value}" for name, value in given(held, csrfmiddlewaretoken=token).items())
    for place in places(held):
        answer = getattr(victim, method)(place + query, headers={"x-csrftoken": token})
        assert answer.status_code in {200, 403, 404, 405}, place
    for page in (f"/inbox/{held.code}/", f"/approvals/{held.code}/", "/inbox/"):
        getattr(victim, method)(page + query, headers={"x-csrftoken": token})
    assert_undecided(held)


def test_no_page_that_decides_can_be_framed_or_told_to_another_site(victim: Client, held: ApprovalRequest) -> None:
    for place in ("/inbox/", f"/inbox/{held.code}/", f"/approvals/{held.code}/"):
        page = victim.get(place, follow=True)
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"], place
        assert page.headers["X-Frame-Options"] == "DENY", place
        assert page.headers["Referrer-Policy"] in {"same-origin", "no-referrer"}, place
        assert "form-action 'self'" in page.headers["Content-Security-Policy"], place
        assert "unsafe-inline" not in page.headers["Content-Security-Policy"], place


@pytest.mark.parametrize("how", ["session ended", "disabled", "role taken"])
def test_who_has_lost_the_right_between_page_and_decision_decides_nothing(
    victim: Client, held: ApprovalRequest, how: str
) -> None:
    token = token_in(victim.get(f"/inbox/{held.code}/"))
    if how == "session ended":
        ConsoleSession.objects.update(ended_at=timezone.now())
    elif how == "disabled":
        User.objects.filter(username="grace").update(is_active=False)
    else:
        RoleGrant.objects.all().delete()
    for place in places(held):
        posted(victim, place, held, token)
    assert_undecided(held)


def test_what_was_seen_before_it_moved_is_not_decided(victim: Client, held: ApprovalRequest) -> None:
    token = token_in(victim.get(f"/inbox/{held.code}/"))
    ApprovalRequest.objects.filter(pk=held.pk).update(changed_at=timezone.now())
    for place in places(held):
        posted(victim, place, held, token)
    assert_undecided(held)
