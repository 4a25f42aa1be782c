"""Whatever is changed in the stored row of an approval, nothing runs that nobody approved."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from accounts.models import RevocationState, RoleGrant, User
from accounts.services import principal_ensure
from connections.models import Connection
from connections.services import connection_save
from policies import services
from policies.approval_errors import PolicyMoved
from policies.models import ApprovalRequest, PolicyState
from policies.services import Deciding, HeldCall

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"
ARGUMENTS = {"id": 1, "sum": 0.1, "large": 1e22, "small": 5e-324, "minus": -0.0, "deep": {"b": [None, True, "ü\u202e"]}}
FLIPS = 12


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example/mcp", now=NOW)


@pytest.fixture
def opened(orders: Connection) -> Callable[..., ApprovalRequest]:
    principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=NOW)

    def make(**values: Any) -> ApprovalRequest:
        call = HeldCall(
            issuer=ISSUER, subject="alice", client_id="agent", client_name="", client_version="", user_agent="",
            address="", connection_id=orders.pk, session_id=uuid4(), call_id=uuid4(), method="tools/call",
            name="refund", arguments=ARGUMENTS, masked_count=0, arguments_sha256=bytes(32),
            binding=secrets.token_bytes(32), body=b'{"jsonrpc":"2.0"}', rule_name="refunds wait", why="",
        )  # fmt: skip
        return services.request_open(held=replace(call, **values), now=NOW)

    return make


def person(name: str) -> User:
    user = User.objects.create(username=name, is_staff=True)
    RoleGrant.objects.create(user=user, role=RoleGrant.Role.APPROVER)
    return User.objects.get(pk=user.pk)


def decide(request: ApprovalRequest, user: User, *, approve: bool = True, **values: Any) -> ApprovalRequest:
    deciding = Deciding(user=user)
    return services.request_decide(
        request_id=request.pk, deciding=deciding, approve=approve, reason="seen", now=NOW, **values
    )


def claim(request: ApprovalRequest, *, now: datetime = NOW, **values: Any) -> services.Claimed | None:
    given = {"binding": bytes(request.binding), "call_id": uuid4(), "instance_id": uuid4(), **values}
    return services.use_claim(request_id=request.pk, **given, now=now)


def tampered(request: ApprovalRequest, **columns: Any) -> ApprovalRequest:
    """Change columns past every service."""
    ApprovalRequest.objects.filter(pk=request.pk).update(**columns)
    return ApprovalRequest.objects.get(pk=request.pk)


def test_what_was_approved_and_not_touched_runs(opened: Callable[..., ApprovalRequest]) -> None:
    request = opened()
    decide(request, person("grace"))
    claimed = claim(request)
    assert claimed is not None
    assert claimed.body == b'{"jsonrpc":"2.0"}'


@pytest.mark.parametrize("column", ["ciphertext", "wrapped_key", "binding", "arguments_sha256"])
def test_a_flipped_bit_of_what_is_kept_means_that_nothing_runs(
    opened: Callable[..., ApprovalRequest], column: str
) -> None:
    grace = person("grace")
    for number in range(FLIPS):
        request = opened()
        decide(request, grace)
        kept = bytearray(getattr(ApprovalRequest.objects.get(pk=request.pk), column))
        place = (number * 7919) % len(kept)
        kept[place] ^= 1 << number % 8
        changed = tampered(request, **{column: bytes(kept)})
        # Whoever changes the binding would make the call that fits it.
        assert claim(changed) is None
        assert claim(request) is None


@pytest.mark.parametrize(
    "columns",
    [
        {"method": "prompts/get"},
        {"name": "refund_all"},
        {"arguments": {**ARGUMENTS, "id": 2}},
        {"arguments": {**ARGUMENTS, "deep": {"b": [None, True, "ü"]}}},
        {"masked_count": 1},
        {"client_id": "other"},
        {"rule_name": "another"},
        {"key_id": "other"},
        {"session_id": uuid4()},
        {"stages": [{"name": "Nobody", "needed": 1, "users": [1]}]},
    ],
    ids=lambda columns: next(iter(columns)),
)
@pytest.mark.parametrize("is_before", [True, False], ids=["before the decision", "after it"])
def test_what_an_approver_was_shown_cannot_differ_from_what_runs(
    opened: Callable[..., ApprovalRequest], columns: dict[str, Any], is_before: bool
) -> None:
    request, grace = opened(), person("grace")
    if is_before:
        tampered(request, **columns)
        if "stages" in columns:
            tampered(request, stages=[{"name": "Grace", "needed": 1, "users": [grace.pk]}])
    decide(request, grace)
    if not is_before:
        tampered(request, **columns)
    assert claim(request) is None


def test_a_request_for_access_is_no_approval_of_a_call(opened: Callable[..., ApprovalRequest]) -> None:
    request = opened()
    decide(request, person("grace"))
    assert claim(tampered(request, kind="access")) is None


def test_neither_caller_nor_connection_of_an_approval_can_be_exchanged(opened: Callable[..., ApprovalRequest]) -> None:
    mallory = principal_ensure(issuer=ISSUER, subject="mallory", kind="human", now=NOW)
    other = connection_save(slug="other", name="Other", upstream_url="https://other.example/mcp", now=NOW)
    grace = person("grace")
    for columns in ({"principal_id": mallory.pk}, {"connection_id": other.pk}):
        request = opened()
        decide(request, grace)
        assert claim(tampered(request, **columns)) is None


def test_the_bytes_of_another_approval_do_not_open(opened: Callable[..., ApprovalRequest]) -> None:
    grace, requests = person("grace"), [opened(body=b'{"x":1}'), opened(body=b'{"x":2}')]
    for request in requests:
        decide(request, grace)
    other = ApprovalRequest.objects.get(pk=requests[1].pk)
    changed = tampered(requests[0], ciphertext=other.ciphertext, wrapped_key=other.wrapped_key, key_id=other.key_id)
    assert claim(changed) is None


@pytest.mark.parametrize("state", ["held", "rejected", "expired", "cancelled"])
def test_a_state_that_no_decision_stands_behind_runs_nothing(
    opened: Callable[..., ApprovalRequest], state: str
) -> None:
    request = opened()
    if state == "rejected":
        decide(request, person("grace"), approve=False)
    tampered(request, state=state)
    approved = tampered(request, state="approved", usable_until=NOW + timedelta(hours=1), decided_at=NOW)
    assert claim(approved) is None


def test_of_two_stages_one_approval_is_no_approval_whatever_the_row_says(
    opened: Callable[..., ApprovalRequest],
) -> None:
    stages = [{"name": "first", "needed": 1}, {"name": "second", "needed": 1}]
    rule = services.approval_rule_save(name="rule", stages=stages, now=NOW)
    services.guardrail_save(name="refunds wait", effect="hold", approval_rule=rule, now=NOW)
    request = opened()
    decide(request, person("grace"))
    approved = tampered(request, state="approved", stage=1, usable_until=NOW + timedelta(hours=1), decided_at=NOW)
    assert claim(approved) is None


def test_more_uses_than_were_approved_are_none(opened: Callable[..., ApprovalRequest]) -> None:
    request = opened()
    decide(request, person("grace"))
    assert claim(request) is not None
    assert claim(tampered(request, state="approved", uses_allowed=1000, ended_at=None)) is None


def test_a_longer_time_than_was_approved_is_none(opened: Callable[..., ApprovalRequest]) -> None:
    request = opened()
    decide(request, person("grace"))
    changed = tampered(request, usable_until=NOW + timedelta(days=7), terms={"run_within_seconds": 10**6})
    assert claim(changed, now=NOW + timedelta(days=1, seconds=1)) is None


def test_an_approval_of_somebody_who_was_disabled_since_is_none_and_asking_again_asks_anew(
    opened: Callable[..., ApprovalRequest],
) -> None:
    request, grace = opened(), person("grace")
    decide(request, grace)
    User.objects.filter(pk=grace.pk).update(is_active=False)
    assert claim(request) is None
    assert ApprovalRequest.objects.get(pk=request.pk).state == "cancelled"


def test_nothing_runs_under_policy_or_locks_that_are_older_than_the_database(
    opened: Callable[..., ApprovalRequest],
) -> None:
    request = opened()
    decide(request, person("grace"))
    policy = PolicyState.objects.get().version
    locks = RevocationState.objects.get_or_create(pk=1)[0].version
    for seen in ((policy - 1, locks), (policy, locks - 1)):
        with pytest.raises(PolicyMoved):
            claim(request, versions=seen)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM policies_approvaluse")
        assert cursor.fetchone() == (0,)
    assert claim(request, versions=(policy, locks)) is not None
