"""What is granted and not used: reports by principal and by group, and grants that fit what was used.

What was used is read from the record: calls that were allowed or held. Groups are those that the caller's token had at
the call. What is granted is what grants name, among the tools of the catalogue; guardrails may take some of it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connections.models import Connection, Tool
from sessions import recorded
from sessions.recorded import Decided

from . import documents, services
from .engine.globs import Globs
from .models import AccessGrant, PolicyDraft
from .reading import document_now, grant_entry
from .rehearsal import KINDS

MAX_EVENTS: Final = 2_000_000
"""Most events that are read; a longer record is read from its end, and the report says from when."""
MAX_NAMES: Final = 5_000
MAX_GLOBS: Final = 200
_MEMBERS: Final = {"tool": "tools", "prompt": "prompts", "resource": "resources"}

Holder = tuple[str, str, str]
"""`principal`, issuer and subject; or `group`, issuer of its provider and name."""


@dataclass(slots=True)
class Used:
    """How often a name was called, and when last."""

    count: int = 0
    last: float = 0.0


@dataclass(slots=True)
class Usage:
    """What was used, by holder, then connection, kind and name. `since` is where the record was read from."""

    since: datetime
    calls: int = 0
    is_partial: bool = False
    by_holder: dict[Holder, dict[tuple[str, str], dict[str, Used]]] = field(default_factory=dict)

    def of(self, holder: Holder, connection: str, kind: str) -> Mapping[str, Used]:
        """Return the names that a holder used on a connection."""
        return self.by_holder.get(holder, {}).get((connection, kind), {})


@dataclass(frozen=True, slots=True)
class Line:
    """What one grant gives on one connection, and what of it was used."""

    grant_id: str
    holder: Holder
    title: str
    connection: str
    granted: tuple[str, ...]
    used: tuple[str, ...]
    unused: tuple[str, ...]
    calls: int
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """The lines of a report. `is_partial`: the record is longer than what was read, which begins at `since`."""

    since: datetime
    calls: int
    is_partial: bool
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Policy with the grants of one holder narrowed to what was used; `changes` are those of its grants."""

    document: dict[str, list[dict[str, Any]]]
    changes: list[documents.Change]


def usage(*, days: int, now: datetime) -> Usage:
    """Return what was used in the last `days` days."""
    since = now - timedelta(days=days)
    last = recorded.last_event_id()
    first = recorded.event_id_at(since)
    found = Usage(since, is_partial=last - first >= MAX_EVENTS)
    walk = recorded.Walk(first=max(first, last - MAX_EVENTS), last=last, since=since, with_requests=False)
    begin = None
    for batch in walk.batches():
        for entry in batch:
            if isinstance(entry, Decided) and entry.at >= since.timestamp():
                begin = entry.at if begin is None else begin
                _add(found, entry)
    if found.is_partial and begin is not None:
        found.since = datetime.fromtimestamp(begin, UTC)
    return found


def _add(found: Usage, call: Decided) -> None:
    kind = KINDS.get(call.method)
    if kind is None or call.name is None or call.verdict == "deny":
        return
    found.calls += 1
    caller = call.caller
    holders: list[Holder] = [("principal", caller.issuer, caller.subject)]
    holders += [("group", caller.issuer, name) for name in caller.groups or ()]
    for holder in holders:
        names = found.by_holder.setdefault(holder, {}).setdefault((call.connection, kind), {})
        if call.name not in names and len(names) >= MAX_NAMES:
            continue
        used = names.setdefault(call.name, Used())
        used.count += 1
        used.last = max(used.last, call.at)


def report(*, days: int, now: datetime, holder: Holder | None = None) -> Report:
    """Return what grants give and what of it was used in the last `days` days, of everybody or of one holder."""
    found = usage(days=days, now=now)
    rows = [(row, whose) for row, whose in _grants(now) if holder in {None, whose}]
    lines = [line for row, whose in rows for line in _lines(row, whose, found)]
    lines.sort(key=lambda line: (-len(line.unused), line.title, line.connection))
    return Report(found.since, found.calls, found.is_partial, tuple(lines))


