"""Reads of the record: who may see which sessions, and a session's calls in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet
from django.db.models.functions import Length

from accounts.models import User

from .calls import OPENINGS, CallView, Entry, body_of, fold
from .models import Event, GatewayInstance, Session

PAGE_CALLS = 100
SCAN_CALLS = 20_000
"""Most calls looked at for one page of a filtered list; what was not looked at is offered as the next page."""

PAGE_PAYLOAD_BYTES = 2 * 1024 * 1024
"""Most recorded message bytes on one page, as stored; calls beyond it are shown in full on a page of their own."""


SCAN_EVENTS = 100_000
"""Most events that are read to count the calls of the last hour."""


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Calls by verdict. `is_partial`: there were more events in that time than were counted."""

    allowed: int
    held: int
    denied: int
    is_partial: bool


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls to list; empty members match everything. `text` is looked for in method and name."""

    verdict: str = ""
    text: str = ""

    def matches(self, verdict: str, method: str, name: str) -> bool:
        """Tell whether a call is listed."""
        wanted = self.text.casefold()
        return (not self.verdict or verdict == self.verdict) and (
            not wanted or wanted in name.casefold() or wanted in method.casefold()
        )


@dataclass(frozen=True, slots=True)
class CallPage:
    """A page of a session's calls; `after` is where the next one begins, None on the last page.

    `shortened` are the ids of calls whose messages would have made the page too long.
    """

    calls: list[CallView]
    after: int | None
    shortened: frozenset[UUID]


def sessions_visible_to(*, user: User) -> QuerySet[Session]:
    """Return the sessions that `user` may see: all with the permission, none without."""
    if not user.has_perm("gateway_sessions.view_session"):
        return Session.objects.none()
    return Session.objects.select_related("principal", "connection")


def events_visible_to(*, user: User) -> QuerySet[Event]:
    """Return the events that `user` may see: all with the permission, none without."""
    if not user.has_perm("gateway_sessions.view_event"):
        return Event.objects.none()
    return Event.objects.all()


def verdicts_since(*, since: datetime) -> VerdictCounts:
    """Count the calls since a moment by their verdict, among the newest `SCAN_EVENTS` events.

    The record has no index by time, and a page that everybody opens must not read it all.
    """
    newest = Event.objects.aggregate(newest=Max("id"))["newest"] or 0
    oldest = newest - SCAN_EVENTS
    is_held = Q(name="gateway:call:denied", body__contains='"verdict":"hold"')
    counted = Event.objects.filter(id__gt=oldest, at__gte=since).aggregate(
        allowed=Count("id", filter=Q(name="gateway:call:intent")),
        denied=Count("id", filter=Q(name="gateway:call:denied")),
        held=Count("id", filter=is_held),
    )
    before = Event.objects.filter(id__lte=oldest).order_by("-id").values_list("at", flat=True).first()
    return VerdictCounts(
        allowed=counted["allowed"],
        held=counted["held"],
        denied=counted["denied"] - counted["held"],
        is_partial=before is not None and before >= since,
    )


def instances_alive(*, now: datetime, dead_seconds: int) -> QuerySet[GatewayInstance]:
    """Return the gateway processes that beat within `dead_seconds` and have not been ended."""
    return GatewayInstance.objects.filter(ended_at=None, heartbeat_at__gte=now - timedelta(seconds=dead_seconds))


def calls_of(
    *, session: Session, wanted: CallFilter | None = None, after: int = 0, limit: int = PAGE_CALLS
) -> CallPage:
    """Return a page of the calls of `session`, in the order in which they began.

    Args:
        session: whose record is read.
        wanted: which calls are listed.
        after: `CallPage.after` of the page before; 0 is the beginning.
        limit: most calls on the page.
    """
    ids, following = _opened(session, wanted or CallFilter(), after, limit)
    if not ids:
        return CallPage([], following, frozenset())
    shortened = _too_long(session, ids)
    calls = fold(_entries(session, ids, without_payload=shortened))
    return CallPage(calls, following, shortened)


def call_of(*, session: Session, call_id: UUID) -> CallView | None:
    """Return one call with all its messages, None when the session has no such call."""
    return next(iter(fold(_entries(session, [call_id], without_payload=frozenset()))), None)


def _opened(session: Session, wanted: CallFilter, after: int, limit: int) -> tuple[list[UUID], int | None]:
    """Return the ids of the calls of a page, and where to go on when the session has more."""
    ids: list[UUID] = []
    openings = Event.objects.filter(session=session, name__in=OPENINGS, id__gt=after, call_id__isnull=False)
    rows = openings.order_by("id").values_list("id", "seq", "at", "call_id", "name", "body")[: SCAN_CALLS + 1]
    last = after
    for scanned, (event_id, seq, at, call_id, name, body) in enumerate(rows.iterator(chunk_size=1000)):
        if len(ids) == limit or scanned == SCAN_CALLS:
            return ids, last
        last = event_id
        members = body_of(Entry(seq, at, call_id, name, body))
        if call_id and wanted.matches(*(str(members.get(key) or "") for key in ("verdict", "method", "name"))):
            ids.append(call_id)
    return ids, None


def _too_long(session: Session, ids: Iterable[UUID]) -> frozenset[UUID]:
    """Return the calls that no longer fit on the page, in order; the first one always fits."""
    sizes: dict[UUID, int] = {}
    found = Event.objects.filter(session=session, call_id__in=ids, payload__isnull=False).order_by("id")
    for call_id, size in found.values_list("call_id", Length("payload")):
        sizes[call_id] = sizes.get(call_id, 0) + size
    shortened: set[UUID] = set()
    total = 0
    for position, call_id in enumerate(ids):
        size = sizes.get(call_id, 0)
        if position and total + size > PAGE_PAYLOAD_BYTES:
            shortened.add(call_id)
        else:
            total += size
    return frozenset(shortened)


def _entries(session: Session, ids: Iterable[UUID], *, without_payload: frozenset[UUID]) -> Iterator[Entry]:
    """Return the events of the calls, in order; of a call that is shortened, without its messages."""
    columns = ("id", "seq", "at", "call_id", "name", "body", "hash")
    events = Event.objects.filter(session=session).order_by("id")
    whole = events.filter(call_id__in=[call_id for call_id in ids if call_id not in without_payload])
    rows = list(whole.values_list(*columns, "payload"))
    if without_payload:
        shortened = events.filter(call_id__in=without_payload)
        rows = sorted(rows + [(*row, None) for row in shortened.values_list(*columns)], key=itemgetter(0))
    for _, seq, at, call_id, name, body, digest, payload in rows:
        yield Entry(seq, at, call_id, name, body, None if payload is None else bytes(payload), bytes(digest))
