"""What tests of notifications share: a connection, people, and requests that are made as the gateway makes them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from accounts.models import Principal, RoleGrant, User
from accounts.services import principal_ensure
from connections.models import Connection
from connections.services import connection_save
from policies import services
from policies.approval_models import one_stage
from policies.models import ApprovalRequest, ApprovalRule, NoticeChannel, NoticeDelivery
from policies.services import Deciding, HeldCall
from tests.support.notices import HOOK_SECRET

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"
LOCAL = ["127.0.0.0/8"]


def orders() -> Connection:
    known = Connection.objects.filter(slug="orders").first()
    return known or connection_save(slug="orders", name="Orders", upstream_url="https://orders.example/mcp", now=NOW)


def principal(subject: str, kind: str = "human", **values: Any) -> Principal:
    return principal_ensure(issuer=ISSUER, subject=subject, kind=kind, now=NOW, **values)


def person(name: str, role: str | None = RoleGrant.Role.APPROVER, **values: Any) -> User:
    user = User.objects.create(username=name, email=f"{name}@example.com", is_staff=True, **values)
    if role is not None:
        RoleGrant.objects.create(user=user, role=role)
    return User.objects.get(pk=user.pk)


def rule(**values: Any) -> ApprovalRule:
    saved = services.approval_rule_save(name="rule", **{"stages": one_stage(), **values}, now=NOW)
    services.guardrail_save(name="refunds wait", effect="hold", approval_rule=saved, now=NOW)
    return saved


def request(*, subject: str = "alice", now: datetime = NOW, **values: Any) -> ApprovalRequest:
    given: dict[str, Any] = {
        "issuer": ISSUER, "subject": principal(subject).subject, "client_id": "agent", "client_name": "Agent",
        "client_version": "1", "user_agent": "", "address": "", "connection_id": orders().pk, "session_id": None,
        "call_id": uuid4(), "method": "tools/call", "name": "refund", "arguments": {"id": 1, "iban": "[MASKED:iban]"},
        "masked_count": 1, "arguments_sha256": bytes(32), "binding": secrets.token_bytes(32),
        "body": b'{"secret":"unmasked-4471"}', "rule_name": "refunds wait", "why": "", **values,
    }  # fmt: skip
    return services.request_open(held=HeldCall(**given), now=now)


def decide(
    approval: ApprovalRequest, by: User, *, approve: bool = True, reason: str = "seen", now: datetime = NOW
) -> None:
    services.request_decide(request_id=approval.pk, deciding=Deciding(user=by), approve=approve, reason=reason, now=now)


def hook_channel(url: str, **values: Any) -> NoticeChannel:
    given: dict[str, Any] = {
        "name": "hook", "kind": "webhook", "target": url, "secret": HOOK_SECRET, "allowed_networks": LOCAL, **values
    }  # fmt: skip
    return services.notice_channel_save(**given, now=NOW)


def told(**filters: Any) -> list[tuple[str, str, str]]:
    """Return the log: event, way, and who, in a fixed order."""
    rows = NoticeDelivery.objects.filter(**filters)
    return sorted((row.event, row.way, row.told) for row in rows)


def spread_and_send(now: datetime = NOW, seconds: float = 20) -> Any:
    services.outbox_spread(now=now)
    return services.deliveries_send(now=now, seconds=seconds)
