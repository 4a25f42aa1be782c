"""The outbox of notifications: what happened is noted with it, in one transaction, and told afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Value

from accounts.models import User
from policies.models import ApprovalRequest, NoticeOutbox
from policies.notices.message import Event

SHORTEST: Final = timedelta(minutes=10)
"""Of what expires sooner nobody is reminded."""


def notify(
    *,
    request: ApprovalRequest,
    event: Event,
    now: datetime,
    by: User | None = None,
    to: User | None = None,
    text: str = "",
) -> None:
    """Note in the caller's transaction that people are to be told; who they are is looked up afterwards.

    Args:
        request: as it is saved.
        event: what happened.
        now: when.
        by: the person who did it, who is not told themselves.
        to: the one person that it is for, of a request that was handed over, or of a question.
        text: what the person wrote.
    """
    NoticeOutbox.objects.create(
        request=request, event=event, by=by, to=to, text=text[:1000], stage=request.stage, at=now
    )


def reminders_note(*, now: datetime, most: int = 500) -> int:
    """Note a reminder, once, for every request that has waited half of its time; return how many."""
    known = NoticeOutbox.objects.filter(request=OuterRef("pk"), event=Event.REMINDER)
    half_is_over = ExpressionWrapper(Value(now) + (Value(now) - F("opened_at")), output_field=DateTimeField())
    waiting = ApprovalRequest.objects.filter(
        ~Exists(known),
        state=ApprovalRequest.State.HELD,
        expires_at__gt=now,
        expires_at__lte=half_is_over,
        opened_at__lte=F("expires_at") - SHORTEST,
    )
    rows = [
        NoticeOutbox(request=request, event=Event.REMINDER, stage=request.stage, at=now)
        for request in waiting.only("pk", "stage").order_by("expires_at")[:most]
    ]
    # Another process may have been quicker; its reminder is the one.
    return len(NoticeOutbox.objects.bulk_create(rows, ignore_conflicts=True))
