"""The record read as policy saw it: each call with its caller, in the order in which calls were decided.

Whoever asks what other policy would have said, or what was used of what is granted, reads here. The record is walked
through by its primary key, in batches, so memory is bounded by a batch whatever the length of the record is; a walk can
be taken up again behind any event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from django.db.models import BinaryField, Case, F, Max, Min, When
from django.db.models.functions import Length

from .calls import OUTCOMES, payload_text
from .models import Event, Session

CALLER = "gateway:session:caller"
DECIDED = ("gateway:call:intent", "gateway:call:denied")
BATCH_EVENTS = 4_000
INLINE_BYTES = 16 * 1024
"""Requests up to this size, as stored, are read with their batch; longer ones one by one, when they are asked for."""

_DISORDER = timedelta(seconds=60)
"""Events of different processes are not quite in the order of their times."""
_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called. `is_known` False: the record says only issuer and subject, for it was written by an older gateway.

    `groups` None means that the provider did not tell them. `narrowing` is (connection, tools) of a narrowed token.
    """

    issuer: str
    subject: str
    client_id: str = ""
    kind: str = "unknown"
    groups: frozenset[str] | None = None
    actors: tuple[str, ...] = ()
    audiences: frozenset[str] = frozenset()
    address: str = ""
    narrowing: tuple[str, tuple[str, ...]] | None = None
    is_known: bool = True
    tag: str = ""


@dataclass(slots=True)
class Decided:
    """One call as it was decided. `at` is in epoch seconds; `request_hits` None: the record does not say."""

    event_id: int
    at: float
    session_id: UUID
    call_id: UUID
    connection: str
    caller: Caller
    method: str
    name: str | None
    verdict: str
    rule: str
    request_hits: tuple[str, ...] | None
    body: Mapping[str, Any] = field(repr=False)
    payload: bytes | None = field(repr=False)
    is_payload_left: bool = False

    def request(self) -> Any:
        """Return the request as it is recorded, masked; None when there is none that can be read."""
        payload = self.payload
        if payload is None and self.is_payload_left:
            # Read when it is asked for, so that a batch stays small.
            stored = Event.objects.filter(pk=self.event_id).values_list("payload", flat=True).first()
            payload = None if stored is None else bytes(stored)
        return _json(payload)


