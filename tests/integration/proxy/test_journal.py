"""The journal against a real PostgreSQL that keeps cutting its connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from proxy.journal import Journal
from proxy.ports import RecordUnavailable
from sessions import chain
from tests.support.database import fresh_database, nothing_is_committed

LOCK_KEY = 4711


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.fixture
def instance(dsn: str) -> UUID:
    """Register a gateway process, as its start does."""
    identifier = UUID(bytes=os.urandom(16))
    with psycopg.connect(dsn, autocommit=True) as connection:
        # The session of the journal before may still be on its way out.
        connection.execute("SET statement_timeout = '10s'")
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        connection.execute("DELETE FROM gateway_sessions_gatewayinstance")
        connection.execute(
            "INSERT INTO gateway_sessions_gatewayinstance (id, lock_key, host, pid, process_started, started_at, "
            "heartbeat_at, open_from_seq, end_reason) VALUES (%s, %s, 'test', 1, '', now(), now(), 1, '')",
            [identifier, LOCK_KEY],
        )
        connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
    return identifier


@contextlib.asynccontextmanager
async def running(dsn: str, instance: UUID, **options: Any) -> AsyncIterator[Journal]:
    journal = Journal(dsn, instance.bytes, LOCK_KEY, **{"queue_events": 20_000, "batch_events": 50, **options})
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


def append(journal: Journal, number: int, **options: Any) -> asyncio.Future[None]:
    given = {"patience": None, **options}
    return journal.append(
        "test:event:appended", session=os.urandom(16), call=os.urandom(16), body=b'{"n":%d}' % number, **given
    )


def stored_of(dsn: str, instance: UUID) -> list[chain.Stored]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT seq, at, session_id, call_id, name, body, payload, prev_hash, hash FROM gateway_sessions_event "
            "WHERE instance_id = %s ORDER BY seq",
            [instance],
        ).fetchall()
    return [
        chain.Stored(
            chain.Entry(
                seq, round(at.timestamp() * 1_000_000), session.bytes, call.bytes, name, body.encode(), payload
            ),
            prev_hash,
            own_hash,
        )
        for seq, at, session, call, name, body, payload, prev_hash, own_hash in rows
    ]


def cut(dsn: str, which: str = "true") -> None:
    """Cut the connections to the database, or those of `which`."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
        )


async def test_the_last_event_of_a_lone_call_is_sent_at_once_and_others_wait_for_company(
    dsn: str, instance: UUID
) -> None:
    async with running(dsn, instance) as journal:
        together = [append(journal, 1), append(journal, 2), append(journal, 3, is_last=True)]
        await asyncio.wait_for(asyncio.gather(*together), 5)
        assert (journal.statistics.events, journal.statistics.batches) == (3, 1)
        alone = append(journal, 4, is_last=True)
        late = append(journal, 5)
        await asyncio.wait_for(asyncio.gather(alone, late), 5)
        assert (journal.statistics.events, journal.statistics.batches) == (5, 3)


async def test_whatever_is_cut_every_event_is_written_once_in_order_and_the_chain_holds(
    dsn: str, instance: UUID
) -> None:
    async with running(dsn, instance) as journal:
        waiting: list[asyncio.Future[None]] = []
        for round_number in range(20):
            for number in range(100):
                waiting.append(append(journal, round_number * 100 + number))
                if number % 10 == 0:
                    await asyncio.sleep(0)
            await asyncio.to_thread(cut, dsn)
        await asyncio.wait_for(asyncio.gather(*waiting), 60)
        assert journal.statistics.reconnects > 0
    stored = stored_of(dsn, instance)
    assert [event.entry.body for event in stored] == [b'{"n":%d}' % number for number in range(2000)]
    assert isinstance(chain.verify(instance.bytes, stored), chain.Intact)


async def test_an_event_whose_caller_gave_up_in_the_queue_leaves_no_gap(dsn: str, instance: UUID) -> None:
    async with running(dsn, instance) as journal:
        await append(journal, 1)
        await journal._disconnect()
        impatient, patient = append(journal, 2, patience=0.1), append(journal, 3)
        with pytest.raises(RecordUnavailable) as gave_up:
            await asyncio.wait_for(impatient, 10)
        assert not gave_up.value.maybe_recorded
        journal._broken.set()
        await asyncio.wait_for(patient, 10)
    stored = stored_of(dsn, instance)
    assert [event.entry.body for event in stored] == [b'{"n":1}', b'{"n":3}']
    assert isinstance(chain.verify(instance.bytes, stored), chain.Intact)


