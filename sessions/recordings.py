"""Writes and reads of sealed recordings: a session that has ended becomes one file, and later ones for what came later.

In this order: a row `writing` is committed; the file is put together beside its place, synchronised, and moved to its
name; it is read back and every byte of it proved; the row becomes `sealed`. Who writes holds an advisory lock of the
row meanwhile. Whoever is killed on the way leaves a row `writing` whose lock is free: the next run deletes what there
is of its file, and begins anew under another name. So a file that a sealed row names was written for that row alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import TruncMonth

from accounts import sealing, vault
from accounts.exceptions import DomainError

from . import calls, chain, checkpoint_keys
from .models import CheckpointKey, Event, Recording, RetentionRule, Session
from .recording import ENCRYPTION, Header, Signature, Sound, Unsound, Writer
from .recording import Recording as Reader
from .recording_frames import Recorded, RecordingDamaged
from .storage import StorageFailed, scratch, scratch_clear, storage_of

logger = logging.getLogger(__name__)

PLACE: Final = "gateway_sessions_recording"
LATE_DAYS: Final = 3
"""For so long after it was sealed every run looks whether more came; what comes later is found before a release."""
_EARLIER: Final = timedelta(hours=1)
_CHUNK: Final = 2000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = (
    "id",
    "instance_id",
    "seq",
    "at",
    "session_id",
    "call_id",
    "name",
    "body",
    "payload",
    "prev_hash",
    "hash",
)

Progress = Callable[[int, int], None]
"""Told how many events are written, and how many there are."""


class RecordingFailed(DomainError):
    """A recording was not sealed; nothing was lost, for the events stay where they were."""

    code = "recording_failed"


class RecordingUnreadable(DomainError):
    """A sealed recording cannot be read: it is damaged, gone, or its key is."""

    code = "recording_unreadable"


@dataclass(slots=True)
class _Counted:
    """What a row says about the events of its file, counted while they are written."""

    months: dict[str, int] = field(default_factory=dict)
    chains: dict[str, dict[str, Any]] = field(default_factory=dict)
    first: Recorded | None = None
    last: Recorded | None = None
    first_at_us: int = 0
    last_at_us: int = 0

    def add(self, event: Recorded) -> None:
        entry = event.entry
        month = f"{moment_of(entry.at_us):%Y-%m}"
        self.months[month] = self.months.get(month, 0) + 1
        instance = str(UUID(bytes=event.instance))
        known = self.chains.setdefault(instance, {"first": entry.seq, "last": 0, "events": 0, "hash": ""})
        known["first"] = min(known["first"], entry.seq)
        known["events"] += 1
        if entry.seq > known["last"]:
            known["last"], known["hash"] = entry.seq, event.hash.hex()
        if self.first is None:
            self.first, self.first_at_us, self.last_at_us = event, entry.at_us, entry.at_us
        self.last = event
        self.first_at_us, self.last_at_us = min(self.first_at_us, entry.at_us), max(self.last_at_us, entry.at_us)


def sessions_due(*, now: datetime) -> QuerySet[Session]:
    """Return sessions that have ended a while ago and have events that no recording has, the oldest first."""
    settled = now - timedelta(seconds=settings.WARDGATE_COMPACT_AFTER_SECONDS)
    recordings = Recording.objects.filter(session=OuterRef("pk")).exclude(state=Recording.State.WRITING)
    last = recordings.order_by().values("session").annotate(last=Max("last_event_id")).values("last")
    events = Event.objects.filter(session=OuterRef("pk"), at__gte=OuterRef("started_at") - _EARLIER)
    fresh = Recording.objects.filter(session=OuterRef("pk"), sealed_at__gte=now - timedelta(days=LATE_DAYS))
    ended = Session.objects.filter(ended_at__lte=settled).annotate(last_recorded=Subquery(last))
    never = Q(last_recorded=None) & Q(Exists(events))
    late = Q(Exists(fresh)) & Q(Exists(events.filter(id__gt=OuterRef("last_recorded"))))
    return ended.filter(never | late).order_by("ended_at")


def session_compact(*, session_id: UUID, now: datetime, progress: Progress | None = None) -> Recording | None:
    """Seal the events of an ended session that no recording has; None when there are none, or somebody is at it.

    Raises:
        RecordingFailed: they could not be sealed; the events stay where they are, and a later run tries again.
    """
    row = _begin_session(session_id, now)
    return None if row is None else _finish(row, now, progress)


def month_compact(*, month: date, now: datetime, progress: Progress | None = None) -> Recording | None:
    """Seal the events of a whole past month that belong to no session; None when there are none, or it is done.

    Raises:
        ValueError: the month is not over yet.
        RecordingFailed: they could not be sealed.
    """
    begins, ends = month_bounds(month)
    if ends > now - timedelta(seconds=settings.WARDGATE_COMPACT_AFTER_SECONDS):
        raise ValueError("the month is not over")
    row = _begin_month(begins, now)
    return None if row is None else _finish(row, now, progress)


def months_due(*, now: datetime) -> list[date]:
    """Return the past months of which events without a session are in no recording."""
    first = Event.objects.order_by("id").values_list("at", flat=True).first()
    if first is None:
        return []
    settled = now - timedelta(seconds=settings.WARDGATE_COMPACT_AFTER_SECONDS)
    found = []
    month = first.astimezone(UTC).date().replace(day=1)
    while month_bounds(month)[1] <= settled:
        if _sessionless_left(month):
            found.append(month)
        month = (month + timedelta(days=32)).replace(day=1)
    return found


def recording_verify(*, recording: Recording) -> Sound | Unsound:
    """Read a recording from where it is kept and prove every byte and event of it against keys of the gateway.

    The row has to say the same as the file: a whole other recording that is sound by itself is none of this session.
    """
    try:
        with opened(recording) as reader:
            verdict = reader.verify(public_keys())
            of_whom = (reader.header.recording, reader.header.session, reader.header.part)
            manifest = dict(reader.manifest)
    except RecordingUnreadable as error:
        return Unsound(error.code, str(error))
    except (RecordingDamaged, StorageFailed) as error:
        return Unsound(error.code, str(error))
    if isinstance(verdict, Unsound):
        return verdict
    expected = (str(recording.pk), str(recording.session_id or ""), recording.part)
    if of_whom != expected or (recording.chain and manifest.get("chain") != recording.chain):
        return Unsound("another_recording", "The file is a sound recording, but of something else.")
    return verdict


class opened:
    """A context: the reader of a sealed recording, closed at the end.

    Raises:
        RecordingUnreadable: it was deleted, it cannot be had or decrypted, or it is damaged at once.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._source: Any = None

    def __enter__(self) -> Reader:
        """Open it."""
        recording = self._recording
        if recording.state in {Recording.State.DELETING, Recording.State.DELETED}:
            raise RecordingUnreadable("The recording was deleted; its tombstone says why.")
        try:
            key = _opened_key(recording)
            self._source = storage_of(recording.storage).source(recording.name)
            return Reader(self._source, key=key)
        except (RecordingDamaged, StorageFailed) as error:
            self.__exit__()
            raise RecordingUnreadable(f"The recording cannot be read: {error}") from None

    def __exit__(self, *_: object) -> None:
        """Close it."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


def recorded_of(
    session: Session,
    *,
    after: int = 0,
    names: Collection[str] = (),
    call_ids: Collection[UUID] | None = None,
    payloads: bool = True,
) -> Iterator[calls.Entry]:
    """Return the events of a session that are only in its recordings any more, in order; see `selectors.events_of`.

    Nothing comes as long as the events are still in the database, which is quicker to read. What was deleted is not
    there, and does not come. An event's hash is known only where messages are read.

    Raises:
        RecordingUnreadable: a recording is damaged or gone.
    """
    for recording in _left_recordings(session, after):
        wanted_calls = None if call_ids is None else {call_id.bytes for call_id in call_ids}
        with opened(recording) as reader:
            try:
                for event in _chosen(reader, wanted_calls, payloads):
                    if event.id > after and (not names or event.entry.name in names):
                        yield _entry(event)
            except (RecordingDamaged, StorageFailed) as error:
                raise RecordingUnreadable(f"The recording cannot be read: {error}") from None


def recorded_until(session: Session) -> int:
    """Return the id of the newest event of a session that is only in a recording any more; 0 when there is none."""
    return max((recording.last_event_id or 0 for recording in _left_recordings(session, 0)), default=0)


def recording_digest_of(*, session: Session) -> tuple[int, int]:
    """Return how many recordings a session has, and how many of them were deleted."""
    counted = session.recordings.aggregate(
        all=Count("pk"), gone=Count("pk", filter=Q(state__in=[Recording.State.DELETING, Recording.State.DELETED]))
    )
    return counted["all"], counted["gone"]


def recordings_clear() -> int:
    """Delete what runs that died have left, and return how many there were; those that are under way are left alone."""
    cleared = 0
    for recording_id in Recording.objects.filter(state=Recording.State.WRITING).values_list("pk", flat=True):
        with _written_by_us(recording_id) as is_free:
            cleared += is_free and _discard(recording_id)
    return cleared


def keys_seal_again() -> tuple[int, int]:
    """Seal the keys of encrypted recordings under the first master key; return how many moved, and how many cannot.

    The files stay as they are, and those that are being written go on. Afterwards the old master key may go, if no key
    is left that cannot be moved. A recording that is deleted meanwhile has no key any more, and counts as neither.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return sealing.rows_seal_again(Recording.objects.exclude(ciphertext=b""), place=PLACE)


