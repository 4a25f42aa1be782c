"""Writes of export sinks, and the streaming: at least once, in batches, each chain in its order, one cursor a sink.

A sink is asked for no more than it takes: what it has not taken stays where it is, in the record, and nothing waits in
memory. A month of events does not leave the database before every active sink has it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Max, Q, QuerySet
from django.db.models.functions import Length

from accounts import addresses, sealing, vault
from accounts.exceptions import DomainError
from accounts.models import User
from accounts.saving import Refusals

from . import syslog
from .calls import OPENINGS, body_of, payload_text
from .calls import Entry as CallEntry
from .export_delivery import MAX_PAUSE_SECONDS, NotTaken, Target, TooMuch, deliver
from .export_records import Record
from .models import Event, ExportCursor, ExportSink, GatewayInstance, Session

logger = logging.getLogger(__name__)

STEPS: Final = ("gateway:call:intent", "upstream:message:relayed")
"""What only a sink that wants every event gets."""
_PLACE: Final = "gateway_sessions_exportsink"
_LOCK: Final = 0x57474558
_LONGEST_MESSAGE: Final = 32 * 1024
"""Characters of a message that go along; the record has all of it."""
_LONGEST_PAYLOAD: Final = 1024 * 1024
_PAYLOADS: Final = 16 * 1024 * 1024
"""Stored bytes of one message, and of all messages of a batch, that are read."""
TOO_LONG: Final = "(too long to be sent along; the record has it)"


class ExportFailed(DomainError):
    """A test did not reach the sink; the message says why."""

    code = "export_failed"


@dataclass(frozen=True, slots=True)
class Sent:
    """What one run did for a sink."""

    delivered: int
    refused: int
    is_up_to_date: bool


@transaction.atomic
def export_sink_save(
    *,
    sink_id: UUID | None = None,
    name: str,
    kind: str,
    target: str,
    dataset: str = "",
    user: str = "",
    includes_contents: bool = False,
    includes_every_event: bool = False,
    has_tls: bool = True,
    ca_certificate: str = "",
    allowed_networks: Iterable[object] = (),
    batch: int = 500,
    secret: str = "",
    is_active: bool = True,
    from_the_beginning: bool = False,
    now: datetime,
) -> ExportSink:
    """Add or change a sink; an empty `secret` keeps the one there is.

    A new one gets what is recorded from now on, or `from_the_beginning` all that is still in the database.

    Raises:
        ValidationError: by field.
        ExportSink.DoesNotExist: there is no such sink.
        MasterKeysUnusable: the secret cannot be sealed.
    """
    is_new = sink_id is None
    sink = ExportSink(created_at=now)
    if sink_id is not None:
        sink = ExportSink.objects.select_for_update().get(pk=sink_id)
    was_at = (sink.kind, sink.target)
    sink.name, sink.kind, sink.target = name.strip(), kind, target.strip()
    sink.dataset, sink.user, sink.batch, sink.is_active = dataset.strip(), user.strip(), batch, is_active
    sink.includes_contents, sink.includes_every_event = includes_contents, includes_every_event
    sink.has_tls, sink.ca_certificate = has_tls, ca_certificate.strip()
    refusals = Refusals()
    sink.allowed_networks = refusals.texts("allowed_networks", allowed_networks)
    _check(sink, bool(secret or sink.ciphertext), refusals)
    if not is_new and was_at != (sink.kind, sink.target) and sink.ciphertext and not secret:
        # A secret never follows to another place than the one that it was given for.
        refusals.add("secret", "secret_needed", "Give the secret again: the sink is another place now.")
    if secret:
        kept = sealing.sealed(secret, place=_PLACE, row_id=sink.pk)
        sink.key_id, sink.wrapped_key, sink.ciphertext = kept.key_id, kept.wrapped_key, kept.ciphertext
    sink.failures, sink.last_error, sink.retry_at, sink.batch_now = 0, "", None, 0
    refusals.save(sink)
    if is_new and not from_the_beginning:
        _start_now(sink)
    return sink


def export_sink_delete(*, sink_id: UUID) -> None:
    """Stop streaming to a sink; what it has stays there."""
    ExportSink.objects.filter(pk=sink_id).delete()


def export_sink_test(*, sink_id: UUID, now: datetime) -> None:
    """Send one event that is none of the record to the sink, now.

    Raises:
        ExportFailed: it did not take it.
        ExportSink.DoesNotExist: there is no such sink.
    """
    sink = ExportSink.objects.get(pk=sink_id)
    at_us = round(now.timestamp() * 1_000_000)
    try:
        refused = deliver(_target(sink), [Record("test", at_us, at_us, "gateway:export:tested", reason="a test")])
    except NotTaken as error:
        raise ExportFailed(str(error)) from None
    except TooMuch:
        raise ExportFailed("The service says that a single event is too large.") from None
    if refused:
        raise ExportFailed("The service refused the event: look at its index or dataset.")


def secrets_seal_again() -> tuple[int, int]:
    """Seal the secrets of sinks under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return sealing.rows_seal_again(ExportSink.objects.exclude(key_id=""), place=_PLACE)


