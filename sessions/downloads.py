"""What leaves as a file: only to who may read it, only after it was noted who does, and never to be shown in a page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseBase, StreamingHttpResponse

from accounts.actors import person_of

from . import reading, retention, selectors, session_exports
from .models import ReadEvent, Recording
from .recordings import RecordingUnreadable
from .storage import StorageFailed, storage_of

_PIECE: Final = 256 * 1024


def recording_file(request: Any, *, recording_id: UUID, now: datetime) -> HttpResponseBase:
    """Answer with the file of a recording, as it is kept.

    Raises:
        PermissionDenied: the person may not read contents of that session.
        Http404: there is no such recording that they may see, or no file of it any more.
        RecordingUnreadable: the file cannot be had.
    """
    user = person_of(request)
    row = retention.recordings_visible_to(user=user).filter(pk=recording_id).first()
    if row is None or row.state != Recording.State.SEALED:
        raise Http404
    if row.session is None:
        may_read = user.has_perm("gateway_sessions.view_event")
    else:
        if not selectors.sessions_visible_to(user=user).filter(pk=row.session.pk).exists():
            raise Http404
        may_read = selectors.contents_visible_to(user=user, session=row.session)
    if not may_read:
        raise PermissionDenied
    try:
        source = storage_of(row.storage).source(row.name)
    except StorageFailed as error:
        raise RecordingUnreadable(f"The recording cannot be read: {error}") from None
    reading.reading_add(
        reader=reading.reader_of(request),
        kind=ReadEvent.Kind.EXPORT,
        session_id=row.session_id,
        detail=f"the sealed recording {row.pk}",
        now=now,
    )
    answer = attachment(_pieces(source), f"{row.session_id or f'{row.month:%Y-%m}'}.{row.part}.wgr")
    answer["Content-Length"] = str(source.size)
    return answer


def session_export(request: Any, *, session_id: UUID, kind: str, now: datetime) -> HttpResponseBase:
    """Answer with a session as a file of one of `session_exports.FORMATS`.

    Raises:
        PermissionDenied: the person may not read contents of that session.
        Http404: there is no such session that they may see, or no such format.
        RecordingUnreadable: its events are only in a recording, which is damaged or gone.
    """
    user = person_of(request)
    session = selectors.sessions_visible_to(user=user).filter(pk=session_id).first()
    if session is None or kind not in session_exports.FORMATS:
        raise Http404
    if not selectors.contents_visible_to(user=user, session=session):
        raise PermissionDenied
    # What cannot be read is said now: an answer that has begun could only break off.
    next(iter(selectors.events_of(session, payloads=False)), None)
    written, content_type = session_exports.FORMATS[kind]
    reading.reading_add(
        reader=reading.reader_of(request),
        kind=ReadEvent.Kind.EXPORT,
        session_id=session.pk,
        detail=f"the session as {kind}",
        now=now,
    )
    return attachment(written(session), f"{session.pk}.{kind}", content_type)


def attachment(
    pieces: Iterator[bytes], filename: str, content_type: str = "application/octet-stream"
) -> StreamingHttpResponse:
    """Return an answer that a browser saves and never shows; the name is ours, so it needs no escaping."""
    answer = StreamingHttpResponse(pieces, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{filename}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cache-Control"] = "no-store"
    return answer


def _pieces(source: Any) -> Iterator[bytes]:
    try:
        for at in range(0, source.size, _PIECE):
            yield source.read(at, min(_PIECE, source.size - at))
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
