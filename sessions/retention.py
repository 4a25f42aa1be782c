"""Writes of retention: how long recordings are kept, what is held, and the deletion of the rest, with its proof.

Deleting goes in two steps. In one transaction: the tombstone is signed, the recordings point to it, their data keys and
what searches knew of the session are gone. Then the files go, and whoever is killed in between leaves rows `deleting`
that the next run finishes. A hold and a deletion take one lock in the database, so a hold that was answered holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet
from django.db.models.functions import TruncMonth

from accounts.models import Principal, User
from accounts.saving import Refusals
from connections.models import Connection

from . import checkpoint_keys, exports, partitions, recordings
from .models import CallIndex, Event, LegalHold, Recording, RetentionRule, Session, Tombstone
from .recording import Unsound
from .recordings import RecordingFailed
from .statements import GENESIS, encoded, statement_hash
from .storage import StorageFailed, storage_of

logger = logging.getLogger(__name__)

PURPOSE: Final = "tombstone"
"""What tombstones are signed for: see `statements.signed_bytes`."""
_LOCK: Final = 0x57475254
_CHUNK: Final = 1000
_TARGETS: Final = ("session", "principal", "connection")


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run of retention did: sessions and months that were deleted, and files that could not be yet."""

    deleted: int
    files: int
    waiting: int


