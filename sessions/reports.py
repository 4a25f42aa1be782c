"""What the record says about a period: who had access to what, what was denied and masked, and what proves it.

Counts come from the index of calls, which is made from the record; the proof is over the record itself. Every list is
bounded, and says when it is not whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Max, Min, Q, QuerySet, Sum

from . import checkpoint_keys
from .models import (
    CallIndex,
    Checkpoint,
    EventRelease,
    LegalHold,
    ReadEvent,
    Recording,
    RetentionRule,
    Session,
    Tombstone,
)

MAX_ROWS: Final = 5_000
"""Most lines of one list of a report."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` until before `until`."""

    since: datetime
    until: datetime

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"


def access(period: Period) -> dict[str, Any]:
    """Return who called which tool on which connection, how often, and what became of it."""
    lines = (
        _calls(period)
        .values("principal__issuer", "principal__subject", "principal__kind", "connection__slug", "method", "name")
        .annotate(
            calls=Count("pk"),
            denied=Count("pk", filter=Q(state="denied")),
            failed=Count("pk", filter=Q(state__in=["upstream_error", "not_sent", "outcome_unknown"])),
            masked=Sum("hits"),
            first_at=Min("at"),
            last_at=Max("at"),
        )
        .order_by("principal__subject", "connection__slug", "method", "name")
    )
    return _listed(
        {
            "issuer": line["principal__issuer"],
            "principal": line["principal__subject"],
            "kind": line["principal__kind"],
            "connection": line["connection__slug"],
            "method": line["method"],
            "name": line["name"],
            "calls": line["calls"],
            "denied": line["denied"],
            "failed": line["failed"],
            "masked": line["masked"] or 0,
            "first_at": _moment(line["first_at"]),
            "last_at": _moment(line["last_at"]),
        }
        for line in lines[: MAX_ROWS + 1]
    )


def denials(period: Period) -> dict[str, Any]:
    """Return how often each rule denied calls, and on which connection."""
    lines = (
        _calls(period)
        .filter(state="denied")
        .values("connection__slug", "verdict", "rule")
        .annotate(calls=Count("pk"), principals=Count("principal", distinct=True), last_at=Max("at"))
        .order_by("-calls", "rule")
    )
    return _listed(
        {
            "connection": line["connection__slug"],
            "verdict": line["verdict"],
            "rule": line["rule"],
            "calls": line["calls"],
            "principals": line["principals"],
            "last_at": _moment(line["last_at"]),
        }
        for line in lines[: MAX_ROWS + 1]
    )


def masking(period: Period) -> dict[str, Any]:
    """Return how many values were masked, by connection and tool."""
    lines = (
        _calls(period)
        .filter(hits__gt=0)
        .values("connection__slug", "name")
        .annotate(calls=Count("pk"), masked=Sum("hits"))
        .order_by("-masked", "name")
    )
    return _listed(
        {
            "connection": line["connection__slug"],
            "name": line["name"],
            "calls": line["calls"],
            "masked": line["masked"],
        }
        for line in lines[: MAX_ROWS + 1]
    )


def outcomes(period: Period) -> dict[str, Any]:
    """Return how calls ended."""
    lines = _calls(period).values("state").annotate(calls=Count("pk")).order_by("state")
    return _listed({"state": line["state"], "calls": line["calls"]} for line in lines)


def totals(period: Period) -> dict[str, int]:
    """Return the figures of the period in one line."""
    found = _calls(period).aggregate(
        calls=Count("pk"),
        denied=Count("pk", filter=Q(state="denied")),
        unknown=Count("pk", filter=Q(state="outcome_unknown")),
        masked=Sum("hits"),
        principals=Count("principal", distinct=True),
        connections=Count("connection", distinct=True),
    )
    sessions = Session.objects.filter(started_at__gte=period.since, started_at__lt=period.until).count()
    return {**{name: value or 0 for name, value in found.items()}, "sessions": sessions}