def fitted(*, holder: Holder, days: int, now: datetime) -> Fitted:
    """Return policy with each standing grant of `holder` narrowed to what was used through it.

    A grant of which nothing was used is left out; what is granted by globs to too many names stays as it is.
    """
    found, places = usage(days=days, now=now), _places()
    before = document_now()
    entries = {documents.key_of("grants", entry): entry for entry in before["grants"]}
    for row, whose in _grants(now):
        if whose != holder:
            continue
        entry = documents.entry_of("grants", grant_entry(row))
        entries.pop(documents.key_of("grants", entry), None)
        narrow = _narrowed(entry, holder, found, [slug for slug, labels in places.items() if _is_at(row, slug, labels)])
        if any(narrow.get(member) for member in _MEMBERS.values()):
            entries[documents.key_of("grants", narrow)] = narrow
    after = documents.canonical({**before, "grants": list(entries.values())})
    return Fitted(after, documents.diff(before, after))


def fitted_draft(*, holder: Holder, days: int, author: Any, now: datetime) -> PolicyDraft:
    """Keep what `fitted` returns as a draft, ready to be looked at, back-tested and published.

    Raises:
        ValidationError: there is a draft of that name already.
    """
    found = fitted(holder=holder, days=days, now=now)
    name = f"Least privilege: {holder[2]}"[:80]
    return services.draft_save(
        name=f"{name}, {now:%Y-%m-%d %H:%M}",
        document=found.document,
        comment=f"What {holder[0]} {holder[2][:200]} used in the last {days} days.",
        author=author,
        now=now,
    )


def _grants(now: datetime) -> list[tuple[AccessGrant, Holder]]:
    rows = AccessGrant.objects.filter(is_active=True, kind=AccessGrant.Kind.STANDING)
    rows = rows.select_related("connection", "principal", "group__provider").order_by("created_at", "pk")
    held = ((row, _holder(row)) for row in rows if row.valid_until is None or row.valid_until > now)
    return [(row, holder) for row, holder in held if holder is not None]


def _holder(row: AccessGrant) -> Holder | None:
    if row.principal is not None:
        return "principal", row.principal.issuer, row.principal.subject
    return None if row.group is None else ("group", row.group.provider.issuer, row.group.name)


def _places() -> dict[str, list[str]]:
    return dict(Connection.objects.filter(is_active=True).values_list("slug", "labels"))


def _is_at(row: AccessGrant, slug: str, labels: Sequence[str]) -> bool:
    return row.connection.slug == slug if row.connection is not None else not set(row.labels).isdisjoint(labels)


def _lines(row: AccessGrant, holder: Holder, found: Usage) -> Iterator[Line]:
    globs = Globs.compile(row.tools)
    for slug, labels in _places().items():
        if not _is_at(row, slug, labels):
            continue
        names = Tool.objects.filter(connection__slug=slug).order_by("name").values_list("name", flat=True)
        granted = [name for name in names if globs.matches(name)]
        calls = {name: used for name, used in found.of(holder, slug, "tool").items() if globs.matches(name)}
        yield Line(
            grant_id=str(row.pk),
            holder=holder,
            title=f"{holder[0]} {holder[2]}",
            connection=slug,
            granted=tuple(granted),
            used=tuple(sorted(calls)),
            unused=tuple(name for name in granted if name not in calls),
            calls=sum(used.count for used in calls.values()),
            last_used=datetime.fromtimestamp(max(used.last for used in calls.values()), UTC) if calls else None,
        )


def _narrowed(entry: Mapping[str, Any], holder: Holder, found: Usage, slugs: Sequence[str]) -> dict[str, Any]:
    narrow = dict(entry)
    for kind, member in _MEMBERS.items():
        if not entry.get(member):
            continue
        globs = Globs.compile(entry[member])
        names = sorted({name for slug in slugs for name in found.of(holder, slug, kind) if globs.matches(name)})
        # A list that would be refused, or names that a glob cannot hold, are no reason to take anything away.
        if len(names) <= MAX_GLOBS and all(len(name) <= 256 for name in names):
            narrow[member] = names
    return documents.entry_of("grants", narrow)
