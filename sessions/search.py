"""Searches over all sessions: from a query to a page of calls, newest first, of those that a person may see.

A word or an argument value finds only calls whose contents the person may read: whoever may not read a message must
not learn by searching what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet

from accounts.exceptions import DomainError
from accounts.models import Principal, User
from connections.models import Connection

from . import search_index, search_values, selectors
from .calls import SLOW_US, TROUBLES
from .models import CallIndex
from .search_query import Query

PAGE_CALLS = 50
MOST_PRINCIPALS = 1_000
MOST_PROBED = 2_000
SECONDS = 8
"""A search that takes longer is given up, with a word on how to narrow it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SearchTooWide(DomainError):
    """The search took too long."""

    code = "search_too_wide"

    def __init__(self) -> None:
        super().__init__(f"The search took longer than {SECONDS} s. Narrow it: a time (since:7d), a tool, who.")


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of calls; `following` is where the next one begins, None on the last page."""

    calls: list[CallIndex]
    following: str | None


def calls_found(*, user: User, query: Query, following: str = "", limit: int = PAGE_CALLS) -> FoundPage:
    """Return a page of the calls that `user` may see and that match `query`, the newest first.

    Raises:
        SearchTooWide: it took too long.
    """
    calls = selectors.calls_visible_to(user=user)
    if query.asks_for_contents:
        calls = selectors.readable_calls_of(user=user, calls=calls)
    place = _place(following)
    if place is not None:
        at, call_id = place
        calls = calls.filter(Q(at__lt=at) | Q(at=at, call_id__gt=call_id))
    with _bounded() as cursor:
        narrowed = _narrowed(calls, query)
        if query.asks_for_contents:
            narrowed = narrowed.filter(_contents(cursor, query))
        rows = narrowed.order_by("-at", "call_id").defer("document", "values")
        found = list(rows.select_related("principal", "connection")[: limit + 1])
    page = found[:limit]
    return FoundPage(page, _after(page[-1]) if len(found) > limit else None)


def _narrowed(calls: QuerySet[CallIndex], query: Query) -> QuerySet[CallIndex]:
    if query.who:
        calls = calls.filter(principal__in=_principals(query.who))
    if query.connections:
        calls = calls.filter(connection__in=Connection.objects.filter(slug__in=query.connections).values("pk"))
    for column, globs in (("name", query.tools), ("method", query.methods), ("rule", query.rules)):
        if globs:
            calls = calls.filter(_any_like(column, globs))
    exact = {
        "verdict__in": query.verdicts,
        "state__in": query.states,
        "session__in": query.sessions,
        "call_id__in": query.calls,
    }
    calls = calls.filter(**{name: list(values) for name, values in exact.items() if values})
    for mark in query.marks:
        calls = calls.filter(_MARKS[mark])
    bounds = {
        "total_us__gt": query.longer_us,
        "total_us__lt": query.shorter_us,
        "at__gte": query.since,
        "at__lt": query.until,
    }
    return calls.filter(**{name: bound for name, bound in bounds.items() if bound is not None})


def _contents(cursor: Any, query: Query) -> Q:
    """Return the condition for words and values, as the ids of the calls when those are few.

    How rare a value or a word is, PostgreSQL cannot know, and it may look through all calls from the newest on for one
    that is there once. So the index of words and values is asked first; only what many calls have is left to planning.
    """
    wanted = Q()
    for name, text in query.values:
        wanted &= Q(values__overlap=search_values.wanted(name, text, search_index.value_keys()))
    if query.words:
        wanted &= Q(document=SearchQuery(query.words, config="simple", search_type="websearch"))
    cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
    ids = list(CallIndex.objects.filter(wanted).values_list("pk", flat=True)[: MOST_PROBED + 1])
    cursor.execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on")
    return Q(pk__in=ids) if len(ids) <= MOST_PROBED else wanted


_MARKS = {
    "denied": Q(state="denied") & ~Q(verdict="hold"),
    "held": Q(verdict="hold"),
    "masked": Q(hits__gt=0),
    "error": Q(state__in=sorted(TROUBLES)),
    "slow": Q(total_us__gte=SLOW_US),
}


def _any_like(column: str, globs: tuple[str, ...]) -> Q:
    found = Q()
    for glob in globs:
        stem = glob[:-1]
        if "*" not in glob:
            found |= Q(**{column: glob})
        elif glob.endswith("*") and "*" not in stem:
            found |= Q(**{f"{column}__startswith": stem})
        else:
            inner = ".*".join(re.escape(piece) for piece in glob.split("*"))
            found |= Q(**{f"{column}__regex": f"^{inner}$"})
    return found


def _principals(names: tuple[str, ...]) -> list[UUID]:
    found = Q()
    for name in names:
        found |= Q(subject__icontains=name) | Q(display_name__icontains=name) | Q(email__icontains=name)
    return list(Principal.objects.filter(found).values_list("pk", flat=True)[:MOST_PRINCIPALS])


@contextmanager
def _bounded() -> Iterator[Any]:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS}s"])
            yield cursor
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") == "57014":
            raise SearchTooWide from None
        raise


def _after(call: CallIndex) -> str:
    return f"{(call.at - _EPOCH) // timedelta(microseconds=1)}.{call.call_id}"


def _place(following: str) -> tuple[datetime, str] | None:
    """Return moment and id of the last call of the page before; what makes no sense is the first page."""
    moment, dot, call_id = following.partition(".")
    if not dot or not moment.isascii() or not moment.isdecimal() or len(moment) > 17 or len(call_id) != 36:
        return None
    if any(character not in "0123456789abcdef-" for character in call_id) or call_id.count("-") != 4:
        return None
    return _EPOCH + timedelta(microseconds=int(moment)), call_id