def recordings(period: Period) -> dict[str, Any]:
    """Return the recordings that were sealed in the period, with what identifies each."""
    rows = Recording.objects.filter(sealed_at__gte=period.since, sealed_at__lt=period.until).order_by("sealed_at", "pk")
    return _listed(
        {
            "recording": str(row.pk),
            "session": str(row.session_id or ""),
            "events": row.events,
            "changed_before": row.suspect,
            "state": row.state,
            "content_sha256": row.content_sha256,
            "chain": row.chain,
            "key": row.kid,
            "is_encrypted": row.is_encrypted,
        }
        for row in rows[: MAX_ROWS + 1]
    )


def retention(period: Period) -> dict[str, Any]:
    """Return the rules as they are now, and the holds that were in force in the period."""
    rules = [
        {
            "connection": rule.connection.slug if rule.connection else "every other",
            "days": rule.days,
            "is_encrypted": rule.is_encrypted,
            "updated_at": _moment(rule.updated_at),
        }
        for rule in RetentionRule.objects.select_related("connection")
    ]
    holds = LegalHold.objects.filter(
        Q(lifted_at=None) | Q(lifted_at__gte=period.since),
        Q(ends_at=None) | Q(ends_at__gte=period.since),
        created_at__lt=period.until,
    ).select_related("actor", "session__principal", "session__connection", "principal", "connection")
    held = [
        {
            "kind": hold.kind,
            "of": str(hold.session_id or hold.principal or hold.connection),
            "reason": hold.reason,
            "by": "" if hold.actor is None else hold.actor.get_username(),
            "created_at": _moment(hold.created_at),
            "ends_at": _moment(hold.ends_at),
            "lifted_at": _moment(hold.lifted_at),
        }
        for hold in holds[:MAX_ROWS]
    ]
    return {"rules": rules, "holds": held}


def deletions(period: Period) -> dict[str, Any]:
    """Return what was deleted, and which months left the database, each with its signed proof."""
    return {
        "tombstones": _statements(Tombstone.objects.filter(at__gte=period.since, at__lt=period.until)),
        "releases": _statements(EventRelease.objects.filter(at__gte=period.since, at__lt=period.until)),
    }


def readings(period: Period) -> dict[str, Any]:
    """Return who read the record how often, and where the chain of readings stood."""
    rows = ReadEvent.objects.filter(at__gte=period.since, at__lt=period.until)
    lines = rows.values("username", "kind").annotate(times=Count("pk")).order_by("username", "kind")
    ends = rows.order_by("seq")
    first, last = ends.first(), ends.last()
    return {
        **_listed({"who": line["username"], "what": line["kind"], "times": line["times"]} for line in lines[:MAX_ROWS]),
        "first": None if first is None else {"seq": first.seq, "hash": bytes(first.hash).hex()},
        "last": None if last is None else {"seq": last.seq, "hash": bytes(last.hash).hex()},
    }


def verification(period: Period) -> dict[str, Any]:
    """Return the checkpoints that enclose the period, and the public keys of the gateway.

    The one before it and the last one in it, or after it, say how far every chain had come at both ends.
    """
    before = Checkpoint.objects.filter(at__lt=period.since).order_by("-number").first()
    within = Checkpoint.objects.filter(at__gte=period.since, at__lt=period.until)
    after = Checkpoint.objects.filter(at__gte=period.until).order_by("number").first()
    last = within.order_by("-number").first()
    return {
        "checkpoints_in_period": within.count(),
        "before": None if before is None else _statement(before),
        "last": None if last is None else _statement(last),
        "after": None if after is None else _statement(after),
        "public_keys": checkpoint_keys.public_keys(),
    }


def _calls(period: Period) -> QuerySet[CallIndex]:
    return CallIndex.objects.filter(at__gte=period.since, at__lt=period.until)


def _listed(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = list(lines)
    return {"rows": found[:MAX_ROWS], "is_partial": len(found) > MAX_ROWS}


def _statements(rows: QuerySet[Any]) -> list[dict[str, Any]]:
    return [{**_statement(row), "events": row.events} for row in rows.order_by("number")[:MAX_ROWS]]


def _statement(row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "at": _moment(row.at),
        "body": row.body,
        "hash": bytes(row.hash).hex(),
        "key": row.kid,
        "signature": bytes(row.signature).hex(),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