async def test_an_intent_is_refused_at_once_while_nothing_can_be_written(dsn: str, instance: UUID) -> None:
    async with running(dsn, instance) as journal:
        await journal._disconnect()
        with pytest.raises(RecordUnavailable):
            append(journal, 1, opens=True)


async def test_a_full_queue_refuses_intents_and_still_takes_outcomes(dsn: str, instance: UUID) -> None:
    async with running(dsn, instance, queue_events=10) as journal:
        waiting = [append(journal, number) for number in range(10)]
        with pytest.raises(RecordUnavailable):
            append(journal, 10, opens=True)
        waiting.append(append(journal, 11, closes=True))
        await asyncio.wait_for(asyncio.gather(*waiting), 10)


async def test_a_process_whose_chain_another_one_ended_writes_no_more(dsn: str, instance: UUID) -> None:
    async with running(dsn, instance) as journal:
        await append(journal, 1)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE gateway_sessions_gatewayinstance SET ended_at = now() WHERE id = %s", [instance])
        await asyncio.to_thread(cut, dsn)
        lost = append(journal, 2, patience=20)
        with pytest.raises(RecordUnavailable):
            await asyncio.wait_for(lost, 10)
        assert journal.is_fenced
    assert len(stored_of(dsn, instance)) == 1


async def test_the_oldest_open_intent_is_known(dsn: str, instance: UUID) -> None:
    async with running(dsn, instance) as journal:
        first, second = os.urandom(16), os.urandom(16)
        for call in (first, second):
            await journal.append("i", session=chain.NOTHING, call=call, body=b"{}", patience=5, opens=True)
        assert journal.open_from_seq == 1
        await journal.append("o", session=chain.NOTHING, call=first, body=b"{}", patience=5, closes=True)
        assert journal.open_from_seq == 2
        await journal.append("o", session=chain.NOTHING, call=second, body=b"{}", patience=5, closes=True)
        assert journal.open_from_seq == 5


async def test_a_broken_connection_leaves_nothing_that_watches_its_socket(dsn: str, instance: UUID) -> None:
    """The next socket with that number would be taken for the old one by the loop, and never be heard (uvloop)."""
    async with running(dsn, instance) as journal:
        await append(journal, 1)
        journal._tasks[0].cancel()
        watched = journal._socket
        await asyncio.to_thread(cut, dsn)
        for _ in range(1000):
            if not journal.is_up:
                break
            await asyncio.sleep(0.01)
        assert not journal.is_up
        assert asyncio.get_running_loop().remove_reader(watched) is False


async def test_who_waits_for_the_hand_over_goes_on_before_the_commit_and_who_waits_for_the_commit_does_not(
    dsn: str, instance: UUID
) -> None:
    async with running(dsn, instance) as journal:
        with nothing_is_committed(dsn):
            told, durable = append(journal, 1, is_handed_over=True), append(journal, 2)
            await asyncio.wait_for(told, 5)
            # The next one cannot be sent while a statement is in flight, so nobody runs ahead of the record.
            later = append(journal, 3, is_handed_over=True)
            finished, _ = await asyncio.wait([durable, later], timeout=0.2)
            assert not finished
        await asyncio.wait_for(asyncio.gather(durable, later), 5)
    assert [event.entry.body for event in stored_of(dsn, instance)] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


async def test_what_was_handed_over_on_a_connection_that_broke_is_written_once_all_the_same(
    dsn: str, instance: UUID
) -> None:
    async with running(dsn, instance) as journal:
        with nothing_is_committed(dsn):
            await asyncio.wait_for(append(journal, 1, is_handed_over=True), 5)
            await asyncio.to_thread(cut, dsn, "wait_event_type = 'Lock'")
        await asyncio.wait_for(append(journal, 2), 20)
        assert journal.statistics.reconnects == 1
    stored = stored_of(dsn, instance)
    assert [event.entry.body for event in stored] == [b'{"n":1}', b'{"n":2}']
    assert isinstance(chain.verify(instance.bytes, stored), chain.Intact)


async def test_nothing_counts_as_handed_over_while_there_is_no_connection(dsn: str, instance: UUID) -> None:
    async with running(dsn, instance) as journal:
        await journal._disconnect()
        told = append(journal, 1, is_handed_over=True, patience=0.2)
        with pytest.raises(RecordUnavailable):
            await asyncio.wait_for(told, 5)
    assert stored_of(dsn, instance) == []
