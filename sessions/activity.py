"""What callers did, as rules about the past see it: read and written under one lock of the caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from .models import Activity


@contextmanager
def activity_of(*, caller: bytes, since: datetime, limit: int) -> Iterator[list[Activity]]:
    """Hand out the newest `limit` calls of `caller` since `since`, oldest first, while nobody else can add one.

    Whatever is added inside becomes visible, durable and unlocked together, at the end.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(caller[:8], "big", signed=True)])
        newest = Activity.objects.filter(caller=caller, at__gte=since).order_by("-id")[:limit]
        yield list(reversed(newest))


def activity_add(
    *,
    caller: bytes,
    call_id: UUID,
    connection_slug: str,
    name: str,
    labels: Sequence[str],
    values: Mapping[str, Any],
    now: datetime,
) -> Activity:
    """Write one call of `caller`."""
    return Activity.objects.create(
        caller=caller,
        call_id=call_id,
        connection_slug=connection_slug,
        name=name[:512],
        labels=list(labels),
        values=dict(values),
        at=now,
    )


def activity_answered(*, call_id: UUID, size: int) -> None:
    """Note how many bytes the answer to a call had."""
    Activity.objects.filter(call_id=call_id).update(bytes=size)


def activity_forget(*, before: datetime) -> int:
    """Delete what is too old for any rule; return how many."""
    deleted, _ = Activity.objects.filter(at__lt=before).delete()
    return deleted
