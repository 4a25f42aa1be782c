"""Reads of the record: who may see which sessions, and a session's events and calls in order.

Whoever reads the events of a session asks `events_of`, so that it makes no difference where they are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet
from django.db.models.functions import Length

from accounts.models import Principal, User

from . import recordings
from .calls import (
    APPROVAL,
    CLOSINGS,
    OPENINGS,
    CallView,
    Entry,
    body_of,
    fold,
    is_message,
    payload_text,
)
from .models import CallIndex, Event, GatewayInstance, ReadEvent, RecordAccess, SavedView, Session, SessionStop
from .search_query import Query

PAGE_CALLS = 100
SCAN_CALLS = 20_000
"""Most calls looked at for one page of a filtered list; what was not looked at is offered as the next page."""

PAGE_PAYLOAD_BYTES = 2 * 1024 * 1024
"""Most recorded message bytes on one page, as stored; calls beyond it are shown in full on a page of their own."""

CALL_PAYLOAD_BYTES = 16 * 1024 * 1024
"""Most recorded message bytes of one call that are read for its page, as stored."""

SCAN_EVENTS_OF_PAGE = 5_000
"""Most events that are read beyond a page to find how its calls ended."""

_LOOK_CALLS = 1_000
_NEAR_EVENTS, _BEYOND_EVENTS = 2_000, 50
"""How many events from the begin of a call on are looked at for its own, and how many of them beyond its end."""
_LARGEST_CHUNK = 4_000
_EARLIER = timedelta(hours=1)
"""No event of a session is older than its begin, but the clocks of two processes may differ."""
_BEFORE_MOMENT = 10
"""How many calls before the one that is looked for stand on its page."""

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
    query: Query | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it lists every call."""
        return not (self.verdict or self.text or (self.query is not None and not self.query.is_empty))

    def matches(self, verdict: str, method: str, name: str) -> bool:
        """Tell whether a call is listed."""
        wanted = self.text.casefold()
        return (not self.verdict or verdict == self.verdict) and (
            not wanted or wanted in name.casefold() or wanted in method.casefold()
        )

    def matches_body(self, members: Mapping[str, Any]) -> bool:
        """Tell whether the call that begins with an event of these members is listed."""
        return self.matches(*(str(members.get(key) or "") for key in ("verdict", "method", "name")))


@dataclass(frozen=True, slots=True)
class CallPage:
    """A page of a session's calls; `after` is where the next one begins, None on the last page.

    `shortened` are the ids of calls whose messages would have made the page too long.
    """

    calls: list[CallView]
    after: int | None
    shortened: frozenset[UUID]


def sessions_visible_to(*, user: User) -> QuerySet[Session]:
    """Return the sessions that `user` may see.

    With the permission to see sessions: those of the own principal, of machines that the person owns, and of the
    connections named in `RecordAccess`; with `see_all_sessions` besides, all of them.
    """
    if not user.has_perm("gateway_sessions.view_session"):
        return Session.objects.none()
    sessions = Session.objects.select_related("principal", "connection")
    return sessions if user.has_perm("gateway_sessions.see_all_sessions") else sessions.filter(_own(user))


def calls_visible_to(*, user: User) -> QuerySet[CallIndex]:
    """Return the calls of the index that `user` may find: those of the sessions that they may see."""
    if not user.has_perm("gateway_sessions.view_session"):
        return CallIndex.objects.none()
    return (
        CallIndex.objects.all()
        if user.has_perm("gateway_sessions.see_all_sessions")
        else CallIndex.objects.filter(_own(user))
    )


def contents_visible_to(*, user: User, session: Session) -> bool:
    """Tell whether `user` may read what was asked and answered in a session that they may see."""
    if user.has_perm("gateway_sessions.view_event"):
        return True
    if user.principal_id is not None and user.principal_id == session.principal_id:
        return True
    return RecordAccess.objects.filter(user=user, connection=session.connection_id, sees_contents=True).exists()