def sinks_due(*, now: datetime) -> list[UUID]:
    """Return the sinks whose turn it is."""
    due = ExportSink.objects.filter(Q(retry_at=None) | Q(retry_at__lte=now), is_active=True)
    return list(due.order_by("delivered_at").values_list("pk", flat=True))


def sink_run(*, sink_id: UUID, now: datetime, seconds: float) -> Sent:
    """Deliver to one sink what it does not have yet, for about so many seconds; nobody else does so meanwhile."""
    ends_at = time.monotonic() + seconds
    delivered = refused = 0
    with _alone(sink_id) as is_ours:
        while is_ours and time.monotonic() < ends_at:
            sink = ExportSink.objects.filter(pk=sink_id, is_active=True).first()
            if sink is None or (sink.retry_at is not None and sink.retry_at > now):
                break
            batch = _next_batch(sink, sink.batch_now or sink.batch)
            if batch is None:
                return Sent(delivered, refused, True)
            done = _deliver(sink, batch, now)
            if done is None:
                break
            delivered, refused = delivered + done[0], refused + done[1]
    return Sent(delivered, refused, False)


def is_delivered(*, begins: datetime, ends: datetime) -> bool:
    """Tell whether every active sink has all events of that time."""
    sinks = list(ExportSink.objects.filter(is_active=True).values_list("pk", flat=True))
    if not sinks:
        return True
    last = (
        Event.objects.filter(at__gte=begins, at__lt=ends)
        .order_by()
        .values_list("instance_id")
        .annotate(last=Max("seq"))
    )
    ends_of = dict(last)
    cursors = ExportCursor.objects.filter(sink__in=sinks, instance__in=ends_of)
    at = {(cursor.sink_id, cursor.instance_id): cursor.seq for cursor in cursors}
    return all(at.get((sink, instance), 0) >= seq for sink in sinks for instance, seq in ends_of.items())


def lag_of(sink: ExportSink) -> int:
    """Return how many events the sink does not have yet."""
    cursors = {cursor.instance_id: cursor for cursor in sink.cursors.all()}
    behind = 0
    for instance in GatewayInstance.objects.values_list("pk", flat=True):
        cursor = cursors.get(instance)
        if cursor is None or not cursor.is_done:
            newest = _newest(instance)
            behind += max(0, newest - (0 if cursor is None else cursor.seq))
    return behind


