"""What is over is deleted with a signed proof; what is held never is, whatever happens in which order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions import checkpoints, partitions, recordings, retention, selectors
from sessions.models import CallIndex, Event, LegalHold, Recording, RetentionRule, Session, Tombstone
from sessions.statements import signed_bytes, statement_hash
from sessions.storage import Local, StorageFailed
from tests.integration.sessions.test_recordings import compact, ended, files, finished, leave
from tests.support.chained import ChainWriter
from tests.support.record import START, Record

END = START + timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.WARDGATE_RECORDING_FOLDER = str(tmp_path / "recordings")
    settings.WARDGATE_RECORDING_STORAGE = "local"
    return tmp_path / "recordings"


def sealed_and_left(**values: Any) -> Session:
    session = finished(**values)
    compact(session)
    leave(session)
    return session


def rule(days: int | None = 30, **values: Any) -> RetentionRule:
    return retention.rule_save(days=days, now=START, **values)


def apply(days: float) -> retention.Applied:
    """Apply retention so many days after the session ended."""
    return retention.retention_apply(now=START + timedelta(days=days, hours=1))


def test_a_recording_is_deleted_when_its_days_are_over_and_not_before(folder):
    session = sealed_and_left()
    rule()
    assert apply(29).deleted == 0
    assert len(files(folder)) == 1
    assert apply(31) == retention.Applied(deleted=1, files=1, waiting=0)
    assert files(folder) == []
    row = session.recordings.get()
    assert (row.state, row.tombstone.number) == ("deleted", 1)
    assert list(selectors.events_of(session)) == []
    assert apply(32).deleted == 0


def test_without_a_rule_and_without_days_nothing_is_deleted(folder):
    sealed_and_left()
    assert apply(10_000).deleted == 0
    rule(days=None)
    assert apply(10_000).deleted == 0
    assert len(files(folder)) == 1


def test_the_rule_of_a_connection_replaces_the_one_for_all():
    orders, wiki = sealed_and_left(), sealed_and_left(slug="wiki")
    rule(days=10)
    rule(days=100, connection=wiki.connection)
    assert apply(50).deleted == 1
    assert orders.recordings.get().state == "deleted"
    assert wiki.recordings.get().state == "sealed"


def test_events_that_are_still_in_the_database_keep_their_recording():
    session = finished()
    compact(session)
    rule()
    assert apply(31).deleted == 0
    assert session.recordings.get().state == "sealed"


def test_a_tombstone_says_what_is_gone_and_is_signed_and_chained():
    first, second = sealed_and_left(), sealed_and_left(slug="wiki")
    rule()
    apply(31)
    stones = list(Tombstone.objects.order_by("number"))
    assert [stone.number for stone in stones] == [1, 2]
    assert {stone.session_id for stone in stones} == {first.pk, second.pk}
    previous = bytes(32)
    for stone in stones:
        body = json.loads(stone.body)
        row = Recording.objects.get(tombstone=stone)
        assert body["prev"] == previous.hex()
        assert (body["events"], body["rule"]) == (10, "30 days after the end (the rule for all)")
        assert body["recordings"][0]["content_sha256"] == row.content_sha256
        assert body["recordings"][0]["chains"][0][1:4] == [1, 10, 10]
        key = Ed25519PublicKey.from_public_bytes(recordings.public_keys()[stone.kid])
        key.verify(bytes(stone.signature), signed_bytes("tombstone", stone.body.encode()))
        assert bytes(stone.hash) == statement_hash("tombstone", stone.body.encode())
        previous = bytes(stone.hash)


def test_nobody_changes_or_deletes_a_tombstone():
    sealed_and_left()
    rule()
    apply(31)
    for attempt in (
        lambda: Tombstone.objects.update(events=0),
        lambda: Tombstone.objects.all()._raw_delete("default"),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            attempt()


def test_the_key_of_an_encrypted_recording_is_gone_with_its_tombstone(monkeypatch, folder):
    session = finished()
    rule(days=30, connection=session.connection, is_encrypted=True)
    compact(session)
    leave(session)
    with monkeypatch.context() as away:
        away.setattr(Local, "delete", _fail)
        assert apply(31) == retention.Applied(deleted=1, files=0, waiting=1)
    row = session.recordings.get()
    assert (row.state, bytes(row.wrapped_key), bytes(row.ciphertext)) == ("deleting", b"", b"")
    assert list(selectors.events_of(session)) == []
    assert apply(31) == retention.Applied(deleted=0, files=1, waiting=0)
    assert files(folder) == []
    assert session.recordings.get().state == "deleted"


def test_what_searches_knew_of_a_session_goes_with_it():
    session = sealed_and_left()
    CallIndex.objects.create(call_id=session.pk, session=session, at=START)
    rule()
    apply(31)
    assert not CallIndex.objects.filter(session=session).exists()


@pytest.mark.parametrize("kind", ["session", "principal", "connection"])
def test_a_hold_keeps_what_it_names_until_it_is_lifted_or_ends(kind):
    session = sealed_and_left()
    rule()
    target = session if kind == "session" else getattr(session, kind)
    hold = retention.hold_place(kind=kind, **{kind: target}, reason="Case 7", now=END)
    assert apply(31).deleted == 0
    retention.hold_lift(hold_id=hold.pk, now=END + timedelta(days=40))
    retention.hold_place(
        kind=kind, **{kind: target}, reason="Case 8", ends_at=START + timedelta(days=50), now=START + timedelta(days=41)
    )
    assert apply(49).deleted == 0
    assert apply(51).deleted == 1


def test_a_hold_of_somebody_else_keeps_nothing():
    sealed_and_left()
    other = Record(slug="wiki", subject="bob")
    rule()
    retention.hold_place(kind="principal", principal=other.principal, reason="Case 7", now=END)
    retention.hold_place(kind="connection", connection=other.connection, reason="Case 7", now=END)
    assert apply(31).deleted == 1


def test_a_hold_names_one_target_a_reason_and_an_end_to_come():
    session = finished()
    with pytest.raises(ValidationError) as refused:
        retention.hold_place(
            kind="session", principal=session.principal, reason=" ", ends_at=START, now=START + timedelta(days=1)
        )
    assert set(refused.value.error_dict) == {"session", "principal", "reason", "ends_at"}


def test_there_is_one_rule_for_each_connection_and_one_for_all():
    session = finished()
    first = rule(days=5, connection=session.connection)
    assert rule(days=6, connection=session.connection).pk == first.pk
    everybody = rule(days=7)
    with pytest.raises(ValidationError):
        retention.rule_save(rule_id=everybody.pk, connection=session.connection, days=7, now=START)
    with pytest.raises(ValidationError):
        rule(days=0)


KINDS = ["session", "principal", "connection"]
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(
            st.just("hold"), st.sampled_from(["session", "principal", "connection"]), st.none() | st.integers(1, 60)
        ),
        st.tuples(st.just("lift"), st.integers(0, 5)),
        st.tuples(st.just("rule"), st.none() | st.integers(1, 60), st.booleans()),
        st.tuples(st.just("apply")),
    ),
    max_size=14,
)


@given(moves=MOVES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_under_hold_is_ever_deleted(moves: list[tuple[Any, ...]], folder: Path) -> None:
    """Whatever is placed, lifted, ruled and waited for in whatever order; an oracle of dates says what may go."""
    with transaction.atomic():
        held = sealed_and_left()
        other = sealed_and_left(slug="wiki")
        now = END
        until: list[datetime | None] = []
        lifted: set[int] = set()
        placed: list[LegalHold] = []
        for move in moves:
            match move:
                case ("wait", days):
                    now += timedelta(days=days)
                case ("hold", kind, days):
                    end = None if days is None else now + timedelta(days=days)
                    target = held if kind == "session" else getattr(held, kind)
                    placed.append(retention.hold_place(kind=kind, **{kind: target}, reason="x", ends_at=end, now=now))
                    until.append(end)
                case ("lift", number) if number < len(placed):
                    retention.hold_lift(hold_id=placed[number].pk, now=now)
                    lifted.add(number)
                case ("rule", days, is_own):
                    retention.rule_save(connection=held.connection if is_own else None, days=days, now=now)
                case ("apply",):
                    before = held.recordings.get().state
                    retention.retention_apply(now=now)
                    is_held = any(
                        number not in lifted and (end is None or end > now) for number, end in enumerate(until)
                    )
                    if is_held:
                        assert held.recordings.get().state == before
        assert (held.recordings.get().state == "sealed") == (folder / held.recordings.get().name).exists()
        assert other.recordings.count() == 1
        transaction.set_rollback(True)


def _fail(*_: Any) -> None:
    raise StorageFailed("away")


def _in_thread(work: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_a_hold_that_is_being_placed_stops_a_deletion_that_comes_meanwhile():
    session = finished()
    compact(session)
    with transaction.atomic():
        leave(session)
    rule()
    results: list[retention.Applied] = []
    with transaction.atomic():
        retention.hold_place(kind="session", session=session, reason="Case 7", now=END)
        thread = _in_thread(lambda: results.append(apply(31)))
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(20)
    assert results[0].deleted == 0
    assert session.recordings.get().state == "sealed"


class TestRelease:
    """Months leave the database when every event of them can be read and proved elsewhere."""

    now = datetime(2026, 6, 1, tzinfo=UTC)

    def is_sealed(self) -> bool:
        return retention.month_is_sealed(
            begins=datetime(2026, 3, 1, tzinfo=UTC), ends=datetime(2026, 4, 1, tzinfo=UTC), now=self.now
        )

    def test_a_month_is_sealed_when_all_its_sessions_are_and_what_can_be_is_sealed_now(self):
        first, second = finished(), finished(slug="wiki")
        compact(first)
        assert self.is_sealed()
        assert second.recordings.get().state == "sealed"

    def test_an_open_session_keeps_its_month(self):
        compact(finished())
        Record(slug="wiki").call()
        assert not self.is_sealed()

    def test_a_recording_that_cannot_be_read_back_keeps_its_month(self, folder):
        row = compact(finished())
        assert self.is_sealed()
        (folder / row.name).unlink()
        assert not self.is_sealed()

    def test_events_without_a_session_are_sealed_too(self):
        record = Record()
        record.call()
        ended(record)
        Event.objects.create(
            instance=record.instance,
            seq=99,
            at=START,
            name="gateway:request:refused",
            body="{}",
            prev_hash=bytes(32),
            hash=bytes(32),
        )
        assert self.is_sealed()
        assert Recording.objects.get(session=None).events == 1

    def test_an_event_that_came_after_the_recording_keeps_the_month_until_it_is_sealed(self):
        record = Record()
        record.call()
        session = ended(record)
        compact(session)
        record.event("gateway:call:outcome_unknown", {})
        assert self.is_sealed()
        assert session.recordings.count() == 2

    def test_a_whole_month_leaves_and_is_read_from_its_recordings(self, settings):
        """With real partitions, checkpoints and the signed release of the month."""
        record = Record()
        writer = ChainWriter(start=START)
        writer.session = record.session.pk
        writer.append(20)
        record.now = writer.at
        session = ended(record)
        before = list(selectors.events_of(session))
        partitions.partitions_tend(now=timezone.now())
        checkpoints.checkpoint_write_if_due(
            chain=checkpoints.chain_load(), due=checkpoints.Due(events=1, seconds=1, idle_seconds=1), now=self.now
        )
        settings.WARDGATE_EVENT_DAYS = 30
        assert sum(month.events for month in retention.months_release(now=self.now)) == 20
        assert not Event.objects.filter(session=session).exists()
        assert list(selectors.events_of(session)) == before
        rule()
        assert apply(100).deleted == 1