def readable_calls_of(*, user: User, calls: QuerySet[CallIndex]) -> QuerySet[CallIndex]:
    """Return those of `calls` whose contents `user` may read: others must not be found by a word of theirs."""
    if user.has_perm("gateway_sessions.view_event"):
        return calls
    teams = RecordAccess.objects.filter(user=user, sees_contents=True).values("connection")
    own = Q(connection__in=teams)
    return calls.filter(own if user.principal_id is None else own | Q(principal=user.principal_id))


def _own(user: User) -> Q:
    teams = RecordAccess.objects.filter(user=user).values("connection")
    own = Q(connection__in=teams)
    if user.principal_id is None:
        return own
    machines = Principal.objects.filter(owner=user.principal_id).values("pk")
    return own | Q(principal=user.principal_id) | Q(principal__in=machines)


def events_visible_to(*, user: User) -> QuerySet[Event]:
    """Return the events that `user` may see: all with the permission, none without."""
    if not user.has_perm("gateway_sessions.view_event"):
        return Event.objects.none()
    return Event.objects.all()


def stopped_sessions() -> frozenset[bytes]:
    """Return the ids, as 16 bytes, of the sessions that a person has ended: no process serves them any more."""
    return frozenset(session_id.bytes for session_id in SessionStop.objects.values_list("session_id", flat=True))


def saved_views_visible_to(*, user: User) -> QuerySet[SavedView]:
    """Return the own saved views and those that others share, for those who may search."""
    if not user.has_perm("gateway_sessions.view_savedview"):
        return SavedView.objects.none()
    return SavedView.objects.filter(Q(owner=user) | Q(is_shared=True)).select_related("owner")


def readings_visible_to(*, user: User) -> QuerySet[ReadEvent]:
    """Return who read what, for those with the permission."""
    return ReadEvent.objects.all() if user.has_perm("gateway_sessions.view_readevent") else ReadEvent.objects.none()


def record_access_visible_to(*, user: User) -> QuerySet[RecordAccess]:
    """Return who sees the sessions of which connection, for those with the permission."""
    if not user.has_perm("gateway_sessions.view_recordaccess"):
        return RecordAccess.objects.none()
    return RecordAccess.objects.select_related("user", "connection")


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


def events_of(
    session: Session,
    *,
    after: int = 0,
    names: Collection[str] = (),
    call_ids: Collection[UUID] | None = None,
    payloads: bool = True,
    until: int | None = None,
    chunk: int = 500,
) -> Iterator[Entry]:
    """Read the events of one session, in order; the only way in which pages and exports read a session.

    Args:
        session: whose record is read, wherever it is kept.
        after: `Entry.position` of the last event that was read; 0 is the beginning.
        names: only events with one of these names; empty for all.
        call_ids: only events of these calls; None for all.
        payloads: whether messages are read, too; without them `Entry.payload` is None and its size is known.
        until: `Entry.position` of the last event that is wanted; None is the end.
        chunk: how many events are read at first; a reader that wants a single one asks for one.

    Raises:
        RecordingUnreadable: the events are only in a recording, which is damaged or gone.
    """
    if call_ids is not None and not call_ids:
        return
    # What has left the database is in sealed recordings, and comes from there.
    recorded = recordings.recorded_until(session)
    if recorded > after:
        sealed = recordings.recorded_of(session, after=after, names=names, call_ids=call_ids, payloads=payloads)
        yield from sealed if until is None else takewhile(lambda entry: entry.position <= until, sealed)
        after = recorded
    if until is not None and until <= after:
        return
    events = Event.objects.filter(session=session, id__gt=after, at__gte=session.started_at - _EARLIER)
    if until is not None:
        events = events.filter(id__lte=until)
    if names:
        events = events.filter(name__in=list(names))
    if call_ids is not None:
        events = events.filter(call_id__in=list(call_ids))
    columns = ["id", "seq", "at", "call_id", "name", "body", "hash"]
    rows = (
        events.order_by("id")
        .annotate(size=Length("payload"))
        .values_list(*columns, "size", *["payload"][: int(payloads)])
    )
    # A reader that stops early must not have read everything: pages grow, and the first one is small.
    size, last = chunk, after
    while True:
        found = list(rows.filter(id__gt=last)[:size])
        for position, seq, at, call_id, name, body, digest, length, *rest in found:
            payload = bytes(rest[0]) if rest and rest[0] is not None else None
            yield Entry(seq, at, call_id, name, body, payload, bytes(digest), position, length or 0)
        if len(found) < size:
            return
        last, size = found[-1][0], min(_LARGEST_CHUNK, 4 * size)