@dataclass(frozen=True, slots=True)
class Answered:
    """The outcome of a call: how many bytes went to the client."""

    event_id: int
    at: float
    call_id: UUID
    bytes: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event that should say what was decided, and does not."""

    event_id: int
    at: float


def event_id_at(moment: datetime) -> int:
    """Return the id of the first event from about `moment` on; one past the newest when all are older.

    The record has no index by time, but ids grow with it: some forty look-ups by id.
    """
    span = Event.objects.aggregate(low=Min("id"), high=Max("id"))
    if span["low"] is None:
        return 1
    low, high, wanted = span["low"], span["high"] + 1, moment - _DISORDER
    while low < high:
        middle = (low + high) // 2
        found = Event.objects.filter(id__gte=middle).order_by("id").values_list("id", "at").first()
        if found is not None and found[1] < wanted:
            low = found[0] + 1
        else:
            high = middle
    return int(low)


def last_event_id() -> int:
    """Return the id of the newest event, 0 when there is none."""
    return Event.objects.aggregate(newest=Max("id"))["newest"] or 0


def count_decided(*, first: int, last: int, since: datetime, until: datetime) -> int:
    """Return how many calls were decided from `since` until `until`, among the events `first` to `last`."""
    events = Event.objects.filter(id__gte=first, id__lte=last, name__in=DECIDED, at__gte=since, at__lt=until)
    return events.exclude(session=None).count()


class Walk:
    """A walk through the record, from event `first` to event `last`.

    Args:
        first: id of the first event.
        last: id of the last one.
        since: no event from before it is read, but for a minute: the record is kept in parts by time.
        with_requests: also read the requests.
        with_outcomes: also hand out how calls ended.
    """

    def __init__(
        self,
        *,
        first: int,
        last: int,
        since: datetime | None = None,
        with_requests: bool = True,
        with_outcomes: bool = False,
    ) -> None:
        self._first, self._last = first, last
        self._since = None if since is None else since - _DISORDER
        self._with_requests = with_requests
        self._names = (CALLER, *DECIDED, *(OUTCOMES if with_outcomes else ()))
        self._sessions: dict[UUID, tuple[Caller, str]] = {}
        self._callers: dict[tuple[UUID, str], Caller] = {}

    def batches(self) -> Iterator[list[Decided | Answered | Unreadable]]:
        """Yield what is found, batch by batch, in the order of the record."""
        after = self._first - 1
        while after < self._last:
            rows = self._rows(after)
            if rows:
                yield list(self._read(rows))
            if len(rows) < BATCH_EVENTS:
                return
            after = rows[-1][0]

    def _rows(self, after: int) -> list[tuple[Any, ...]]:
        events = Event.objects.filter(id__gt=after, id__lte=self._last, name__in=self._names).exclude(session=None)
        if self._since is not None:
            events = events.filter(at__gte=self._since)
        columns = ["id", "at", "session_id", "call_id", "name", "body"]
        if self._with_requests:
            is_read = When(name__in=DECIDED, then=Length("payload"))
            events = events.annotate(size=Case(is_read)).annotate(
                request=Case(When(size__lte=INLINE_BYTES, then=F("payload")), output_field=BinaryField())
            )
            columns += ["size", "request"]
        return list(events.order_by("id").values_list(*columns)[:BATCH_EVENTS])

    def _read(self, rows: list[tuple[Any, ...]]) -> Iterator[Decided | Answered | Unreadable]:
        self._look_up({row[2] for row in rows})
        for row in rows:
            event_id, at, session_id, call_id, name, text = row[:6]
            if name == CALLER:
                self._remember(session_id, text)
                continue
            body = _json(text)
            moment = at.timestamp()
            if not isinstance(body, dict) or call_id is None or session_id not in self._sessions:
                yield Unreadable(event_id, moment)
            elif name in OUTCOMES:
                yield Answered(event_id, moment, call_id, _whole(body.get("bytes")))
            else:
                size, request = row[6:8] if self._with_requests else (None, None)
                yield self._decided(event_id, moment, session_id, call_id, body, size, request)

    def _decided(
        self,
        event_id: int,
        at: float,
        session_id: UUID,
        call_id: UUID,
        body: dict[str, Any],
        size: int | None,
        request: Any,
    ) -> Decided:
        opener, slug = self._sessions[session_id]
        tag = body.get("caller")
        hits = body.get("request_hits")
        name = body.get("name")
        return Decided(
            event_id=event_id,
            at=at,
            session_id=session_id,
            call_id=call_id,
            connection=slug,
            caller=self._caller(session_id, tag, event_id) if isinstance(tag, str) else opener,
            method=_text(body.get("method")),
            name=name if isinstance(name, str) else None,
            # A held call that somebody approved went on; policy had held it.
            verdict="hold" if body.get("approval") else _text(body.get("verdict")),
            rule=_text(body.get("rule")),
            # The gateway that names callers counts what it masks, too; before, nothing was said of it.
            request_hits=tuple(hits) if isinstance(hits, dict) else () if isinstance(tag, str) else None,
            body=body,
            payload=None if request is None else bytes(request),
            is_payload_left=not self._with_requests or (size is not None and size > INLINE_BYTES),
        )

    def _look_up(self, wanted: set[UUID]) -> None:
        """Make the sessions of a batch known."""
        if len(self._sessions) >= _REMEMBERED:
            self._sessions.clear()
            self._callers.clear()
        unknown = wanted - self._sessions.keys()
        if not unknown:
            return
        rows = Session.objects.filter(pk__in=unknown).values_list(
            "pk", "principal__issuer", "principal__subject", "connection__slug", "remote_address"
        )
        for pk, issuer, subject, slug, address in rows:
            self._sessions[pk] = (Caller(issuer, subject, address=address, is_known=False), slug)

    def _caller(self, session_id: UUID, tag: str, event_id: int) -> Caller:
        known = self._callers.get((session_id, tag))
        if known is not None:
            return known
        # The session began before the walk did.
        earlier = Event.objects.filter(session=session_id, id__lt=event_id, name=CALLER).order_by("id")
        for text in earlier.values_list("body", flat=True):
            self._remember(session_id, text)
        opener, _ = self._sessions[session_id]
        return self._callers.setdefault((session_id, tag), opener)

    def _remember(self, session_id: UUID, text: str) -> None:
        tag = sha256(text.encode()).hexdigest()[:16]
        caller = caller_of(text, tag)
        if caller is not None:
            if len(self._callers) >= _REMEMBERED:
                self._callers.clear()
            self._callers[session_id, tag] = caller


def caller_of(text: str, tag: str = "") -> Caller | None:
    """Return the caller whom the body of a `gateway:session:caller` describes; None when it cannot be read."""
    body = _json(text)
    if not isinstance(body, dict):
        return None
    groups, narrowing = body.get("groups"), body.get("narrowing")
    try:
        return Caller(
            issuer=str(body["issuer"]),
            subject=str(body["subject"]),
            client_id=str(body["client_id"]),
            kind=str(body["kind"]),
            groups=None if groups is None else frozenset(map(str, groups)),
            actors=tuple(map(str, body["actors"])),
            audiences=frozenset(map(str, body["audiences"])),
            address=str(body["address"]),
            narrowing=None
            if narrowing is None
            else (str(narrowing["connection"]), tuple(map(str, narrowing["tools"]))),
            tag=tag,
        )
    except (KeyError, TypeError):
        return None


def _json(text: str | bytes | None) -> Any:
    if text is None:
        return None
    if isinstance(text, bytes) and text[:1] not in (b"{", b"["):
        text = payload_text(text) or ""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
