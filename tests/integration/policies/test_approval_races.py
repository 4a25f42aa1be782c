"""Of many that want the run of one approval at the same moment, exactly one gets it (SECURITY row H2).

    WARDGATE_APPROVAL_RACES=50 python3 run.py test tests/integration/policies/test_approval_races.py -s

races 200 claims for one approval 50 times, 80 of them at work in the database at any moment; the suite races 40, three
times.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import close_old_connections, connection, connections

from accounts.models import RoleGrant, User
from accounts.services import principal_ensure
from connections.services import connection_save
from policies import services
from policies.models import ApprovalRequest, ApprovalUse
from policies.services import Deciding, HeldCall

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = int(os.environ.get("WARDGATE_APPROVAL_RACES", "3"))
RACERS = 200 if ROUNDS > 3 else 40
CONNECTIONS = 80
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"


def approved(uses: int = 1) -> ApprovalRequest:
    """Return an approved request, good for so many runs."""
    principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=NOW)
    rule = services.approval_rule_save(name="rule", stages=[{"name": "a", "needed": 1}], max_uses=10, now=NOW)
    services.guardrail_save(name="refunds wait", effect="hold", approval_rule=rule, now=NOW)
    orders = connection_save(slug="orders", name="Orders", upstream_url="https://orders.example/mcp", now=NOW)
    held = HeldCall(
        issuer=ISSUER, subject="alice", client_id="agent", client_name="", client_version="", user_agent="", address="",
        connection_id=orders.pk, session_id=uuid4(), call_id=uuid4(), method="tools/call", name="refund",
        arguments={"id": 1}, masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32),
        body=b'{"jsonrpc":"2.0"}', rule_name="refunds wait", why="",
    )  # fmt: skip
    request = services.request_open(held=held, now=NOW)
    grace, is_new = User.objects.get_or_create(username="grace", defaults={"is_staff": True})
    if is_new:
        RoleGrant.objects.create(user=grace, role=RoleGrant.Role.APPROVER)
    deciding = Deciding(user=User.objects.get(pk=grace.pk))
    return services.request_decide(
        request_id=request.pk, deciding=deciding, approve=True, reason="seen", uses=uses, now=NOW
    )


def raced(request: ApprovalRequest, *, racers: int) -> tuple[list[UUID], float]:
    """Let many claim a run at the same moment; return the uses that they got, and how long it took in seconds."""
    start, workers = threading.Event(), min(racers, CONNECTIONS)
    ready = threading.Barrier(workers + 1)
    binding, left = bytes(request.binding), threading.Semaphore(racers)

    def one() -> list[UUID]:
        close_old_connections()
        connection.ensure_connection()
        got: list[UUID] = []
        try:
            ready.wait(30)
            start.wait(30)
            while left.acquire(blocking=False):
                claimed = services.use_claim(
                    request_id=request.pk, binding=binding, call_id=uuid4(), instance_id=uuid4(), now=NOW
                )
                got += [] if claimed is None else [claimed.use_id]
        finally:
            connections.close_all()
        return got

    with ThreadPoolExecutor(workers) as pool:
        racing = [pool.submit(one) for _ in range(workers)]
        ready.wait(30)
        began = time.monotonic()
        start.set()
        return [use for future in racing for use in future.result(60)], time.monotonic() - began


@pytest.mark.parametrize("uses", [1, 3])
def test_of_many_claims_at_once_exactly_as_many_are_granted_as_were_approved(uses: int) -> None:
    took: list[float] = []
    for _ in range(ROUNDS):
        request = approved(uses)
        got, seconds = raced(request, racers=RACERS)
        took.append(seconds)
        assert len(got) == len(set(got)) == uses
        assert ApprovalUse.objects.filter(request=request).count() == uses
        assert ApprovalRequest.objects.get(pk=request.pk).state == "used"
    print(f"{RACERS} claims for {uses}, {ROUNDS} times: each time {uses}; slowest round {max(took):.2f} s")


def test_a_claim_and_the_end_of_its_approval_never_both_win() -> None:
    for _ in range(ROUNDS):
        request, later = approved(), NOW + timedelta(minutes=16)
        start = threading.Barrier(3)

        def ending(start: threading.Barrier = start, later: datetime = later) -> int:
            start.wait(30)
            try:
                return services.requests_expire(now=later)
            finally:
                connections.close_all()

        def claiming(start: threading.Barrier = start, request: ApprovalRequest = request) -> services.Claimed | None:
            start.wait(30)
            try:
                return services.use_claim(
                    request_id=request.pk, binding=bytes(request.binding), call_id=uuid4(), instance_id=uuid4(), now=NOW
                )
            finally:
                connections.close_all()

        with ThreadPoolExecutor(3) as pool:
            ended, first, second = pool.submit(ending), pool.submit(claiming), pool.submit(claiming)
            runs = [claimed for claimed in (first.result(30), second.result(30)) if claimed is not None]
            assert ended.result(30) + len(runs) == 1
        state = ApprovalRequest.objects.get(pk=request.pk).state
        assert state == ("used" if runs else "expired")
