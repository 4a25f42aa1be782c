"""Who read the record, and the end of a session by a person. Whoever shows contents calls `reading_add` first.

Readings are one chain for the whole installation. They are as rare as people are, so they take turns at one lock; the
events of calls never wait for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from accounts.client_address import address_of
from accounts.exceptions import DomainError
from accounts.models import User
from accounts.saving import Refusals

from . import reading_chain
from .models import ReadEvent, RecordAccess, SavedView, Session, SessionStop
from .services import session_end

_LOCK = 0x5747_5245_4144
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME_CHARACTERS, _DETAIL_CHARACTERS = 150, 2000


class AlreadyEnded(DomainError):
    """Somebody has ended the session before."""

    code = "already_ended"

    def __init__(self) -> None:
        super().__init__("This session was ended already; its client needs a new one for its next call.")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks: the account, and whether by the console or with which API token."""

    user_id: int | None
    username: str
    via: str
    address: str


def reader_of(request: Any) -> Reader:
    """Return who makes this request of the console or of the REST API."""
    user, token = request.user, getattr(request, "auth", None)
    via = "console" if token is None else f"API token {token.pk}"
    return Reader(user.pk, user.get_username(), via, address_of(getattr(request, "_request", request)))


@transaction.atomic
def reading_add(
    *,
    reader: Reader,
    kind: str,
    session_id: UUID | None = None,
    call_id: UUID | None = None,
    detail: str = "",
    now: datetime,
) -> ReadEvent:
    """Append one reading to the chain; when it fails, nothing may be shown.

    Args:
        reader: who looks.
        kind: one of `ReadEvent.Kind`.
        session_id: the session that is looked at, if it is one.
        call_id: the call that is looked at, if it is one.
        detail: what was searched for or exported, or why a session is ended; cut to 2,000 characters.
        now: the moment.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    last = ReadEvent.objects.order_by("-seq").values_list("seq", "hash").first()
    seq, prev_hash = (last[0] + 1, bytes(last[1])) if last else (1, reading_chain.GENESIS)
    row = ReadEvent(
        seq=seq,
        at=now,
        kind=kind,
        user_id=reader.user_id,
        username=_clean(reader.username)[:_NAME_CHARACTERS],
        via=_clean(reader.via)[:100],
        address=_clean(reader.address)[:64],
        session_id=session_id,
        call_id=call_id,
        detail=_clean(detail)[:_DETAIL_CHARACTERS],
        prev_hash=prev_hash,
    )
    row.hash = reading_chain.link(prev_hash, as_reading(row))
    row.save(force_insert=True)
    return row


def as_reading(row: ReadEvent) -> reading_chain.Reading:
    """Return the row as it is hashed."""
    texts = (row.kind, "" if row.user_id is None else str(row.user_id), row.username, row.via, row.address, row.detail)
    return reading_chain.Reading(
        row.seq,
        (row.at - _EPOCH) // timedelta(microseconds=1),
        row.session_id.bytes if row.session_id else reading_chain.NOTHING,
        row.call_id.bytes if row.call_id else reading_chain.NOTHING,
        texts,
    )


def readings_first_broken() -> int | None:
    """Return the number of the first reading that is not what was written; None when the chain holds."""

    def kept() -> Iterator[reading_chain.Kept]:
        for row in ReadEvent.objects.order_by("seq").iterator(chunk_size=2000):
            yield reading_chain.Kept(as_reading(row), bytes(row.prev_hash), bytes(row.hash))

    return reading_chain.first_broken(kept())


@transaction.atomic
def session_stop(*, session_id: UUID, reason: str, reader: Reader, now: datetime) -> SessionStop:
    """End a session for good: its calls and streams are cut on every gateway process, and its id is refused.

    The client is free to open a new session; whoever must not gets a lock.

    Raises:
        Session.DoesNotExist: there is no such session.
        AlreadyEnded: somebody did so before.
        ValidationError: no reason is given.
    """
    session = Session.objects.select_for_update(of=("self",)).get(pk=session_id)
    if SessionStop.objects.filter(session=session).exists():
        raise AlreadyEnded
    stop = SessionStop(session=session, reason=reason.strip(), user_id=reader.user_id, username=reader.username, at=now)
    Refusals().save(stop)
    session_end(session_id=session_id, reason="ended by a person", now=now)
    reading_add(reader=reader, kind=ReadEvent.Kind.END, session_id=session_id, detail=stop.reason, now=now)
    return stop


@transaction.atomic
def saved_view_save(
    *, view_id: UUID | None = None, owner: User, name: str, query: str = "", is_shared: bool = False, now: datetime
) -> SavedView:
    """Keep a search of `owner`, or change one of theirs.

    Raises:
        SavedView.DoesNotExist: `owner` has no such view.
        ValidationError: by field, a name that is blank or used already.
    """
    view = SavedView(owner=owner, created_at=now)
    if view_id is not None:
        view = SavedView.objects.select_for_update().get(pk=view_id, owner=owner)
    view.name, view.query, view.is_shared, view.updated_at = name.strip(), query.strip(), is_shared, now
    Refusals().save(view)
    return view


def saved_view_delete(*, view_id: UUID, owner: User) -> None:
    """Delete a saved view of `owner`; somebody else's stays."""
    SavedView.objects.filter(pk=view_id, owner=owner).delete()


@transaction.atomic
def record_access_save(*, access_id: int | None = None, now: datetime, **values: Any) -> RecordAccess:
    """Let a person see the sessions of a connection: `user`, `connection`, `sees_contents`.

    Raises:
        RecordAccess.DoesNotExist: there is no such row.
        ValidationError: by field, what is missing or there already.
    """
    row = RecordAccess(created_at=now)
    if access_id is not None:
        row = RecordAccess.objects.select_for_update().get(pk=access_id)
    for name in ("user", "connection", "sees_contents"):
        if name in values:
            setattr(row, name, values[name])
    Refusals().save(row)
    return row


def record_access_delete(*, access_id: int) -> None:
    """Take the access away again."""
    RecordAccess.objects.filter(pk=access_id).delete()


def _clean(text: str) -> str:
    """Return `text` as PostgreSQL can keep it: without NUL and lone surrogates."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()
