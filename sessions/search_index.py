"""Fills the index of calls from their events: afterwards, in bounded steps, and never on the way of a call.

The events of one gateway process are read in the order of its chain, from where the last run stopped; how far it got
is written in the same transaction as what it wrote, so a run that dies leaves nothing half done. A call may be told of
by two processes, when one died under it, so each of its events adds what it knows and takes nothing away.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from . import search_values
from .calls import CallView, Entry, fold, payload_text
from .models import CallIndex, Event, GatewayInstance, IndexCursor, Session
from .selectors import events_of

BATCH_EVENTS = 2_000
TEXT_CHARACTERS = 32_768
"""Of each message so many characters are in the full text."""
DOCUMENT_BYTES = 262_144
"""A call whose words take so much room already gets no more of them: a stream may last for a day."""
_ROWS = 500

_UPSERT = """
INSERT INTO gateway_sessions_callindex AS known
    (call_id, session_id, principal_id, connection_id, position, at, method, name, verdict, rule, state, hits,
     total_us, values, document)
SELECT call_id, session_id, principal_id, connection_id, position, at, method, name, verdict, rule, state, hits,
    total_us, ARRAY(SELECT jsonb_array_elements_text(r.values)::bigint), to_tsvector('simple', words)
FROM jsonb_to_recordset(%s::jsonb) AS r (
    call_id uuid, session_id uuid, principal_id uuid, connection_id uuid, position bigint, at timestamptz, method text,
    name text, verdict text, rule text, state text, hits integer, total_us bigint, "values" jsonb, words text)
ON CONFLICT (call_id) DO UPDATE SET
    session_id = coalesce(known.session_id, excluded.session_id),
    principal_id = coalesce(known.principal_id, excluded.principal_id),
    connection_id = coalesce(known.connection_id, excluded.connection_id),
    position = least(nullif(known.position, 0), excluded.position),
    at = least(known.at, excluded.at),
    method = coalesce(nullif(excluded.method, ''), known.method),
    name = coalesce(nullif(excluded.name, ''), known.name),
    verdict = coalesce(nullif(excluded.verdict, ''), known.verdict),
    rule = coalesce(nullif(excluded.rule, ''), known.rule),
    state = CASE WHEN excluded.state = 'open' THEN known.state ELSE excluded.state END,
    hits = greatest(known.hits, excluded.hits),
    total_us = coalesce(excluded.total_us, known.total_us),
    values = CASE WHEN cardinality(excluded.values) = 0 THEN known.values ELSE excluded.values END,
    document = CASE WHEN pg_column_size(known.document) > %s THEN known.document
               ELSE coalesce(known.document, ''::tsvector) || excluded.document END