@transaction.atomic
def rule_save(
    *,
    rule_id: UUID | None = None,
    connection: Connection | None = None,
    days: int | None = None,
    is_encrypted: bool = False,
    now: datetime,
) -> RetentionRule:
    """Create or change the rule `rule_id`; without an id, the one of that connection if there is one.

    Raises:
        RetentionRule.DoesNotExist: there is no rule `rule_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    rules = RetentionRule.objects.select_for_update(of=("self",))
    if rule_id is None:
        row = rules.filter(connection=connection).first() or RetentionRule(created_at=now)
    else:
        row = rules.get(pk=rule_id)
    refusals = Refusals()
    row.connection, row.days, row.is_encrypted, row.updated_at = connection, days, is_encrypted, now
    if RetentionRule.objects.filter(connection=connection).exclude(pk=row.pk).exists():
        refusals.add("connection", "rule_taken", "There is a rule for this already: change that one.")
    refusals.save(row)
    return row


@transaction.atomic
def rule_delete(*, rule_id: UUID) -> None:
    """Delete a rule; what it was for follows the rule for all from then on, and without that is kept for ever.

    Raises:
        RetentionRule.DoesNotExist: there is no such rule.
    """
    RetentionRule.objects.get(pk=rule_id).delete()


@transaction.atomic
def hold_place(
    *,
    kind: str,
    session: Session | None = None,
    principal: Principal | None = None,
    connection: Connection | None = None,
    reason: str,
    ends_at: datetime | None = None,
    actor: User | None = None,
    now: datetime,
) -> LegalHold:
    """Keep what is named from being deleted, from now on, until `ends_at` or until the hold is lifted.

    A deletion that is under way is waited for; what it deleted is gone.

    Raises:
        ValidationError: by field, what is missing or too much, a blank reason, an end that is not in the future.
    """
    _take_turns()
    refusals = Refusals()
    targets = {"session": session, "principal": principal, "connection": connection}
    for name in _TARGETS:
        if name == kind and targets[name] is None:
            refusals.add(name, "required", f"Name the {name} to hold.")
        elif name != kind and targets[name] is not None:
            refusals.add(name, "one_target", f"A hold of the kind {kind} names no {name}.")
    if ends_at is not None and ends_at <= now:
        refusals.add("ends_at", "not_in_the_future", "Give an end in the future, or none.")
    hold = LegalHold(kind=kind, reason=reason.strip(), ends_at=ends_at, actor=actor, created_at=now, **targets)
    refusals.save(hold)
    return hold


@transaction.atomic
def hold_lift(*, hold_id: UUID, actor: User | None = None, now: datetime) -> LegalHold:
    """Lift a hold; what no other one holds is deleted when its time comes. One that is over stays as it was.

    Raises:
        LegalHold.DoesNotExist: there is no such hold.
    """
    hold = LegalHold.objects.select_for_update(of=("self",)).get(pk=hold_id)
    if hold.lifted_at is None and (hold.ends_at is None or hold.ends_at > now):
        hold.lifted_at, hold.lifted_by = now, actor
        hold.save(update_fields=["lifted_at", "lifted_by"])
    return hold


def in_force(now: datetime) -> Q:
    """Return the condition of a hold that is in force at `now`."""
    return Q(lifted_at=None) & (Q(ends_at=None) | Q(ends_at__gt=now))


def is_held(*, session: Session, now: datetime) -> bool:
    """Tell whether a session must not be deleted."""
    target = Q(session=session) | Q(principal=session.principal_id) | Q(connection=session.connection_id)
    return LegalHold.objects.filter(in_force(now) & target).exists()


def retention_apply(*, now: datetime, at_most: int = 5000) -> Applied:
    """Delete the recordings whose time is over and that nothing holds, and finish what was begun before.

    Idempotent. Whatever storage does not delete now is tried again by the next run; its content cannot be read any more
    where it is encrypted, and no page shows it in any case.
    """
    deleted = 0
    for session, rule in _sessions_over(now):
        if deleted >= at_most:
            break
        deleted += session_delete(session_id=session.pk, rule=rule, now=now) is not None
    for recording, rule in _months_over(now):
        deleted += _month_delete(recording.pk, rule, now) is not None
    files, waiting = files_delete(now=now)
    return Applied(deleted, files, waiting)


@transaction.atomic
def session_delete(*, session_id: UUID, rule: RetentionRule, now: datetime) -> Tombstone | None:
    """Delete the recordings of one session, under `rule`; None when it is held, not due, or not only in recordings.

    The files go with `files_delete`. Raises what signing raises.
    """
    _take_turns()
    session = Session.objects.select_related("connection").filter(pk=session_id).first()
    if session is None or not _is_over(session, rule, now) or is_held(session=session, now=now):
        return None
    rows = list(session.recordings.select_for_update().order_by("part"))
    sealed = [row for row in rows if row.state == Recording.State.SEALED]
    if not sealed or any(row.state == Recording.State.WRITING for row in rows):
        return None
    if Event.objects.filter(session=session).exists():
        return None
    tombstone = _tombstone(sealed, session, rule, now)
    CallIndex.objects.filter(session=session).delete()
    return tombstone


def files_delete(*, now: datetime) -> tuple[int, int]:
    """Delete the files of recordings that have a tombstone; return how many went and how many could not yet."""
    gone = waiting = 0
    for row in Recording.objects.filter(state=Recording.State.DELETING).iterator():
        try:
            storage_of(row.storage).delete(row.name)
        except StorageFailed:
            waiting += 1
            continue
        Recording.objects.filter(pk=row.pk, state=Recording.State.DELETING).update(
            state=Recording.State.DELETED, deleted_at=now
        )
        gone += 1
    if waiting:
        logger.warning("recordings that were deleted have files that could not be yet", extra={"count": waiting})
    return gone, waiting


def months_release(*, now: datetime) -> list[partitions.Released]:
    """Let whole months of events leave the database, as soon as they are old enough and every event is sealed.

    Raises:
        ReleaseRefused: the database does not let them go.
        CheckpointKeyUnusable, MasterKeysUnusable: the release cannot be signed.
    """
    before = now - timedelta(days=settings.WARDGATE_EVENT_DAYS)
    return partitions.events_release(
        before=before, is_sealed=lambda begins, ends: month_is_sealed(begins=begins, ends=ends, now=now), now=now
    )


def month_is_sealed(*, begins: datetime, ends: datetime, now: datetime) -> bool:
    """Tell whether every event of that time is in a recording that can be read back and proved right now.

    What can still be sealed is sealed. So this reads every one of these recordings: it is asked before the events
    themselves are let go.
    """
    if not exports.is_delivered(begins=begins, ends=ends):
        logger.warning("events stay in the database, because an export sink does not have them yet")
        return False
    concerned: set[UUID] = set()
    for sessions in _chunked(_counted(begins, ends)):
        found, is_complete = _covered(sessions, now)
        if not is_complete:
            return False
        concerned |= found
    for month in _months_between(begins, ends):
        if not _month_sealed(month, now):
            return False
        concerned |= set(Recording.objects.filter(month=month).values_list("pk", flat=True))
    for row in Recording.objects.filter(pk__in=concerned, state=Recording.State.SEALED).iterator():
        verdict = recordings.recording_verify(recording=row)
        if isinstance(verdict, Unsound):
            logger.error(
                "events stay in the database, because a recording of them is not sound",
                extra={"recording": str(row.pk), "code": verdict.code},
            )
            return False
    return True


def _take_turns() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _sessions_over(now: datetime) -> Iterator[tuple[Session, RetentionRule]]:
    """Yield sessions whose time is over, that nothing holds and of which nothing is left in the database."""
    rules = list(RetentionRule.objects.select_related("connection"))
    named = [rule.connection_id for rule in rules if rule.connection_id is not None]
    for rule in rules:
        if rule.days is None:
            continue
        sessions = Session.objects.filter(ended_at__lte=now - timedelta(days=rule.days))
        sessions = (
            sessions.exclude(connection__in=named)
            if rule.connection_id is None
            else sessions.filter(connection=rule.connection_id)
        )
        sealed = Recording.objects.filter(session=OuterRef("pk"), state=Recording.State.SEALED)
        present = Event.objects.filter(session=OuterRef("pk"))
        for session in sessions.filter(Exists(sealed)).exclude(Exists(present)).order_by("ended_at").iterator():
            yield session, rule


def _is_over(session: Session, rule: RetentionRule, now: datetime) -> bool:
    """Tell whether the session's time is over under the rule, as both are now and not when they were looked up."""
    current = recordings.rule_of(session.connection_id)
    if current is None or current.pk != rule.pk or current.days is None or session.ended_at is None:
        return False
    return session.ended_at <= now - timedelta(days=current.days)