def public_keys() -> dict[str, bytes]:
    """Return the raw public keys that the gateway has or had, by their names."""
    return {kid: bytes(public_key) for kid, public_key in CheckpointKey.objects.values_list("kid", "public_key")}


def rule_of(connection_id: UUID | None) -> RetentionRule | None:
    """Return the rule of a connection, else the one for all that have none, else None."""
    rules = RetentionRule.objects.filter(Q(connection=connection_id) | Q(connection=None))
    return rules.order_by(F("connection").asc(nulls_last=True)).first()


def moment_of(at_us: int) -> datetime:
    """Return the moment of an event."""
    return _EPOCH + timedelta(microseconds=at_us)


def month_bounds(month: date) -> tuple[datetime, datetime]:
    """Return when a month begins and ends, in UTC."""
    begins = datetime(month.year, month.month, 1, tzinfo=UTC)
    return begins, (begins + timedelta(days=32)).replace(day=1)


@transaction.atomic
def _begin_session(session_id: UUID, now: datetime) -> Recording | None:
    settled = now - timedelta(seconds=settings.WARDGATE_COMPACT_AFTER_SECONDS)
    sessions = Session.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
    session = sessions.select_related("connection", "principal").filter(pk=session_id, ended_at__lte=settled).first()
    if session is None or not _alone(session.recordings.all()):
        return None
    if not _unrecorded(session).exists():
        return None
    rule = rule_of(session.connection_id)
    return _begun(session=session, month=None, encrypts=rule is not None and rule.is_encrypted, now=now)