def calls_of(
    *, session: Session, wanted: CallFilter | None = None, after: int = 0, limit: int = PAGE_CALLS
) -> CallPage:
    """Return a page of the calls of `session` with their messages, in the order in which they began.

    Args:
        session: whose record is read.
        wanted: which calls are listed.
        after: `CallPage.after` of the page before; 0 is the beginning.
        limit: most calls on the page.
    """
    page = outline_of(session=session, wanted=wanted, after=after, limit=limit)
    if not page.calls:
        return page
    shortened = _too_long(page.calls)
    whole = [call.id for call in page.calls if call.id not in shortened]
    first = min(call.position for call in page.calls) - 1
    last = max(call.last_position for call in page.calls)
    found = {call.id: call for call in fold(events_of(session, after=first, call_ids=whole, until=last))}
    return CallPage([found.get(call.id, call) for call in page.calls], page.after, shortened)


def outline_of(
    *, session: Session, wanted: CallFilter | None = None, after: int = 0, limit: int = PAGE_CALLS
) -> CallPage:
    """Return a page of calls as `calls_of` does, but without their messages: what a list and a timeline need.

    Events are read from `after` on until the calls of the page have ended, and `SCAN_EVENTS_OF_PAGE` further at most:
    what a call that lasts longer did later is looked for by itself.
    """
    chosen = wanted or CallFilter()
    if chosen.query is not None and not chosen.query.is_empty:
        return _looked_through(session, chosen, chosen.query, after, limit)
    ids: dict[UUID, None] = {}
    left: set[UUID] = set()
    kept: list[Entry] = []
    following: int | None = None
    last, openings, beyond = after, 0, 0
    for event in events_of(session, after=after, payloads=False):
        if event.name in OPENINGS and event.call_id is not None:
            if following is None and (len(ids) == limit or openings == SCAN_CALLS):
                following = last
            openings += 1
            if following is None:
                last = event.position
                if chosen.matches_body(body_of(event)):
                    ids[event.call_id] = None
                    left.add(event.call_id)
        if event.call_id in ids:
            kept.append(event)
            if event.name in CLOSINGS:
                left.discard(event.call_id)
        elif event.name.startswith(APPROVAL) and following is None:
            # Of a held call the question comes before its verdict.
            kept.append(event)
        if following is not None:
            beyond += 1
            if not left or beyond > SCAN_EVENTS_OF_PAGE:
                break
    if left and following is not None:
        newest = kept[-1].position
        kept += events_of(session, after=newest, call_ids=left, payloads=False)
    calls = {call.id: call for call in fold(event for event in kept if event.call_id in ids)}
    return CallPage([calls[call_id] for call_id in ids], following, frozenset())


def call_of(*, session: Session, call_id: UUID, payloads: bool = True) -> CallView | None:
    """Return one call, with its messages unless they are not wanted; None when the session has no such call.

    Of a call with more than `CALL_PAYLOAD_BYTES` the first messages are read, and of the others that they exist.
    """
    entries = _outline_of_call(session, call_id)
    if payloads and sum(entry.payload_bytes for entry in entries) > CALL_PAYLOAD_BYTES:
        entries = _as_far_as_it_fits(session, call_id, entries)
    elif payloads and entries:
        first, last = entries[0].position - 1, entries[-1].position
        entries = list(events_of(session, after=first, call_ids=[call_id], until=last))
    found = fold(entries)
    return found[0] if found else None


def message_of(*, session: Session, call_id: UUID, number: int) -> str | None:
    """Return one recorded message of a call, however long it is: 0 is the request, 1 the first answer."""
    entries = _outline_of_call(session, call_id)
    requests = [entry for entry in entries if entry.name in OPENINGS][:1]
    wanted = requests if number == 0 else [entry for entry in entries if is_message(entry)][number - 1 : number]
    return payload_text(_whole(session, call_id, wanted[0]).payload) if wanted else None


