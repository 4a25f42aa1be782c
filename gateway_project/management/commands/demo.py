"""`python3 run.py demo`: a real MCP client goes through the running gateway, and the record says what happened."""

from __future__ import annotations

import asyncio
import logging
import shutil
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django.utils import timezone

from accounts.exceptions import DomainError
from gateway_project.demo.people import CONNECTION_SLUG, PEOPLE
from gateway_project.local.state import LocalError, Running, load_running
from gateway_project.local.tokens import demo_token
from sessions.calls import OPEN, CallView, Entry, fold
from sessions.models import Event

if TYPE_CHECKING:
    from gateway_project.demo.tour import Seen

RECORD_SECONDS = 10
"""How long the outcome of the last call may take to reach the record."""

VISITORS = {"alice": "auto", "bob": "legacy"}
"""Who takes the tour, and in which of the two protocol eras."""

TRIES, PAUSE_SECONDS = 3, 2
TRY_AGAIN = "Try again in a few seconds"
"""What the gateway says of a call that it refused because it could not write its record just then."""

DECISION_SECONDS = 20
"""How long alice waits for the demo's approver."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a step, what the record says about it, and what the client saw."""

    call: str
    verdict: str
    rule: str
    outcome: str
    masked: str
    saw: str


class Command(BaseCommand):
    """Drive a real MCP client through the running gateway and print what the record says."""

    help = "Drive a real MCP client through the running gateway and print calls, verdicts, what was masked, replay."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Offer to leave out what the client saw."""
        parser.add_argument("--short", action="store_true", help="leave out what the client got")

    def handle(self, *args: Any, **options: Any) -> None:
        """Take the tour as each visitor, one after the other."""
        # The table is the answer; the client library's running commentary is not.
        logging.disable(logging.WARNING)
        try:
            running = load_running()
            url = f"{running.public_url}/mcp/{CONNECTION_SLUG}"
            for name, mode in VISITORS.items():
                take = partial(_tour, url, demo_token(name), mode)
                self._visit(name, take, url, running.public_url, is_short=options["short"])
            take = partial(_decided, url, running)
            self._visit("alice", take, url, running.public_url, is_short=options["short"])
        except LocalError as error:
            raise CommandError(str(error)) from error

    def _visit(
        self, name: str, take: Callable[[], tuple[str, list[Seen]]], url: str, public_url: str, *, is_short: bool
    ) -> None:
        newest, version, seen = _taken(name, take)
        calls, sessions = _recorded(newest, PEOPLE[name].subject, len(seen))
        rows = []
        for one in seen:
            call = _take_out(calls, one.step.method, one.step.name)
            rows.append(_row(one.step.name or one.step.method, call, one.text))
        groups = ", ".join(PEOPLE[name].groups)
        self.stdout.write(f"\n{name} ({groups}), MCP {version}, {url}\n\n")
        self._table(rows, is_short=is_short)
        for session_id in sessions:
            path = reverse("admin:gateway_sessions_session_replay", args=[session_id])
            self.stdout.write(f"\n  replay: {public_url}{path}\n")

    def _table(self, rows: list[Row], *, is_short: bool) -> None:
        titles = Row("call", "verdict", "rule", "outcome", "masked", "")
        fields = ("call", "verdict", "rule", "outcome", "masked")
        widths = [max(len(getattr(row, field)) for row in [titles, *rows]) for field in fields]
        room = max(60, shutil.get_terminal_size((120, 24)).columns)
        for row in [titles, *rows]:
            cells = (getattr(row, field).ljust(width) for field, width in zip(fields, widths, strict=True))
            self.stdout.write("  " + "  ".join(cells).rstrip())
            if row.saw and not is_short:
                self.stdout.write(textwrap.shorten(row.saw, room - 8, placeholder=" …").join(("      > ", "")))


def _taken(name: str, take: Callable[[], tuple[str, list[Seen]]]) -> tuple[int, str, list[Seen]]:
    """Take the tour; return the newest event before it, the revision that was spoken, and what was seen.

    A busy disk may hold up the record for so long that the gateway refuses and says to try again; so this does.

    Raises:
        CommandError: the gateway does not answer.
    """
    left = TRIES
    while True:
        left -= 1
        newest = Event.objects.order_by("-id").values_list("id", flat=True).first() or 0
        try:
            return newest, *take()
        except BaseExceptionGroup as group:
            reason = str(_first(group))
            if not left or TRY_AGAIN not in reason:
                raise CommandError(f"The gateway did not answer {name}: {reason}") from group
        time.sleep(PAUSE_SECONDS)


def _tour(url: str, token: str, mode: str) -> tuple[str, list[Seen]]:
    """Take the tour; nobody approves meanwhile."""
    from gateway_project.demo.tour import take

    return asyncio.run(take(url, token, mode=mode))


def _decided(url: str, running: Running) -> tuple[str, list[Seen]]:
    """Make calls that are held while the demo's approver decides about them through the REST API."""
    from gateway_project.demo.approver import Decision, badge, decide, give_back
    from gateway_project.demo.tour import DECIDED, take

    approved, denied = (step.arguments["order_id"] for step in DECIDED)
    decisions = {
        approved: Decision(True, "Ada sent it back."),
        denied: Decision(False, "The goods have not come back."),
    }
    try:
        token, plain = badge(issuer=running.issuer, now=timezone.now())
    except DomainError as error:
        raise CommandError(f"The demo's approver cannot decide: {error}") from error

    async def both() -> tuple[str, list[Seen]]:
        approver = asyncio.ensure_future(decide(f"{running.public_url}/api/v1/", plain, decisions))
        try:
            alice = demo_token("alice")
            return await take(url, alice, mode="auto", steps=DECIDED, wait_seconds=DECISION_SECONDS)
        finally:
            approver.cancel()
            await asyncio.gather(approver, return_exceptions=True)

    try:
        return asyncio.run(both())
    finally:
        give_back(token, now=timezone.now())


def _recorded(newest: int, subject: str, expected: int) -> tuple[list[CallView], list[UUID]]:
    """Return the calls and sessions of `subject` after the event `newest`, once every call has its outcome."""
    deadline = time.monotonic() + RECORD_SECONDS
    while True:
        events = Event.objects.filter(id__gt=newest, session__principal__subject=subject).order_by("id")
        rows = list(events.values_list("seq", "at", "call_id", "name", "body", "session_id"))
        calls = fold(Entry(*row[:5]) for row in rows)
        is_complete = len(calls) >= expected and not any(
            call.verdict == "allow" and call.state == OPEN for call in calls
        )
        if is_complete or time.monotonic() > deadline:
            return calls, list(dict.fromkeys(row[5] for row in rows))
        time.sleep(0.05)


def _take_out(calls: list[CallView], method: str, name: str) -> CallView | None:
    """Remove and return the first call of that method and name."""
    for position, call in enumerate(calls):
        if call.method == method and call.name == name:
            return calls.pop(position)
    return None


def _row(title: str, call: CallView | None, saw: str) -> Row:
    if call is None:
        return Row(title, "not recorded", "", "", "", saw)
    outcome = "not forwarded" if call.verdict != "allow" else call.state.replace("_", " ")
    return Row(title, call.verdict, call.rule, outcome, _counts(call.hits.items()), saw)


def _counts(hits: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(hits)) or "-"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the innermost first reason."""
    reason: BaseException = group
    while isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    return reason
