"""What the data path writes of calls that wait: their runs, the legs of clients that come back, and knocks.

A knock is a notice to all gateway processes, for what reached another one than the process in which a call waits.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F

from policies.models import ApprovalLegs, ApprovalRun

from .approval_uses import Claimed, use_claim

_KEPT = timedelta(days=31)
"""Longer than any request waits."""
KNOCKS = "wardgate_held"


@transaction.atomic
def run_claim(
    *,
    request_id: UUID,
    binding: bytes,
    call_id: UUID,
    session_id: UUID,
    instance_id: UUID,
    versions: tuple[int, int] | None,
    now: datetime,
) -> Claimed | None:
    """Claim a run (`use_claim`), and keep under which session it will be recorded.

    Raises:
        PolicyMoved: policy or locks are newer than `versions`.
    """
    claimed = use_claim(
        request_id=request_id, binding=binding, call_id=call_id, instance_id=instance_id, versions=versions, now=now
    )
    if claimed is not None:
        ApprovalRun.objects.update_or_create(
            call_id=call_id, defaults={"request_id": request_id, "session_id": session_id, "started_at": now}
        )
    return claimed


def run_owe(*, call_id: UUID) -> bool:
    """Note that the client had left when the answer came; False when the call did not run."""
    return bool(ApprovalRun.objects.filter(call_id=call_id).update(is_owed=True))


def run_pay(*, request_id: UUID) -> None:
    """Note that the answers of a request's runs have reached a client."""
    ApprovalRun.objects.filter(request_id=request_id, is_owed=True).update(is_owed=False)


def legs_begin(*, request_id: UUID, now: datetime) -> UUID:
    """Begin to count the legs of a client; the first one is over, the second may begin."""
    ApprovalLegs.objects.filter(changed_at__lt=now - _KEPT).delete()
    return ApprovalLegs.objects.create(request_id=request_id, changed_at=now).pk


def leg_begin(*, legs_id: UUID, leg: int, now: datetime) -> bool:
    """Begin a leg, once; False when it is not the next one."""
    found = ApprovalLegs.objects.filter(pk=legs_id, leg=leg)
    return bool(found.update(leg=F("leg") + 1, changed_at=now))


def knock(*, text: str) -> None:
    """Tell all gateway processes `text`, at most 200 characters without a secret."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [KNOCKS, text[:200]])
