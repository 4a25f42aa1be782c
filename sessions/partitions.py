"""Months of events: made ahead, so that none is missing, and released when what they hold is sealed elsewhere.

A missing month stops nobody: its events go to the default partition and are moved when the month is made. A month
leaves only with a signed tombstone that says what was in it, chained to the tombstones before and covered by the
checkpoints after; the database refuses to drop a partition that no tombstone names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from accounts.exceptions import DomainError

from . import checkpoint_keys, checkpoints
from .models import EventRelease
from .statements import GENESIS, encoded, statement_hash

logger = logging.getLogger(__name__)

MONTHS_AHEAD = 2
_PARTITIONS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'gateway_sessions_event'::regclass ORDER BY c.relname
"""
_BOUNDS = """
SELECT lower.bound, upper.bound FROM
    (SELECT nullif((regexp_match(%s, 'FROM \\(''?([^'')]+)'))[1], 'MINVALUE')::timestamptz AS bound) lower,
    (SELECT (regexp_match(%s, 'TO \\(''([^'')]+)'))[1]::timestamptz AS bound) upper
"""
_CONTENT = """
WITH held AS (
    SELECT instance_id, min(seq) AS first, max(seq) AS last, count(*) AS count FROM gateway_sessions_event
    WHERE at >= %(begins)s AND at < %(ends)s GROUP BY 1
)
SELECT h.instance_id, h.first, h.last, h.count, f.prev_hash, l.hash FROM held h
JOIN gateway_sessions_event f ON f.instance_id = h.instance_id AND f.seq = h.first
    AND f.at >= %(begins)s AND f.at < %(ends)s
JOIN gateway_sessions_event l ON l.instance_id = h.instance_id AND l.seq = h.last
    AND l.at >= %(begins)s AND l.at < %(ends)s
ORDER BY h.instance_id
"""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Partition:
    """A table that holds the events from `begins` (included) until `ends` (excluded)."""

    name: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Released:
    """A partition that has left the database, and how many events it had."""

    partition: Partition
    events: int


class ReleaseRefused(DomainError):
    """The database did not let a partition go, though its tombstone is written; the next run tries again."""

    code = "release_refused"


def partitions() -> list[Partition]:
    """Return the partitions with bounds, the oldest first; the default partition has none."""
    with connection.cursor() as cursor:
        cursor.execute(_PARTITIONS)
        found = []
        for name, bound in cursor.fetchall():
            if bound == "DEFAULT":
                continue
            cursor.execute(_BOUNDS, [bound, bound])
            begins, ends = cursor.fetchone()
            found.append(Partition(name, begins or _LONG_AGO, ends))
    return sorted(found, key=lambda partition: partition.begins)


def partitions_tend(*, now: datetime) -> int:
    """Make the partitions of this month and the next ones, and of strays in the default one; return how many."""
    months = {_month(now.year, now.month + ahead) for ahead in range(MONTHS_AHEAD + 1)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC')::date FROM gateway_sessions_event_default"
        )
        months |= {month.strftime("%Y-%m-01") for (month,) in cursor.fetchall()}
        made = 0
        for month in sorted(months):
            cursor.execute("SELECT wardgate_event_partition_make(%s)", [month])
            made += cursor.fetchone()[0]
    return made


def events_release(
    *, before: datetime, is_sealed: Callable[[datetime, datetime], bool], now: datetime
) -> list[Released]:
    """Let go of every whole partition that ends at or before `before`; return those that left.

    A partition stays when one of its events is not covered by a checkpoint, or when `is_sealed(begins, ends)` says that
    not all of its sessions are kept elsewhere. Idempotent: what was interrupted is finished by the next run.

    Raises:
        ReleaseRefused: the role of WARDGATE_RETENTION_DATABASE_URL may not, or the table is in use.
        CheckpointKeyUnusable, MasterKeysUnusable: the tombstone cannot be signed.
    """
    released = []
    for partition in partitions():
        if partition.ends > before or partition.ends > now:
            continue
        tombstone = EventRelease.objects.filter(partition=partition.name).first()
        if tombstone is None:
            if not is_sealed(partition.begins, partition.ends):
                continue
            tombstone = _tombstone(partition, now)
        if tombstone is None:
            logger.warning(
                "a partition has events that no checkpoint covers yet; it stays", extra={"of": partition.name}
            )
            continue
        _drop(partition)
        logger.info("events released", extra={"partition": partition.name, "count": tombstone.events})
        released.append(Released(partition, tombstone.events))
    return released


@transaction.atomic
def _tombstone(partition: Partition, now: datetime) -> EventRelease | None:
    """Write what the partition holds; None when not all of it is covered by checkpoints."""
    checkpoint_keys.take_turns()
    covered = checkpoints.covered_seqs()
    with connection.cursor() as cursor:
        cursor.execute(_CONTENT, {"begins": partition.begins, "ends": partition.ends})
        rows = cursor.fetchall()
    if any(last > covered.get(instance, 0) or last - first + 1 != count for instance, first, last, count, *_ in rows):
        return None
    previous = EventRelease.objects.order_by("-number").first()
    number, prev_hash = (1, GENESIS) if previous is None else (previous.number + 1, bytes(previous.hash))
    body = encoded(
        {
            "v": 1,
            "number": number,
            "at_us": round(now.timestamp() * 1_000_000),
            "prev": prev_hash.hex(),
            "key": checkpoint_keys.present_kid(now=now),
            "partition": partition.name,
            "from_us": round(partition.begins.timestamp() * 1_000_000),
            "until_us": round(partition.ends.timestamp() * 1_000_000),
            "chains": [
                [instance.hex, first, last, bytes(before).hex(), bytes(digest).hex()]
                for instance, first, last, _, before, digest in rows
            ],
        }
    )
    signature = checkpoint_keys.signed("release", body.encode(), now=now)
    return EventRelease.objects.create(
        number=number,
        at=now,
        partition=partition.name,
        body=body,
        prev_hash=prev_hash,
        hash=statement_hash("release", body.encode()),
        kid=signature.kid,
        signature=signature.signature,
        events=sum(count for _, _, _, count, *_ in rows),
    )


def _drop(partition: Partition) -> None:
    """Have the database let the partition go, as the role for retention where there is one."""
    statement = "SELECT wardgate_event_partition_release(%s)"
    try:
        if settings.WARDGATE_RETENTION_DATABASE_URL:
            with psycopg.connect(settings.WARDGATE_RETENTION_DATABASE_URL, autocommit=True) as own:
                own.execute(statement, [partition.name])
        else:
            with connection.cursor() as cursor:
                cursor.execute(statement, [partition.name])
    except (DatabaseError, psycopg.Error) as error:
        raise ReleaseRefused(
            f"The partition {partition.name} stays ({type(error).__name__}): the role of "
            "WARDGATE_RETENTION_DATABASE_URL must be allowed to release it, and nobody may be reading it."
        ) from None


def _month(year: int, month: int) -> str:
    return f"{year + (month - 1) // 12:04d}-{(month - 1) % 12 + 1:02d}-01"
