"""Months of events: made ahead, and released only when they are covered and sealed, with a signed tombstone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from sessions import checkpoint_keys
from sessions.checkpoints import Due, chain_load, checkpoint_write_if_due
from sessions.exporting import Part, record_lines
from sessions.models import Event, EventRelease
from sessions.partitions import events_release, partitions, partitions_tend
from tests.support.chained import ChainWriter
from tests.support.database import let_django_empty_the_tables
from tests.support.verifying import first_problem, verified

pytestmark = pytest.mark.django_db

OCTOBER, NOVEMBER = datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
AT_ONCE = Due(events=1, seconds=0, idle_seconds=3600)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def writer(now: datetime) -> ChainWriter:
    """Write a chain that goes on from October to November 2025, the months with partitions of their own."""
    writer = ChainWriter(start=NOVEMBER - timedelta(microseconds=50_500))
    writer.append(100)
    partitions_tend(now=now)
    return writer


def checkpoint(now: datetime) -> None:
    assert checkpoint_write_if_due(chain=chain_load(), due=AT_ONCE, now=now) is not None


def export() -> list[str]:
    return list(record_lines(part=Part(), now=NOVEMBER))


def everything(begins: datetime, ends: datetime) -> bool:
    return True


def test_months_are_there_before_they_begin(now: datetime) -> None:
    partitions_tend(now=now)
    ends = max(partition.ends for partition in partitions())
    assert ends > now + timedelta(days=31)
    assert partitions_tend(now=now) == 0


def test_strays_get_the_month_that_they_belong_to(writer: ChainWriter) -> None:
    names = {partition.name for partition in partitions()}
    assert {"gateway_sessions_event_2025_10", "gateway_sessions_event_2025_11"} <= names
    assert Event.objects.filter(instance=writer.instance).count() == 100


def test_a_month_that_no_checkpoint_covers_stays(writer: ChainWriter, now: datetime) -> None:
    assert events_release(before=now, is_sealed=everything, now=now) == []
    assert Event.objects.filter(instance=writer.instance).count() == 100


def test_a_month_with_a_session_that_is_not_sealed_stays(writer: ChainWriter, now: datetime) -> None:
    checkpoint(now)
    asked: list[tuple[datetime, datetime]] = []

    def not_sealed(begins: datetime, ends: datetime) -> bool:
        asked.append((begins, ends))
        return False

    assert events_release(before=now, is_sealed=not_sealed, now=now) == []
    assert (OCTOBER, NOVEMBER) in asked
    assert not EventRelease.objects.exists()


def test_a_month_that_is_covered_and_sealed_leaves_with_a_tombstone(writer: ChainWriter, now: datetime) -> None:
    checkpoint(now)
    released = events_release(before=NOVEMBER, is_sealed=everything, now=now)
    assert [(found.partition.name, found.events) for found in released] == [("gateway_sessions_event_2025_10", 50)]
    assert Event.objects.filter(instance=writer.instance).count() == 50
    assert EventRelease.objects.get().events == 50
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('gateway_sessions_event_2025_10')")
        assert cursor.fetchone() == (None,)


def test_what_was_interrupted_after_the_tombstone_is_finished_by_the_next_run(
    writer: ChainWriter, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(now)
    monkeypatch.setattr("sessions.partitions._drop", lambda partition: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(RuntimeError):
        events_release(before=NOVEMBER, is_sealed=everything, now=now)
    monkeypatch.undo()
    assert [found.events for found in events_release(before=NOVEMBER, is_sealed=everything, now=now)] == [50]
    assert EventRelease.objects.count() == 1


def test_a_released_month_is_not_made_again(writer: ChainWriter, now: datetime) -> None:
    checkpoint(now)
    events_release(before=NOVEMBER, is_sealed=everything, now=now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT wardgate_event_partition_make('2025-10-01')")
        assert cursor.fetchone() == (False,)


@pytest.mark.django_db(transaction=True)
def test_a_record_without_its_released_months_holds_and_one_without_more_does_not(now: datetime) -> None:
    writer = ChainWriter(start=NOVEMBER - timedelta(microseconds=50_500))
    writer.append(100)
    partitions_tend(now=now)
    checkpoint(now)
    events_release(before=NOVEMBER, is_sealed=everything, now=now)
    let_django_empty_the_tables()
    writer.at = now
    writer.append(10)
    checkpoint(now + timedelta(minutes=1))
    lines = export()
    report = verified(lines)
    assert report.problems == []
    assert (report.events, report.releases) == (60, 1)
    kid = checkpoint_keys.present_kid(now=now)
    assert verified(lines, trusted=[kid]).holds

    without_tombstone = [line for line in lines if '"type" : "release"' not in line]
    assert first_problem(verified(without_tombstone))["kind"] == "release"
    changed = [line.replace("gateway_sessions_event_2025_10", "gateway_sessions_event_2025_09") for line in lines]
    assert first_problem(verified(changed))["kind"] == "release"
    without_more = [line for line in lines if '"seq" : 51,' not in line]
    assert first_problem(verified(without_more))["seq"] == 51