def sinks_visible_to(*, user: User) -> QuerySet[ExportSink]:
    """Return the sinks, for those with the permission."""
    return ExportSink.objects.all() if user.has_perm("gateway_sessions.view_exportsink") else ExportSink.objects.none()


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is next of one chain: the records to deliver, and how far the cursor is afterwards."""

    instance: UUID
    seq: int
    records: list[Record]
    is_done: bool


def _next_batch(sink: ExportSink, size: int) -> _Batch | None:
    """Return what is next for a sink; None when it has everything."""
    cursors = {cursor.instance_id: cursor for cursor in ExportCursor.objects.filter(sink=sink)}
    done = [instance for instance, cursor in cursors.items() if cursor.is_done]
    instances = GatewayInstance.objects.exclude(pk__in=done).order_by("started_at").values_list("pk", "ended_at")
    for instance, ended_at in instances:
        seq = cursors[instance].seq if instance in cursors else 0
        events = Event.objects.filter(instance=instance, seq__gt=seq).order_by("seq")
        rows: list[Any] = list(events.defer("payload").annotate(length=Length("payload"))[:size])
        if rows:
            return _Batch(instance, rows[-1].seq, _records(sink, rows), False)
        if ended_at is not None:
            # Ended before we looked, and nothing after our cursor: nothing will come.
            ExportCursor.objects.update_or_create(
                sink=sink, instance_id=instance, defaults={"seq": seq, "is_done": True}
            )
    return None


def _deliver(sink: ExportSink, batch: _Batch, now: datetime) -> tuple[int, int] | None:
    """Deliver a batch and move the cursor; return how many were taken and refused, None when it has to wait."""
    try:
        refused = deliver(_target(sink), batch.records) if batch.records else 0
    except TooMuch:
        size = sink.batch_now or sink.batch
        if size > 1:
            ExportSink.objects.filter(pk=sink.pk).update(batch_now=max(1, size // 2))
            return 0, 0
        refused = len(batch.records)
        logger.error("an event is larger than an export sink takes", extra={"sink": str(sink.pk), "seq": batch.seq})
    except NotTaken as error:
        _failed(sink, error, now)
        return None
    except vault.CannotOpen:
        _failed(sink, NotTaken("The secret of the sink cannot be opened: set it again."), now)
        return None
    with transaction.atomic():
        ExportCursor.objects.update_or_create(
            sink=sink, instance_id=batch.instance, defaults={"seq": batch.seq, "is_done": batch.is_done}
        )
        ExportSink.objects.filter(pk=sink.pk).update(
            delivered=F("delivered") + len(batch.records) - refused,
            refused=F("refused") + refused,
            delivered_at=now,
            failures=0,
            last_error=f"{refused} events of the last delivery were refused for good." if refused else "",
            retry_at=None,
        )
    if refused:
        logger.error("an export sink refused events for good", extra={"sink": str(sink.pk), "count": refused})
    return len(batch.records) - refused, refused


def _failed(sink: ExportSink, error: NotTaken, now: datetime) -> None:
    pause = max(error.pause, min(2**sink.failures, MAX_PAUSE_SECONDS))
    ExportSink.objects.filter(pk=sink.pk).update(
        failures=F("failures") + 1, last_error=str(error)[:300], retry_at=now + timedelta(seconds=pause)
    )


def _records(sink: ExportSink, rows: list[Event]) -> list[Record]:
    """Return what the sink gets of these events, with what is known of their calls, sessions and callers."""
    wanted = [row for row in rows if sink.includes_every_event or row.name not in STEPS]
    ids = {row.session_id for row in wanted if row.session_id is not None}
    sessions = Session.objects.select_related("principal", "connection").in_bulk(ids)
    openings = _openings(rows, wanted)
    messages = _messages_of(wanted) if sink.includes_contents else {}
    return [_record(sink, row, sessions.get(row.session_id), openings, messages.get(row.pk)) for row in wanted]


def _messages_of(rows: list[Any]) -> dict[int, str]:
    """Return the messages of events by row, as far as they fit into memory together; of others that they are longer."""
    fitting: list[int] = []
    total = 0
    for row in rows:
        if row.length and row.length <= _LONGEST_PAYLOAD and total + row.length <= _PAYLOADS:
            fitting.append(row.pk)
            total += row.length
    found = {row.pk: TOO_LONG for row in rows if row.length}
    for pk, payload in Event.objects.filter(pk__in=fitting).values_list("pk", "payload").iterator(chunk_size=100):
        found[pk] = (payload_text(bytes(payload or b"")) or "")[:_LONGEST_MESSAGE]
    return found


def _openings(rows: list[Event], wanted: list[Event]) -> dict[UUID, dict[str, Any]]:
    """Return how the calls of these events began; most began in the same batch, the others are looked up."""
    found = {row.call_id: _members(row) for row in rows if row.call_id is not None and row.name in OPENINGS}
    missing = {row.call_id for row in wanted if row.call_id is not None} - found.keys()
    if missing:
        sessions = {row.session_id for row in wanted if row.call_id in missing}
        earlier = Event.objects.filter(session__in=sessions, call_id__in=missing, name__in=OPENINGS)
        found |= {row.call_id: _members(row) for row in earlier if row.call_id is not None}
    return found


def _record(
    sink: ExportSink,
    row: Event,
    session: Session | None,
    openings: dict[UUID, dict[str, Any]],
    message: str | None,
) -> Record:
    body = _members(row)
    opening = openings.get(row.call_id, {}) if row.call_id is not None else {}
    hits = body.get("hits")
    return Record(
        instance=str(row.instance_id),
        seq=row.seq,
        at_us=round(row.at.timestamp() * 1_000_000),
        event=row.name,
        session=str(row.session_id or ""),
        call=str(row.call_id or ""),
        connection=session.connection.slug if session else "",
        issuer=session.principal.issuer if session else "",
        subject=session.principal.subject if session else _text(opening.get("subject")),
        client=f"{session.client_name} {session.client_version}".strip() if session else "",
        user_agent=session.user_agent if session else "",
        address=session.remote_address if session else "",
        method=_text(opening.get("method")),
        name=_text(opening.get("name")),
        verdict=_text(opening.get("verdict")),
        rule=_text(opening.get("rule")),
        reason=_text(body.get("reason")),
        status=_number(body.get("status")),
        duration_us=_number(body.get("total_us")),
        masked=sum(_number(count) or 0 for count in hits.values()) if isinstance(hits, dict) else 0,
        hash=bytes(row.hash).hex(),
        body=body if sink.includes_every_event else {},
        message=message,
    )


def _start_now(sink: ExportSink) -> None:
    for instance, ended_at in GatewayInstance.objects.values_list("pk", "ended_at"):
        ExportCursor.objects.create(
            sink=sink, instance_id=instance, seq=_newest(instance), is_done=ended_at is not None
        )


def _newest(instance: UUID) -> int:
    return Event.objects.filter(instance=instance).order_by("-seq").values_list("seq", flat=True).first() or 0


def _target(sink: ExportSink) -> Target:
    secret = vault.Secret(b"")
    if sink.ciphertext:
        kept = vault.Sealed(sink.key_id, bytes(sink.wrapped_key), bytes(sink.ciphertext))
        secret = sealing.opened(kept, place=_PLACE, row_id=sink.pk)
    return Target(
        id=str(sink.pk),
        kind=sink.kind,
        target=sink.target,
        dataset=sink.dataset,
        user=sink.user,
        has_tls=sink.has_tls,
        ca_certificate=sink.ca_certificate,
        allowed_networks=tuple(sink.allowed_networks),
        secret=secret,
    )


@contextmanager
def _alone(sink_id: UUID) -> Iterator[bool]:
    key = int.from_bytes(sink_id.bytes[:8], "big", signed=True) ^ _LOCK
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def _check(sink: ExportSink, has_secret: bool, refusals: Refusals) -> None:
    try:
        addresses.parse_networks(sink.allowed_networks)
    except addresses.NetworkRefused as error:
        refusals.add("allowed_networks", "bad_network", error.message)
    if sink.kind in {"syslog_ocsf", "syslog_cef"}:
        _check_syslog(sink, refusals)
    else:
        _check_url(sink, refusals)
    if sink.kind in {"splunk", "datadog", "webhook"} and not has_secret:
        refusals.add("secret", "secret_needed", "Give the token or key that the service expects.")
    if sink.user and not has_secret:
        refusals.add("secret", "secret_needed", "Give the password of that user.")


def _check_url(sink: ExportSink, refusals: Refusals) -> None:
    try:
        upstream = addresses.parse_upstream_url(sink.target)
    except addresses.UrlRefused as error:
        refusals.add("target", error.code, error.message)
        return
    if upstream.scheme == "http" and not sink.allowed_networks:
        refusals.add("target", "plain_http", "Use https, or name the private network under allowed networks.")
    if urlsplit(sink.target).fragment:
        refusals.add("target", "bad_url", "Leave out what is behind the #.")


def _check_syslog(sink: ExportSink, refusals: Refusals) -> None:
    if not syslog.is_address(sink.target):
        refusals.add("target", "bad_address", "Write host:port, such as siem.example.com:6514 or [2001:db8::5]:6514.")
    if not sink.has_tls and not sink.allowed_networks:
        refusals.add("has_tls", "plain_text", "Use TLS, or name the private network under allowed networks.")


def _members(row: Event) -> dict[str, Any]:
    return body_of(CallEntry(row.seq, row.at, row.call_id, row.name, row.body))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