@transaction.atomic
def _begin_month(begins: datetime, now: datetime) -> Recording | None:
    month = begins.date()
    if not _alone(Recording.objects.filter(month=month)) or not _sessionless_left(month):
        return None
    return _begun(session=None, month=month, encrypts=False, now=now)


def _alone(rows: QuerySet[Recording]) -> bool:
    """Clear away what dead runs have left of the same; False when somebody is at it."""
    for recording_id in rows.filter(state=Recording.State.WRITING).values_list("pk", flat=True):
        with _written_by_us(recording_id) as is_free:
            if not is_free:
                return False
            _discard(recording_id)
    return True


def _begun(*, session: Session | None, month: date | None, encrypts: bool, now: datetime) -> Recording:
    part = Recording.objects.filter(session=session, month=month).aggregate(last=Max("part"))["last"] or 0
    recording_id = uuid4()
    of_what = session.pk if session is not None else f"{month:%Y-%m}"
    row = Recording(
        id=recording_id,
        session=session,
        month=month,
        part=part + 1,
        storage=settings.WARDGATE_RECORDING_STORAGE,
        name=f"{now:%Y/%m/%d}/{of_what}.{part + 1}.{recording_id.hex[:12]}.wgr",
        is_encrypted=encrypts,
        created_at=now,
    )
    if encrypts:
        kept = sealing.sealed(os.urandom(vault.KEY_BYTES).hex(), place=PLACE, row_id=recording_id)
        row.key_id, row.wrapped_key, row.ciphertext = kept.key_id, kept.wrapped_key, kept.ciphertext
    row.save(force_insert=True)
    return row


def _finish(begun: Recording, now: datetime, progress: Progress | None) -> Recording | None:
    """Write, move, prove and seal; whatever fails takes the file along. None: somebody took it for a dead run."""
    try:
        with _written_by_us(begun.pk) as is_ours:
            if not is_ours:
                return None
            with scratch(f"{begun.pk.hex}.wgr") as path:
                counted = _write(begun, path, now, progress)
                storage_of(begun.storage).take(path, begun.name)
            return _sealed(begun, counted, now)
    except (StorageFailed, RecordingDamaged, OSError, ValueError, DomainError) as error:
        with suppress(StorageFailed):
            _discard(begun.pk)
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise RecordingFailed(f"The recording was not sealed: {text}") from error


