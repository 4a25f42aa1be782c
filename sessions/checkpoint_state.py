"""How well the record is proved right now, as the console, the REST API and metrics show it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from .database_roles import may_change_the_record
from .models import Checkpoint, CheckpointKey, CheckpointSink, EventRelease

LATE_TIMES = 3
"""A checkpoint is late when it is due for this many times WARDGATE_CHECKPOINT_SECONDS."""
_UNCOVERED = """
SELECT coalesce(sum(e.seq - coalesce(h.seq, 0)), 0), min(e.first_at) FROM gateway_sessions_gatewayinstance i
LEFT JOIN gateway_sessions_checkpointhead h ON h.instance = i.id
CROSS JOIN LATERAL (
    SELECT n.seq, (SELECT o.at FROM gateway_sessions_event o
        WHERE o.instance_id = i.id AND o.seq = coalesce(h.seq, 0) + 1 LIMIT 1) AS first_at
    FROM gateway_sessions_event n WHERE n.instance_id = i.id ORDER BY n.seq DESC LIMIT 1
) e
WHERE (i.ended_at IS NULL OR i.heartbeat_at > now() - interval '2 hours') AND e.seq > coalesce(h.seq, 0)
"""


@dataclass(frozen=True, slots=True)
class SinkState:
    """A sink that is switched on: how many checkpoints it lacks, and for how long the first of them."""

    name: str
    kind: str
    behind: int
    lag_seconds: float
    last_error: str


@dataclass(frozen=True, slots=True)
class RecordState:
    """How well the record is proved.

    `number` and `at` are the last checkpoint's. `uncovered` counts the events that none covers, and `uncovered_seconds`
    is the age of the oldest. `problems` are sentences for whoever is responsible; without one everything is as it
    should be.
    """

    number: int
    at: datetime | None
    events: int
    uncovered: int
    uncovered_seconds: float
    releases: int
    kid: str
    is_append_only: bool
    sinks: tuple[SinkState, ...]
    problems: tuple[str, ...]


def record_state(*, now: datetime) -> RecordState:
    """Return how well the record is proved at `now`."""
    last = Checkpoint.objects.order_by("-number").first()
    with connection.cursor() as cursor:
        cursor.execute(_UNCOVERED)
        uncovered, oldest = cursor.fetchone()
    sinks = tuple(_sink(sink, last, now) for sink in CheckpointSink.objects.filter(is_active=True))
    key = CheckpointKey.objects.filter(signs_until=None).order_by("-created_at").first()
    found = RecordState(
        number=last.number if last else 0,
        at=last.at if last else None,
        events=last.events if last else 0,
        uncovered=int(uncovered),
        uncovered_seconds=max((now - oldest).total_seconds(), 0) if oldest else 0,
        releases=EventRelease.objects.count(),
        kid=key.kid if key else "",
        is_append_only=not may_change_the_record(),
        sinks=sinks,
        problems=(),
    )
    return replace(found, problems=tuple(_problems(found)))


def checkpoints_visible_to(*, user: Any) -> QuerySet[Checkpoint]:
    """Return the checkpoints that `user` may see: all with the permission, none without."""
    allowed = user.has_perm("gateway_sessions.view_checkpoint")
    return Checkpoint.objects.all() if allowed else Checkpoint.objects.none()


def checkpoint_keys_visible_to(*, user: Any) -> QuerySet[CheckpointKey]:
    """Return the keys of the record that `user` may see."""
    allowed = user.has_perm("gateway_sessions.view_checkpointkey")
    return CheckpointKey.objects.all() if allowed else CheckpointKey.objects.none()


def checkpoint_sinks_visible_to(*, user: Any) -> QuerySet[CheckpointSink]:
    """Return the sinks that `user` may see."""
    allowed = user.has_perm("gateway_sessions.view_checkpointsink")
    return CheckpointSink.objects.all() if allowed else CheckpointSink.objects.none()


def releases_visible_to(*, user: Any) -> QuerySet[EventRelease]:
    """Return the releases that `user` may see."""
    allowed = user.has_perm("gateway_sessions.view_eventrelease")
    return EventRelease.objects.all() if allowed else EventRelease.objects.none()


def _sink(sink: CheckpointSink, last: Checkpoint | None, now: datetime) -> SinkState:
    first = Checkpoint.objects.filter(number__gt=sink.delivered).order_by("number").values_list("at", flat=True).first()
    return SinkState(
        name=sink.name,
        kind=sink.kind,
        behind=max((last.number if last else 0) - sink.delivered, 0),
        lag_seconds=max((now - first).total_seconds(), 0) if first else 0,
        last_error=sink.last_error,
    )


def _problems(state: RecordState) -> list[str]:
    found = []
    late = LATE_TIMES * settings.WARDGATE_CHECKPOINT_SECONDS
    if state.uncovered_seconds > late:
        found.append(
            f"{state.uncovered} events have waited {state.uncovered_seconds:.0f} s for a signed checkpoint: the log of "
            "the gateway says why."
        )
    found.extend(
        f"{sink.name} lacks {sink.behind} checkpoints, the first for {sink.lag_seconds:.0f} s"
        + (f": {sink.last_error}" if sink.last_error else ".")
        for sink in state.sinks
        if sink.behind and (sink.last_error or sink.lag_seconds > late)
    )
    if not state.sinks:
        found.append("No copy of the checkpoints leaves this machine: add a sink, or an older state cannot be told.")
    if not state.is_append_only:
        found.append("The database role of the gateway owns the record and could change it: see wardgate.W040.")
    return found
