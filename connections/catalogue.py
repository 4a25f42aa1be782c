"""The catalogue of tools: what upstreams say of their tools, what was accepted of it, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection as database
from django.db import transaction
from django.db.models import QuerySet

from accounts.exceptions import DomainError
from accounts.models import User
from accounts.saving import Refusals

from . import definitions
from .definitions import Pinned
from .models import Connection, Tool

OPEN_FOR = timedelta(seconds=60)
"""How long after the first page of a connection's first listing its other pages still belong to it."""
MAX_TOOLS = 2_000
_TWIN = "name: can be taken for"


class NothingToReview(DomainError):
    """The tool has nothing new to accept or reject."""

    code = "nothing_to_review"


class SeenAgain(DomainError):
    """The definition has changed since the reviewer looked at it."""

    code = "definition_changed"


def pinned(row: Tool) -> Pinned:
    """Return how calls of a tool are judged: one whose upstream now says something else is as good as not accepted."""
    is_same = row.state == Tool.State.ACCEPTED and row.seen_digest == row.digest
    return Pinned(row.digest, row.seen_digest, is_same)


def catalogue_of(rows: QuerySet[Tool]) -> dict[str, Pinned]:
    """Return the catalogue by tool name."""
    return {row.name: pinned(row) for row in rows}


@transaction.atomic
def tools_seen(
    *, connection_id: UUID, seen: Sequence[Mapping[str, Any]], is_later_page: bool, now: datetime
) -> dict[str, Pinned]:
    """Note the definitions that an upstream has just listed; return the whole catalogue of the connection.

    What the first listing says, its later pages included, is accepted, unless something in it has to be looked at; what
    comes later, and what changes, waits for a reviewer.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", [str(connection_id)])
    known = {row.name: row for row in Tool.objects.filter(connection_id=connection_id)}
    first = min((row.first_seen for row in known.values()), default=None)
    is_first = first is None or (is_later_page and now - first < OPEN_FOR)
    alike = definitions.twins([*known, *(entry["name"] for entry in seen if entry["name"] not in known)])
    for entry in seen:
        row = known.get(entry["name"])
        digest = definitions.digest(entry)
        if row is not None and digest == row.seen_digest:
            continue
        if row is None:
            if len(known) >= MAX_TOOLS:
                continue
            row = known[entry["name"]] = Tool(connection_id=connection_id, name=entry["name"], first_seen=now)
        _note(row, entry, digest, alike.get(entry["name"]), is_first=is_first, now=now)
    return {name: pinned(row) for name, row in known.items()}


def _note(row: Tool, entry: Mapping[str, Any], digest: str, twin: str | None, *, is_first: bool, now: datetime) -> None:
    row.seen_definition, row.seen_digest, row.changed_at = dict(entry), digest, now
    row.flags = definitions.flags(entry)
    if twin is not None:
        row.flags = [*row.flags, f"{_TWIN} {twin}"]
    is_back = bool(row.digest) and digest == row.digest
    if row.state != Tool.State.REJECTED:
        if is_back or (row.definition is None and is_first and not row.flags):
            row.definition, row.digest, row.state = row.seen_definition, digest, Tool.State.ACCEPTED
        else:
            row.state = Tool.State.QUARANTINED
    row.save()


@transaction.atomic
def tool_accept(*, tool_id: UUID, seen_digest: str, by: User | None, now: datetime) -> Tool:
    """Accept what the upstream says of a tool now; `seen_digest` is what the reviewer looked at.

    Raises:
        Tool.DoesNotExist: there is no such tool.
        SeenAgain: it says something else meanwhile.
        NothingToReview: it is accepted already.
    """
    tool = Tool.objects.select_for_update().get(pk=tool_id)
    if tool.seen_digest != seen_digest:
        raise SeenAgain("The definition has changed while you were looking at it. Review it again.")
    if tool.state == Tool.State.ACCEPTED and tool.digest == tool.seen_digest:
        raise NothingToReview("This definition is accepted already.")
    tool.definition, tool.digest, tool.state = tool.seen_definition, tool.seen_digest, Tool.State.ACCEPTED
    tool.reviewed_at, tool.reviewed_by = now, by
    tool.save()
    return tool


@transaction.atomic
def tools_accept(*, looked_at: Mapping[UUID, str], by: User | None, now: datetime) -> list[Tool]:
    """Accept several tools, all or none; `looked_at` has the digest that the reviewer looked at, by tool.

    Raises:
        Tool.DoesNotExist, SeenAgain, NothingToReview: as `tool_accept`, of any of them.
    """
    # In one order, so that two reviewers never wait for each other.
    ids = sorted(looked_at, key=str)
    return [tool_accept(tool_id=tool_id, seen_digest=looked_at[tool_id], by=by, now=now) for tool_id in ids]


@transaction.atomic
def tool_reject(*, tool_id: UUID, by: User | None, now: datetime) -> Tool:
    """Keep a tool hidden and its calls denied, whatever its upstream says, until somebody accepts it.

    Raises:
        Tool.DoesNotExist: there is no such tool.
    """
    tool = Tool.objects.select_for_update().get(pk=tool_id)
    tool.state, tool.reviewed_at, tool.reviewed_by = Tool.State.REJECTED, now, by
    tool.save()
    return tool


@transaction.atomic
def tool_label(*, tool_id: UUID, labels: Sequence[str], taints: Sequence[str], now: datetime) -> Tool:
    """Say what rules may call a tool by, and what its calls leave on the caller's session.

    `now` is taken as by every service.

    Raises:
        Tool.DoesNotExist: there is no such tool.
        ValidationError: by field, what cannot be saved.
    """
    tool = Tool.objects.select_for_update().get(pk=tool_id)
    refusals = Refusals()
    tool.labels = refusals.labels("labels", labels)
    tool.taints = refusals.labels("taints", taints)
    refusals.save(tool)
    return tool


@transaction.atomic
def catalogue_forget(*, connection: Connection) -> int:
    """Forget every tool of a connection, so that its next listing counts as the first; return how many."""
    deleted, _ = Tool.objects.filter(connection=connection).delete()
    return deleted