def _write(row: Recording, path: Path, now: datetime, progress: Progress | None) -> _Counted:
    """Put the file together at `path`, durably, and fill in what the row says about it."""
    counted = _Counted()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        writer = Writer(file.write, _header_of(row), key=_opened_key(row))
        # One transaction, so that a cursor of the server hands out the events and nobody has to keep them all.
        with transaction.atomic():
            events = _events_for(row)
            total = events.count() if progress else 0
            for place, event in enumerate(_rows(events), start=1):
                writer.add(event)
                counted.add(event)
                if progress and (place % _CHUNK == 0 or place == total):
                    progress(place, total)
        summary = writer.finish(lambda seal: _signed(seal, now))
        file.flush()
        os.fsync(file.fileno())
    row.events, row.calls, row.suspect = summary.events, summary.calls, summary.suspect
    row.raw_bytes, row.size = summary.raw_bytes, summary.size
    row.content_sha256, row.chain = summary.content_sha256.hex(), summary.chain.hex()
    row.kid = summary.signature.key_id
    return counted


def _sealed(row: Recording, counted: _Counted, now: datetime) -> Recording | None:
    verdict = recording_verify(recording=row)
    if isinstance(verdict, Unsound):
        raise RecordingDamaged(verdict.code, f"What was read back is not what was written ({verdict.message})")
    row.months, row.chains = counted.months, counted.chains
    if counted.first is not None and counted.last is not None:
        row.first_event_id, row.last_event_id = counted.first.id, counted.last.id
        row.first_at, row.last_at = moment_of(counted.first_at_us), moment_of(counted.last_at_us)
    row.state, row.sealed_at = Recording.State.SEALED, now
    with transaction.atomic():
        if not _is_writing(row.pk):
            # Our connection was gone for a while, and another run has begun anew; the file under our name is nobody's.
            storage_of(row.storage).delete(row.name)
            return None
        # A new master key may have sealed the key of the file again while it was written.
        row.refresh_from_db(fields=["key_id", "wrapped_key", "ciphertext"])
        row.save()
    if row.suspect:
        logger.error(
            "events of a session were changed before they were sealed",
            extra={"recording": str(row.pk), "count": row.suspect, "first": verdict.suspect[0]},
        )
    return row


def _signed(seal: bytes, now: datetime) -> Signature:
    made = checkpoint_keys.signed("recording", seal, now=now)
    return Signature(made.kid, public_keys()[made.kid], made.signature)


def _header_of(row: Recording) -> Header:
    about: dict[str, Any] = {"month": f"{row.month:%Y-%m}"} if row.month else {}
    if row.session is not None:
        session = row.session
        about = {
            "connection": {"id": str(session.connection_id), "slug": session.connection.slug},
            "principal": {"issuer": session.principal.issuer, "subject": session.principal.subject},
            "started_at": session.started_at.isoformat(),
            "ended_at": session.ended_at.isoformat() if session.ended_at else None,
            "protocol_version": session.protocol_version,
        }
    return Header(
        recording=str(row.pk),
        session=str(row.session_id or ""),
        part=row.part,
        created_at_us=_microseconds(row.created_at),
        encryption=ENCRYPTION if row.is_encrypted else "",
        about=about,
    )


def _events_for(row: Recording) -> QuerySet[Event]:
    return _unrecorded(row.session) if row.session is not None else _sessionless(row.month)


def _unrecorded(session: Session) -> QuerySet[Event]:
    """Return the events of a session that none of its recordings has.

    Ids grow with time, so what is behind the last one that is recorded is new. An event whose process was held up
    between getting its id and its commit may be before it: it is found by the number of events.
    """
    events = Event.objects.filter(session=session, at__gte=session.started_at - _EARLIER).order_by("id")
    sealed = list(session.recordings.exclude(state=Recording.State.WRITING).order_by("part"))
    if not sealed:
        return events
    last = max(recording.last_event_id or 0 for recording in sealed)
    earlier = events.filter(id__lte=last)
    in_table = {
        f"{month:%Y-%m}": count
        for month, count in earlier.order_by()
        .annotate(month=TruncMonth("at", tzinfo=UTC))
        .values_list("month")
        .annotate(count=Count("id"))
    }
    recorded = total_months(sealed)
    if all(count <= recorded.get(month, 0) for month, count in in_table.items()):
        return events.filter(id__gt=last)
    known: set[int] = set()
    for recording in sealed:
        if recording.state == Recording.State.SEALED:
            with opened(recording) as reader:
                known.update(event.id for event in reader.entries(has_messages=False))
    return events.filter(Q(id__gt=last) | Q(id__in=set(earlier.values_list("id", flat=True)) - known))