def _outline_of_call(session: Session, call_id: UUID) -> list[Entry]:
    """Return the events of a call without their messages.

    A call that is indexed is read from its begin to a little beyond its end, not to the end of a long session.
    """
    begin = CallIndex.objects.filter(pk=call_id, session=session).values_list("position", flat=True).first()
    if begin is None:
        return list(events_of(session, call_ids=[call_id], payloads=False))
    found: list[Entry] = []
    last, left = begin - 1, _NEAR_EVENTS
    for entry in events_of(session, after=begin - 1, payloads=False, chunk=_BEYOND_EVENTS):
        last, left = entry.position, left - 1
        if entry.call_id == call_id:
            found.append(entry)
            if entry.name in CLOSINGS:
                left = min(left, _BEYOND_EVENTS)
        if left <= 0:
            break
    if not any(entry.name in CLOSINGS for entry in found):
        found += events_of(session, after=last, call_ids=[call_id], payloads=False)
    return found


def _as_far_as_it_fits(session: Session, call_id: UUID, entries: Iterable[Entry]) -> list[Entry]:
    left, found = CALL_PAYLOAD_BYTES, []
    for entry in entries:
        left -= entry.payload_bytes
        found.append(_whole(session, call_id, entry) if entry.payload_bytes and left >= 0 else entry)
    return found


def _whole(session: Session, call_id: UUID, entry: Entry) -> Entry:
    return next(events_of(session, after=entry.position - 1, call_ids=[call_id], chunk=1), entry)


def page_before(*, session: Session, at: datetime) -> int:
    """Return where a page begins that has a moment not far from its top; 0 while its calls are not indexed."""
    known = CallIndex.objects.filter(session=session, at__lte=at)
    earlier = list(known.order_by("-position").values_list("position", flat=True)[:_BEFORE_MOMENT])
    return max(0, earlier[-1] - 1) if len(earlier) == _BEFORE_MOMENT else 0


def last_page_of(*, session: Session) -> int:
    """Return where the page begins that has the newest calls of an open session, with room for more."""
    openings = Event.objects.filter(session=session, name__in=OPENINGS).order_by("-id")
    newest = list(openings.values_list("id", flat=True)[: PAGE_CALLS // 2])
    return max(0, newest[-1] - 1) if len(newest) == PAGE_CALLS // 2 else 0


def newest_position_of(*, session: Session) -> int:
    """Return the position of the newest event of `session`, 0 when there is none."""
    found = Event.objects.filter(session=session).order_by("-id").values_list("id", flat=True).first()
    return found or recordings.recorded_until(session)


def _looked_through(session: Session, wanted: CallFilter, query: Query, after: int, limit: int) -> CallPage:
    """Return a page of the calls that match `query`, which may look at how they ended; page by page, up to a bound."""
    found: list[CallView] = []
    looked_at, following = 0, after
    while looked_at < SCAN_CALLS:
        page = outline_of(
            session=session, wanted=CallFilter(wanted.verdict, wanted.text), after=following, limit=_LOOK_CALLS
        )
        looked_at += len(page.calls)
        for place, call in enumerate(page.calls):
            if query.matches(call):
                if len(found) == limit:
                    last = page.calls[place - 1].opened_at_position if place else following
                    return CallPage(found, last, frozenset())
                found.append(call)
        if page.after is None:
            return CallPage(found, None, frozenset())
        following = page.after
    return CallPage(found, following, frozenset())


def _too_long(calls: Iterable[CallView]) -> frozenset[UUID]:
    """Return the calls that no longer fit on the page, in order; the first one always fits."""
    shortened: set[UUID] = set()
    total = 0
    for place, call in enumerate(calls):
        if place and total + call.payload_bytes > PAGE_PAYLOAD_BYTES:
            shortened.add(call.id)
        else:
            total += call.payload_bytes
    return frozenset(shortened)