def _months_over(now: datetime) -> list[tuple[Recording, RetentionRule]]:
    """Return the recordings of events without a session whose time is over under the rule for all."""
    rule = RetentionRule.objects.filter(connection=None, days__isnull=False).first()
    if rule is None or rule.days is None:
        return []
    sealed = Recording.objects.filter(session=None, state=Recording.State.SEALED)
    over = now - timedelta(days=rule.days)
    return [(row, rule) for row in sealed if row.month and recordings.month_bounds(row.month)[1] <= over]


@transaction.atomic
def _month_delete(recording_id: UUID, rule: RetentionRule, now: datetime) -> Tombstone | None:
    """Delete a recording of events without a session. Nobody knows whom they concern, so any hold keeps them."""
    _take_turns()
    if LegalHold.objects.filter(in_force(now)).exists():
        return None
    row = Recording.objects.select_for_update().filter(pk=recording_id, state=Recording.State.SEALED).first()
    if row is None or row.month is None:
        return None
    begins, ends = recordings.month_bounds(row.month)
    if Event.objects.filter(session=None, at__gte=begins, at__lt=ends).exists():
        return None
    return _tombstone([row], None, rule, now)


def _tombstone(rows: list[Recording], session: Session | None, rule: RetentionRule, now: datetime) -> Tombstone:
    """Sign what is gone, and make the recordings point there and forget their keys."""
    checkpoint_keys.take_turns()
    previous = Tombstone.objects.order_by("-number").first()
    number, prev_hash = (1, GENESIS) if previous is None else (previous.number + 1, bytes(previous.hash))
    why = f"{rule.days} days after the end ({rule.connection.slug if rule.connection else 'the rule for all'})"
    kid = checkpoint_keys.present_kid(now=now)
    body = encoded(
        {
            "v": 1,
            "number": number,
            "at_us": round(now.timestamp() * 1_000_000),
            "prev": prev_hash.hex(),
            "key": kid,
            "session": "" if session is None else str(session.pk),
            "connection": "" if session is None else session.connection.slug,
            "rule": why,
            "events": sum(row.events for row in rows),
            "recordings": [_described(row) for row in rows],
        }
    )
    tombstone = Tombstone.objects.create(
        number=number,
        at=now,
        session=session,
        connection_slug="" if session is None else session.connection.slug,
        events=sum(row.events for row in rows),
        rule=why,
        body=body,
        prev_hash=prev_hash,
        hash=statement_hash(PURPOSE, body.encode()),
        kid=kid,
        signature=checkpoint_keys.signed(PURPOSE, body.encode(), now=now).signature,
    )
    Recording.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=Recording.State.DELETING, tombstone=tombstone, key_id="", wrapped_key=b"", ciphertext=b""
    )
    logger.info("recordings deleted", extra={"tombstone": number, "count": len(rows)})
    return tombstone