"""


@dataclass(slots=True)
class _Found:
    """What a batch of events says about one call."""

    call: CallView
    session: UUID | None
    texts: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)


def catch_up(*, seconds: float = 1.0, batch_events: int = BATCH_EVENTS) -> int:
    """Take new events into the index until there are none left or `seconds` are over; return how many there were.

    Another run at the same time takes other processes' events, or finds nothing to do.
    """
    deadline = time.monotonic() + seconds
    total = 0
    waiting = GatewayInstance.objects.exclude(
        pk__in=IndexCursor.objects.filter(is_done=True).values("instance_id")
    ).order_by("started_at")
    for instance_id, ended_at in list(waiting.values_list("pk", "ended_at")):
        while time.monotonic() < deadline:
            count = _advance(instance_id, has_ended=ended_at is not None, batch_events=batch_events)
            total += count
            if count < batch_events:
                break
        else:
            break
    return total


def index_session(*, session: Session) -> int:
    """Make the index of one session again from its events, wherever they are kept; return how many calls it has.

    For a session whose events were put away before a run came to them, and for an index that was lost.
    """
    entries = list(events_of(session))
    with transaction.atomic():
        CallIndex.objects.filter(session=session).delete()
        found = _collect((session.pk, entry) for entry in entries)
        _write(found)
    return len(found)


def forget_session(*, session_id: UUID) -> int:
    """Take a session out of the index, for when its record is deleted; return how many calls it had."""
    count, _ = CallIndex.objects.filter(session_id=session_id).delete()
    return count


def value_keys() -> list[bytes]:
    """Return the keys of argument values, derived from the master keys (HKDF, RFC 5869); the first one is for writing.

    Values that were written under a master key that is gone are not found any more.
    """
    parts = [entry.partition(":")[2] for entry in settings.WARDGATE_MASTER_KEYS.split(",") if entry.strip()]
    info = b"wardgate search values"
    return [HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(b64decode(part)) for part in parts]


@transaction.atomic
def _advance(instance_id: UUID, *, has_ended: bool, batch_events: int) -> int:
    IndexCursor.objects.get_or_create(instance_id=instance_id)
    cursor = IndexCursor.objects.select_for_update(skip_locked=True).filter(instance_id=instance_id).first()
    if cursor is None or cursor.is_done:
        return 0
    events = Event.objects.filter(instance_id=instance_id, seq__gt=cursor.seq).order_by("seq")[:batch_events]
    columns = ("id", "seq", "at", "session_id", "call_id", "name", "body", "payload")
    rows = list(events.values_list(*columns))
    _write(_collect(_entry(*row) for row in rows))
    is_done = has_ended and len(rows) < batch_events
    if rows or is_done:
        cursor.seq, cursor.is_done = rows[-1][1] if rows else cursor.seq, is_done
        cursor.save()
    return len(rows)


def _entry(
    position: int,
    seq: int,
    at: datetime,
    session_id: UUID | None,
    call_id: UUID | None,
    name: str,
    body: str,
    payload: Any,
) -> tuple[UUID | None, Entry]:
    stored = None if payload is None else bytes(payload)
    return session_id, Entry(seq, at, call_id, name, body, stored, position=position)


def _collect(events: Iterable[tuple[UUID | None, Entry]]) -> list[_Found]:
    by_call: dict[UUID, list[Entry]] = {}
    sessions: dict[UUID, UUID | None] = {}
    for session_id, entry in events:
        if entry.call_id is not None:
            by_call.setdefault(entry.call_id, []).append(entry)
            sessions[entry.call_id] = session_id
    key = value_keys()[0]
    found = []
    for call_id, entries in by_call.items():
        one = _Found(fold(entries)[0], sessions[call_id])
        # The verdict of a call that was closed by another process is not in its outcome.
        for entry in entries:
            text = payload_text(entry.payload)
            if text is not None:
                one.texts.append(_words(text))
        one.values = _argument_digests(one.call.request, key)
        found.append(one)
    return found


def _write(found: Sequence[_Found]) -> None:
    owners = {
        session_id: (principal_id, connection_id)
        for session_id, principal_id, connection_id in Session.objects.filter(
            pk__in={one.session for one in found if one.session}
        ).values_list("pk", "principal_id", "connection_id")
    }
    # Two runs that meet at one call must not wait for each other in opposite orders.
    rows = sorted(found, key=lambda one: one.call.id.bytes)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _ROWS):
            chunk = rows[start : start + _ROWS]
            values = orjson.dumps([_columns(one, owners) for one in chunk]).decode()
            cursor.execute(_UPSERT, [values, DOCUMENT_BYTES])


def _columns(one: _Found, owners: dict[UUID, tuple[UUID, UUID]]) -> dict[str, Any]:
    call = one.call
    principal_id, connection_id = owners.get(one.session, (None, None)) if one.session else (None, None)
    text = " ".join([call.name, call.method, *one.texts])
    return {
        "call_id": call.id,
        "session_id": one.session,
        "principal_id": principal_id,
        "connection_id": connection_id,
        "position": call.position,
        "at": call.at,
        "method": _fit(call.method, 64),
        "name": _fit(call.name, 512),
        "verdict": _fit(call.verdict, 8),
        "rule": _fit(call.rule, 200),
        "state": call.state,
        "hits": min(call.hits_count, 2**31 - 1),
        "total_us": None if call.total_us is None else min(call.total_us, 2**63 - 1),
        "values": one.values,
        "words": _fit(text, len(text)),
    }


def _fit(text: str, most: int) -> str:
    return text.replace("\0", " ").encode("utf-8", "replace").decode()[:most]


def _argument_digests(request: str | None, key: bytes) -> list[int]:
    try:
        params = json.loads(request or "").get("params", {})
        return search_values.digests_of(params.get("arguments", params), key)
    except (ValueError, AttributeError, RecursionError):
        return []


def _words(text: str) -> str:
    """Return the texts and member names of a message without what JSON puts around them, up to the bound."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return text[:TEXT_CHARACTERS]
    pieces: list[str] = []
    room = TEXT_CHARACTERS
    waiting: list[Any] = [tree]
    while waiting and room > 0:
        value = waiting.pop()
        if isinstance(value, dict):
            for member, inner in reversed(value.items()):
                waiting += (inner, member)
        elif isinstance(value, list):
            waiting += reversed(value)
        elif value is not None and not isinstance(value, bool):
            piece = str(value)[:room]
            pieces.append(piece)
            room -= len(piece) + 1
    return " ".join(pieces)


def newest_indexed(*, now: datetime) -> float:
    """Return how many seconds the index is behind, by its oldest event that waits; 0 when none does."""
    oldest: datetime | None = None
    cursors = IndexCursor.objects.in_bulk()
    for instance in GatewayInstance.objects.filter(Q(ended_at=None) | Q(pk__in=_unfinished())):
        cursor = cursors.get(instance.pk)
        if cursor is not None and cursor.is_done:
            continue
        at = (
            Event.objects.filter(instance=instance, seq__gt=cursor.seq if cursor else 0)
            .order_by("seq")
            .values_list("at", flat=True)
            .first()
        )
        oldest = at if oldest is None or (at is not None and at < oldest) else oldest
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())


def _unfinished() -> Any:
    return IndexCursor.objects.filter(is_done=False).values("instance_id")
