"""Approval requests: who may decide, how often a run may be claimed, and what takes an approval away."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections

from accounts.models import Group, IdentityProvider, Principal, RoleGrant, User
from accounts.services import principal_ensure
from connections.models import Connection
from connections.services import connection_save
from policies import services
from policies.approval_errors import (
    BeyondTerms,
    DecidedAlready,
    Moved,
    NotAnApprover,
    NotPending,
    OwnRequest,
    ReasonNeeded,
    TooManyPending,
)
from policies.models import ApprovalRequest, ApprovalUse, Guardrail
from policies.services import Deciding, HeldCall

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"


@pytest.fixture
def alice() -> Principal:
    return principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=NOW)


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example/mcp", now=NOW)


@pytest.fixture
def held(alice: Principal, orders: Connection) -> Callable[..., HeldCall]:
    def make(**values: Any) -> HeldCall:
        call = HeldCall(
            issuer=ISSUER, subject="alice", client_id="agent", client_name="", client_version="", user_agent="",
            address="", connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund",
            arguments={"id": 1}, masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32),
            body=b'{"jsonrpc":"2.0"}', rule_name="refunds wait", why="",
        )  # fmt: skip
        return replace(call, **values)

    return make


def person(name: str, role: str = RoleGrant.Role.APPROVER, **values: Any) -> User:
    user = User.objects.create(username=name, is_staff=True, **values)
    RoleGrant.objects.create(user=user, role=role)
    return User.objects.get(pk=user.pk)


def opened(held: Callable[..., HeldCall], *, now: datetime = NOW, **values: Any) -> ApprovalRequest:
    return services.request_open(held=held(**values), now=now)


def decide(request: ApprovalRequest, user: User, *, approve: bool = True, now: datetime = NOW, **values: Any) -> Any:
    groups = values.pop("groups", frozenset())
    return services.request_decide(
        request_id=request.pk,
        deciding=Deciding(user=user, groups=groups),
        approve=approve,
        reason=values.pop("reason", "seen"),
        **values,
        now=now,
    )


def claim(request: ApprovalRequest, *, now: datetime = NOW, **values: Any) -> Any:
    given = {"binding": bytes(request.binding), "call_id": uuid4(), "instance_id": uuid4(), **values}
    return services.use_claim(request_id=request.pk, **given, now=now)


def rule_with(stages: list[dict[str, Any]], **values: Any) -> None:
    rule = services.approval_rule_save(name="rule", stages=stages, **values, now=NOW)
    services.guardrail_save(name="refunds wait", effect="hold", approval_rule=rule, now=NOW)


def test_an_approval_is_good_for_one_run_of_the_bytes_that_were_held(held: Callable[..., HeldCall]) -> None:
    request = opened(held, body=b'{"x":1}')
    assert claim(request) is None
    decide(request, person("grace"))
    first = claim(request)
    assert first is not None
    assert first.body == b'{"x":1}'
    assert claim(request) is None
    request.refresh_from_db()
    assert request.state == "used"


def test_what_was_held_is_sealed_and_stands_nowhere_in_the_row(held: Callable[..., HeldCall]) -> None:
    request = opened(held, body=b'{"secret":"canary-81723"}')
    with connection.cursor() as cursor:
        cursor.execute("SELECT r::text FROM policies_approvalrequest r WHERE id = %s", [request.pk])
        assert "canary-81723" not in cursor.fetchone()[0]


@pytest.mark.parametrize("late", [timedelta(seconds=901), timedelta(days=1)], ids=["just over", "a day"])
def test_an_approval_that_was_not_used_in_time_is_none(held: Callable[..., HeldCall], late: timedelta) -> None:
    request = opened(held)
    decide(request, person("grace"))
    assert claim(request, now=NOW + late) is None
    assert services.requests_expire(now=NOW + late) == 1
    request.refresh_from_db()
    assert request.state == "expired"


def test_a_claim_for_another_binding_gets_nothing(held: Callable[..., HeldCall]) -> None:
    request = opened(held)
    decide(request, person("grace"))
    assert claim(request, binding=secrets.token_bytes(32)) is None


def test_nobody_decides_after_the_time_is_over(held: Callable[..., HeldCall]) -> None:
    request = opened(held)
    with pytest.raises(NotPending, match="expired"):
        decide(request, person("grace"), now=NOW + timedelta(hours=8))


def test_the_second_decider_hears_what_the_first_has_done(held: Callable[..., HeldCall]) -> None:
    request = opened(held)
    decide(request, person("grace"))
    with pytest.raises(NotPending, match="approved already by grace 5 seconds ago"):
        decide(request, person("heidi"), approve=False, now=NOW + timedelta(seconds=5))


def test_a_decision_about_what_has_moved_meanwhile_is_refused(held: Callable[..., HeldCall]) -> None:
    request = opened(held)
    with pytest.raises(Moved):
        decide(request, person("grace"), seen_at=NOW - timedelta(seconds=1))


def test_a_denial_needs_a_reason(held: Callable[..., HeldCall]) -> None:
    with pytest.raises(ReasonNeeded):
        decide(opened(held), person("grace"), approve=False, reason=" \u200b ")


@pytest.mark.parametrize("how", ["self", "owner", "superuser", "no role", "inactive", "another group", "not named"])
def test_who_may_not_decide_does_not(held: Callable[..., HeldCall], alice: Principal, how: str) -> None:
    provider = IdentityProvider.objects.create(name="T", issuer=ISSUER, audiences=["x"], pinned_jwks={"keys": []})
    group = Group.objects.create(provider=provider, name="approvers")
    named = person("named")
    rule_with([{"name": "approvers", "groups": [group.pk], "users": [named.pk]}])
    request = opened(held)
    values: dict[str, Any] = {"groups": frozenset({group.pk})}
    match how:
        case "self":
            user, expected = person("a", principal=alice), OwnRequest
        case "owner":
            boss = principal_ensure(issuer=ISSUER, subject="boss", kind="human", now=NOW)
            Principal.objects.filter(pk=alice.pk).update(owner=boss)
            user, expected = person("b", principal=boss), OwnRequest
        case "superuser":
            user = User.objects.create(username="root", is_superuser=True, is_staff=True, principal=alice)
            expected = OwnRequest
        case "no role":
            user, expected = person("v", RoleGrant.Role.VIEWER), NotAnApprover
        case "inactive":
            user, expected = person("i", is_active=False), NotAnApprover
        case _:
            user, expected = person("o"), NotAnApprover
            values = {"groups": frozenset({group.pk + 1}) if how == "another group" else frozenset()}
    with pytest.raises(expected):
        decide(request, user, **values)
    request.refresh_from_db()
    assert request.state == "held"


def test_stages_come_one_after_the_other_and_one_person_counts_once(held: Callable[..., HeldCall]) -> None:
    one, two, three = person("one"), person("two"), person("three")
    rule_with([{"name": "team", "needed": 2}, {"name": "security", "users": [three.pk]}])
    request = opened(held)
    assert decide(request, one).state == "held"
    with pytest.raises(DecidedAlready):
        decide(request, one)
    assert decide(request, two).stage == 1
    with pytest.raises((NotAnApprover, DecidedAlready)):
        decide(request, two)
    assert decide(request, three).state == "approved"


def test_one_denial_ends_it_whatever_others_said(held: Callable[..., HeldCall]) -> None:
    rule_with([{"name": "team", "needed": 2}])
    request = opened(held)
    decide(request, person("one"))
    assert decide(request, person("two"), approve=False).state == "rejected"


def test_a_change_of_the_rule_changes_nothing_of_what_waits(held: Callable[..., HeldCall]) -> None:
    named = person("named")
    rule_with([{"name": "one", "users": [named.pk]}])
    request = opened(held)
    services.approval_rule_save(name="rule", stages=[{"name": "anybody"}], now=NOW)
    with pytest.raises(NotAnApprover):
        decide(request, person("anybody"))
    assert decide(request, named).state == "approved"


def test_uses_and_windows_are_as_long_as_the_rule_allows(held: Callable[..., HeldCall]) -> None:
    rule_with([{"name": "team"}], max_uses=3, max_window_seconds=1800)
    request = opened(held)
    grace = person("grace")
    with pytest.raises(BeyondTerms):
        decide(request, grace, uses=4)
    with pytest.raises(BeyondTerms):
        decide(request, grace, window_seconds=1801)
    decide(request, grace, uses=2, window_seconds=1800)
    assert claim(request, now=NOW + timedelta(minutes=29)) is not None
    assert claim(request) is not None
    assert claim(request) is None


def test_the_same_call_joins_and_a_denial_holds_for_a_moment(held: Callable[..., HeldCall]) -> None:
    same = secrets.token_bytes(32)
    request = opened(held, binding=same)
    assert opened(held, binding=same).pk == request.pk
    decide(request, person("grace"), approve=False)
    assert opened(held, binding=same, now=NOW + timedelta(seconds=30)).pk == request.pk
    assert opened(held, binding=same, now=NOW + timedelta(seconds=61)).pk != request.pk


def test_a_principal_has_only_so_many_waiting(held: Callable[..., HeldCall], settings: Any) -> None:
    settings.WARDGATE_APPROVALS_PER_PRINCIPAL = 3
    for _ in range(3):
        opened(held)
    with pytest.raises(TooManyPending):
        opened(held)


def test_a_claim_whose_process_died_before_the_intent_is_given_back_and_no_other(held: Callable[..., HeldCall]) -> None:
    from sessions.services import instance_end, instance_open

    dead, alive = uuid4(), uuid4()
    for number, instance in enumerate((dead, alive)):
        instance_open(instance_id=instance, lock_key=number, host="h", pid=1, process_started="", now=NOW)
    requests = [opened(held) for _ in range(3)]
    grace = person("grace")
    for request in requests:
        decide(request, grace)
    claim(requests[0], instance_id=dead)
    claim(requests[1], instance_id=alive)
    consumed = claim(requests[2], instance_id=dead)
    ApprovalUse.objects.filter(pk=consumed.use_id).update(consumed_at=NOW)
    instance_end(instance_id=dead, reason="crash", now=NOW)
    assert services.uses_reconcile(now=NOW) == 1
    states = [ApprovalRequest.objects.get(pk=request.pk).state for request in requests]
    assert states == ["approved", "used", "used"]
    assert claim(requests[0]) is not None


def test_break_glass_needs_its_permission_and_a_reason_and_is_never_for_oneself(
    held: Callable[..., HeldCall], alice: Principal
) -> None:
    request = opened(held)

    def broken(user: User, reason: str = "the shop is down") -> Any:
        return services.request_break_glass(request_id=request.pk, deciding=Deciding(user=user), reason=reason, now=NOW)

    with pytest.raises(NotAnApprover):
        broken(person("grace"))
    with pytest.raises(OwnRequest):
        broken(person("own", RoleGrant.Role.OWNER, principal=alice))
    owner = person("olga", RoleGrant.Role.OWNER)
    with pytest.raises(ReasonNeeded):
        broken(owner, "")
    assert broken(owner).state == "approved"
    assert [decision.verdict for decision in request.decisions.all()] == ["break_glass"]


def test_what_was_decided_cannot_be_changed_in_the_database(held: Callable[..., HeldCall]) -> None:
    request = opened(held)
    decide(request, person("grace"))
    from django.db import DatabaseError, transaction

    for statement in ("UPDATE policies_approvaldecision SET reason = 'x'", "DELETE FROM policies_approvaldecision"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("uses", [1, 3])
def test_of_many_that_claim_at_once_exactly_as_many_as_were_approved_get_a_run(
    held: Callable[..., HeldCall], uses: int
) -> None:
    rule_with([{"name": "team"}], max_uses=uses)
    grace = person("grace")

    def one(request: ApprovalRequest) -> bool:
        try:
            return claim(request) is not None
        finally:
            connections.close_all()

    for _ in range(5):
        request = opened(held)
        decide(request, grace, uses=uses)
        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(one, [request] * 64)) == uses
    assert Guardrail.objects.count() == 1


def test_the_narrowest_window_counts_also_beside_an_approver_who_gave_none(held: Callable[..., HeldCall]) -> None:
    rule_with([{"name": "two", "needed": 2}], max_window_seconds=3600, max_uses=5)
    request = opened(held)
    decide(request, person("grace"), window_seconds=60, uses=3)
    approved = decide(request, person("heidi"))
    assert (approved.uses_allowed, approved.usable_until) == (1, NOW + timedelta(seconds=60))


def test_who_was_disabled_since_does_not_count_among_several(held: Callable[..., HeldCall]) -> None:
    rule_with([{"name": "two", "needed": 2}])
    request, grace = opened(held), person("grace")
    decide(request, grace)
    User.objects.filter(pk=grace.pk).update(is_active=False)
    assert decide(request, person("heidi")).state == "held"
    assert decide(request, person("ivan")).state == "approved"