def _described(row: Recording) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "part": row.part,
        "month": f"{row.month:%Y-%m}" if row.month else "",
        "events": row.events,
        "bytes": row.size,
        "content_sha256": row.content_sha256,
        "chain": row.chain,
        "key": row.kid,
        "chains": [
            [instance, known["first"], known["last"], known["events"], known["hash"]]
            for instance, known in sorted(row.chains.items())
        ],
    }


def _counted(begins: datetime, ends: datetime) -> Iterator[tuple[UUID, dict[str, int]]]:
    """Yield each session that has events of that time, and how many of each month."""
    rows = (
        Event.objects.filter(at__gte=begins, at__lt=ends, session__isnull=False)
        .order_by("session_id")
        .annotate(month=TruncMonth("at", tzinfo=UTC))
        .values_list("session_id", "month")
        .annotate(count=Count("id"))
    )
    for session_id, months in groupby(rows.iterator(chunk_size=_CHUNK), key=itemgetter(0)):
        yield session_id, {f"{month:%Y-%m}": count for _, month, count in months}


def _covered(sessions: list[tuple[UUID, dict[str, int]]], now: datetime) -> tuple[set[UUID], bool]:
    """Return the recordings of the sessions, and whether they have all of their events."""
    found: dict[UUID, list[Recording]] = {}
    ids = [session_id for session_id, _ in sessions]
    for row in Recording.objects.filter(session__in=ids).exclude(state=Recording.State.WRITING):
        found.setdefault(row.session_id, []).append(row)  # type: ignore[arg-type]
    for session_id, months in sessions:
        if not _has_all(found.get(session_id, []), months):
            try:
                sealed = recordings.session_compact(session_id=session_id, now=now)
            except RecordingFailed:
                return set(), False
            if sealed is not None:
                found.setdefault(session_id, []).append(sealed)
            if not _has_all(found.get(session_id, []), months):
                return set(), False
    return {row.pk for rows in found.values() for row in rows}, True


def _has_all(rows: Iterable[Recording], months: dict[str, int]) -> bool:
    total = recordings.total_months(rows)
    return all(total.get(month, 0) >= count for month, count in months.items())


def _month_sealed(month: date, now: datetime) -> bool:
    if month not in recordings.months_due(now=now):
        return True
    try:
        recordings.month_compact(month=month, now=now)
    except RecordingFailed:
        return False
    return month not in recordings.months_due(now=now)


def _months_between(begins: datetime, ends: datetime) -> Iterator[date]:
    first = Event.objects.filter(at__gte=begins, at__lt=ends).aggregate(first=Min("at"))["first"]
    month = None if first is None else first.astimezone(UTC).date().replace(day=1)
    while month is not None and recordings.month_bounds(month)[0] < ends:
        yield month
        month = (month + timedelta(days=32)).replace(day=1)


def _chunked(rows: Iterator[tuple[UUID, dict[str, int]]]) -> Iterator[list[tuple[UUID, dict[str, int]]]]:
    chunk: list[tuple[UUID, dict[str, int]]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def rules_visible_to(*, user: User) -> QuerySet[RetentionRule]:
    """Return the rules, for those with the permission."""
    rules = RetentionRule.objects.select_related("connection")
    return rules if user.has_perm("gateway_sessions.view_retentionrule") else rules.none()


def holds_visible_to(*, user: User) -> QuerySet[LegalHold]:
    """Return the holds, for those with the permission."""
    holds = LegalHold.objects.select_related("session__principal", "session__connection", "principal", "connection")
    return holds if user.has_perm("gateway_sessions.view_legalhold") else holds.none()


def recordings_visible_to(*, user: User) -> QuerySet[Recording]:
    """Return the recordings as rows, for those with the permission; what is in them is read through their session."""
    rows = Recording.objects.select_related("session__principal", "session__connection", "tombstone")
    return rows if user.has_perm("gateway_sessions.view_recording") else rows.none()


def tombstones_visible_to(*, user: User) -> QuerySet[Tombstone]:
    """Return what was deleted, for those with the permission."""
    return Tombstone.objects.all() if user.has_perm("gateway_sessions.view_tombstone") else Tombstone.objects.none()
