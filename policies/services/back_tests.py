"""Back-tests: policy that is not in force, run against the recorded calls of some days.

A back-test is a row. A worker takes it with a lease that it renews each time it writes its progress; one that stops
writing has lost it, and the next one goes on where it stopped. Policy that looks at what callers did before cannot be
taken up in the middle: it begins anew, with the same result.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from accounts.exceptions import DomainError
from accounts.models import User
from accounts.saving import Refusals
from connections.models import Connection
from policies import documents
from policies.documents import DocumentRefused
from policies.models import BackTest, MaskingPattern, PolicyDraft, PolicyVersion
from policies.reading import document_now
from policies.rehearsal import CaseRefused, Rehearsal
from policies.replaying import OUTSIDE_POLICY, HistoryBounds, Judged, Replayer
from policies.tally import Change, Example, Tally, shortened
from sessions import recorded
from sessions.recorded import Answered, Decided, Unreadable

from .checking import document_rehearsal

MAX_DAYS: Final = 366
MAX_OPEN: Final = 20
"""Most back-tests that wait or run."""
LEASE_SECONDS: Final = 60
"""A worker that has not written for this long has lost its back-test."""
WRITE_SECONDS: Final = 0.5
_UNREADABLE: Final = "event_unreadable"
_OPEN_STATES: Final = (BackTest.State.WAITING, BackTest.State.RUNNING)


class BackTestEnded(DomainError):
    """There is nothing left to cancel."""

    code = "back_test_ended"


class _Taken(Exception):
    """The back-test was cancelled, deleted, or taken over by another worker."""


@transaction.atomic
def back_test_start(
    *,
    draft: PolicyDraft | None = None,
    version_number: int | None = None,
    document: Mapping[str, Any] | None = None,
    since: datetime,
    until: datetime | None = None,
    author: User | None = None,
    now: datetime,
) -> BackTest:
    """Ask for a back-test of a draft, of an earlier version or of a document; without any, of policy as it is.

    Args:
        draft: the draft; its document is copied, so that later changes of it do not matter.
        version_number: the version, if it is no draft.
        document: the document, if it is neither.
        since: the first call's time, inclusive.
        until: the last call's time, exclusive; now, if it is not given.
        author: who asks.
        now: the present.

    Raises:
        ValidationError: by field, what cannot be tested.
    """
    refusals = Refusals()
    until = until or now
    named = [value for value in (draft, version_number, document) if value is not None]
    if len(named) > 1:
        refusals.add("draft", "several_sources", "Name a draft, a version or a document, and only one of them.")
    if since >= until:
        refusals.add("since", "nothing_between", "The time must begin before it ends.")
    if until - since > timedelta(days=MAX_DAYS):
        refusals.add("since", "too_long", f"Test at most {MAX_DAYS} days at once.")
    if BackTest.objects.filter(state__in=_OPEN_STATES).count() >= MAX_OPEN:
        refusals.add("draft", "too_many", "Too many back-tests wait already. Cancel one, or wait.")
    title, found = _subject(draft, version_number, document, refusals)
    test = BackTest(
        title=title[:150],
        draft=draft,
        version_number=version_number,
        document=found,
        since=since,
        until=until,
        author=author,
        created_at=now,
    )
    refusals.save(test)
    return test


def _subject(
    draft: PolicyDraft | None, version_number: int | None, document: Mapping[str, Any] | None, refusals: Refusals
) -> tuple[str, dict[str, Any]]:
    if draft is not None:
        return draft.name, dict(draft.document)
    if version_number is not None:
        version = PolicyVersion.objects.filter(pk=version_number).first()
        if version is None:
            refusals.add("version_number", "no_such_version", "There is no such version.")
            return "", {}
        return f"Version {version_number}", dict(version.document)
    if document is None:
        return "Policy in force", document_now()
    try:
        return "A document", documents.canonical(document)
    except DocumentRefused as error:
        refusals.add("document", "document_refused", f"{error}.")
        return "", {}


@transaction.atomic
def back_test_cancel(*, back_test_id: UUID, now: datetime) -> BackTest:
    """Stop a back-test; what it has found so far stays.

    Raises:
        BackTest.DoesNotExist: there is no such back-test.
        BackTestEnded: it has ended already.
    """
    test = BackTest.objects.select_for_update().get(pk=back_test_id)
    if test.state not in _OPEN_STATES:
        raise BackTestEnded("This back-test has ended already.")
    test.state, test.ended_at, test.lease = BackTest.State.CANCELLED, now, None
    test.save(update_fields=["state", "ended_at", "lease"])
    return test


@transaction.atomic
def back_test_delete(*, back_test_id: UUID) -> None:
    """Delete a back-test and its result; a worker that is at it stops.

    Raises:
        BackTest.DoesNotExist: there is no such back-test.
    """
    BackTest.objects.get(pk=back_test_id).delete()


def back_tests_left(*, now: datetime) -> list[UUID]:
    """Return the back-tests that nobody works on: those that wait, and those whose worker writes no more."""
    lost = Q(state=BackTest.State.RUNNING, beat_at__lt=now - timedelta(seconds=LEASE_SECONDS))
    return list(
        BackTest.objects.filter(Q(state=BackTest.State.WAITING) | lost)
        .order_by("created_at")
        .values_list("pk", flat=True)
    )


def back_test_run(*, back_test_id: UUID, now: datetime) -> bool:
    """Run a back-test that nobody else runs, or go on with one that was left; False when there is none to run.

    It ends in a state of the row, whatever happens: done, failed with a sentence, or as it was found cancelled.
    """
    test = _taken(back_test_id, now)
    if test is None:
        return False
    try:
        _Run(test).run()
    except _Taken:
        return True
    except (DocumentRefused, CaseRefused) as error:
        _end(test, BackTest.State.FAILED, failure=f"This policy cannot be asked: {error}")
    except ValidationError as error:
        _end(test, BackTest.State.FAILED, failure=f"This policy cannot be asked: {' '.join(error.messages)}")
    except Exception:
        _end(test, BackTest.State.FAILED, failure="The back-test met a defect; the log of the worker has it.")
        raise
    return True


def _taken(back_test_id: UUID, now: datetime) -> BackTest | None:
    """Take the lease of a back-test; None when another worker has it, or it has ended."""
    lost = Q(state=BackTest.State.RUNNING, beat_at__lt=now - timedelta(seconds=LEASE_SECONDS))
    lease = uuid.uuid4()
    taken = BackTest.objects.filter(Q(state=BackTest.State.WAITING) | lost, pk=back_test_id).update(
        state=BackTest.State.RUNNING, lease=lease, beat_at=now
    )
    return BackTest.objects.select_related("draft").get(pk=back_test_id, lease=lease) if taken else None


def _end(test: BackTest, state: str, *, failure: str = "", **values: Any) -> None:
    ended = BackTest.objects.filter(pk=test.pk, lease=test.lease, state=BackTest.State.RUNNING).update(
        state=state, failure=failure[:255], ended_at=_now(), lease=None, **values
    )
    if not ended and state == BackTest.State.DONE:
        raise _Taken


def _now() -> datetime:
    # The end of a long run is not the moment at which its caller began it.
    return datetime.now(UTC)


class _Run:
    """One worker's turn at one back-test."""

    def __init__(self, test: BackTest) -> None:
        self._test = test
        self._since, self._until = test.since.timestamp(), test.until.timestamp()
        self._tally = Tally.of(
            calls=test.calls_done,
            differences=test.differences_total,
            untold=test.not_replayable,
            rows=test.differences,
            summary=test.summary,
        )
        self._written_at = time.monotonic()

    def run(self) -> None:
        """Walk through the record, judge its calls, and write what is found.

        Raises:
            DocumentRefused, CaseRefused, ValidationError: the policy cannot be asked.
            _Taken: somebody else has the back-test now, or nobody should.
        """
        test = self._test
        replayer = _replayer(document_rehearsal(document=test.document, now=test.created_at))
        if replayer.needs_history:
            self._tally, test.position = Tally(), 0
        start = recorded.event_id_at(test.since)
        last = min(recorded.last_event_id(), recorded.event_id_at(test.until + timedelta(seconds=120)))
        total = recorded.count_decided(first=start, last=last, since=test.since, until=test.until)
        self._write(test.position, calls_total=total)
        first = test.position + 1 if test.position else start
        since = test.since
        if replayer.needs_history:
            since -= timedelta(seconds=settings.WARDGATE_HISTORY_SECONDS)
            first = recorded.event_id_at(since)
        walk = recorded.Walk(
            first=first,
            last=last,
            since=since,
            with_requests=replayer.needs_requests,
            with_outcomes=replayer.needs_history,
        )
        for batch in walk.batches():
            for found in batch:
                self._take(found, replayer)
            self._progress(batch[-1].event_id if batch else test.position)
        counts = self._columns()
        _end(test, BackTest.State.DONE, **{**counts, "calls_total": max(total, self._tally.calls)})

    def _take(self, found: Decided | Answered | Unreadable, replayer: Replayer) -> None:
        if isinstance(found, Answered):
            replayer.answered(found)
        elif self._since <= found.at < self._until:
            if isinstance(found, Unreadable):
                self._tally.cannot_tell(_UNREADABLE)
            else:
                self._compare(found, replayer.judge(found))
        elif isinstance(found, Decided) and found.at < self._since:
            replayer.prime(found)

    def _compare(self, call: Decided, judged: Judged) -> None:
        tally = self._tally
        for seen in judged.observed:
            tally.observes(seen.rule, seen.effect.value)
        if call.rule in OUTSIDE_POLICY and call.verdict == "deny":
            tally.is_outside()
        elif judged.why:
            tally.cannot_tell(judged.why)
        elif judged.effect == call.verdict:
            tally.agrees(judged.effect, is_by_another_rule=judged.rule != call.rule)
        else:
            tally.differs(
                Change(
                    before=call.verdict,
                    before_rule=call.rule,
                    after=judged.effect,
                    after_rule=judged.rule,
                    connection=call.connection,
                    method=call.method,
                    name=shortened(call.name or ""),
                    issuer=call.caller.issuer,
                    subject=call.caller.subject,
                ),
                Example(str(call.session_id), str(call.call_id), call.at),
            )

    def _progress(self, position: int) -> None:
        if time.monotonic() - self._written_at >= WRITE_SECONDS:
            self._write(position, **self._columns())

    def _columns(self) -> dict[str, Any]:
        tally = self._tally
        return {
            "calls_done": tally.calls,
            "differences_total": tally.differences,
            "differences": tally.rows(),
            "not_replayable": tally.untold,
            "summary": tally.summary(),
        }

    def _write(self, position: int, **columns: Any) -> None:
        """Write how far the back-test is.

        Raises:
            _Taken: it is no longer this worker's.
        """
        test = self._test
        mine = BackTest.objects.filter(pk=test.pk, lease=test.lease, state=BackTest.State.RUNNING)
        if not mine.update(position=position, beat_at=_now(), **columns):
            raise _Taken
        self._written_at = time.monotonic()


def _replayer(rehearsal: Rehearsal) -> Replayer:
    patterns = MaskingPattern.objects.values_list("name", "replacement")
    return Replayer(
        rehearsal,
        taints={slug: tuple(taints) for slug, taints in Connection.objects.values_list("slug", "taints")},
        replacements=dict(patterns),
        bounds=HistoryBounds(settings.WARDGATE_HISTORY_SECONDS, settings.WARDGATE_HISTORY_CALLS),
    )