def total_months(recordings: Iterable[Recording]) -> dict[str, int]:
    """Return how many events the recordings have together, by month."""
    total: dict[str, int] = {}
    for recording in recordings:
        for month, count in recording.months.items():
            total[month] = total.get(month, 0) + count
    return total


def _sessionless(month: date | None) -> QuerySet[Event]:
    if month is None:
        return Event.objects.none()
    begins, ends = month_bounds(month)
    sealed = Recording.objects.filter(month=month).exclude(state=Recording.State.WRITING)
    last = sealed.aggregate(last=Max("last_event_id"))["last"] or 0
    return Event.objects.filter(session=None, at__gte=begins, at__lt=ends, id__gt=last).order_by("id")


def _sessionless_left(month: date) -> bool:
    return _sessionless(month).exists()


def _rows(events: QuerySet[Event]) -> Iterator[Recorded]:
    for row in events.values_list(*_COLUMNS).iterator(chunk_size=_CHUNK):
        event_id, instance, seq, at, session, call, name, body, payload, prev_hash, own = row
        entry = chain.Entry(
            seq,
            _microseconds(at),
            chain.NOTHING if session is None else session.bytes,
            chain.NOTHING if call is None else call.bytes,
            name,
            body.encode(),
            None if payload is None else bytes(payload),
        )
        yield Recorded(event_id, instance.bytes, entry, bytes(prev_hash), bytes(own))


def _left_recordings(session: Session, after: int) -> list[Recording]:
    """Return the sealed recordings of events that have left the database, in order."""
    found = session.recordings.filter(state=Recording.State.SEALED, last_event_id__gt=after).order_by("part")
    # An event that is gone from the table left with its month; the others of the file may still be there, and count
    # as left as well, so that each event comes from one place.
    present = Event.objects.filter(id=OuterRef("first_event_id"))
    return list(found.exclude(Exists(present)).exclude(events=0))


def _chosen(reader: Reader, call_ids: Collection[bytes] | None, payloads: bool) -> Iterable[Recorded]:
    if call_ids is None:
        return reader.entries(has_messages=payloads)
    found = [event for call_id in call_ids for event in reader.call(call_id, has_messages=payloads)]
    return sorted(found, key=lambda event: event.id)


def _entry(event: Recorded) -> calls.Entry:
    entry = event.entry
    return calls.Entry(
        seq=entry.seq,
        at=moment_of(entry.at_us),
        call_id=None if entry.call == chain.NOTHING else UUID(bytes=entry.call),
        name=entry.name,
        body=entry.body.decode("utf-8", "backslashreplace"),
        payload=entry.payload,
        hash=event.hash,
        position=event.id,
        payload_bytes=event.payload_bytes,
    )


def _opened_key(row: Recording) -> bytes | None:
    if not row.is_encrypted:
        return None
    kept = vault.Sealed(row.key_id, bytes(row.wrapped_key), bytes(row.ciphertext))
    try:
        return bytes.fromhex(sealing.opened(kept, place=PLACE, row_id=row.pk).reveal().decode())
    except (vault.CannotOpen, DomainError, ValueError):
        raise RecordingUnreadable("The recording's key cannot be opened: put its master key back.") from None


def _discard(recording_id: UUID) -> bool:
    """Delete what there is of a file that was never sealed, and its row; False when it was sealed after all."""
    with transaction.atomic():
        row = Recording.objects.select_for_update().filter(pk=recording_id, state=Recording.State.WRITING).first()
        if row is None:
            return False
        scratch_clear(f"{row.pk.hex}.wgr")
        storage_of(row.storage).delete(row.name)
        row.delete()
        return True


def _is_writing(recording_id: UUID) -> bool:
    rows = Recording.objects.select_for_update().filter(pk=recording_id, state=Recording.State.WRITING)
    return rows.first() is not None


@contextmanager
def _written_by_us(recording_id: UUID) -> Iterator[bool]:
    """Hold the lock that says that somebody writes this recording; False when somebody else does."""
    key = int.from_bytes(recording_id.bytes[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        # A connection that broke has lost its lock already.
        if is_ours:
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
