"""Finished sessions become sealed files, whatever happens on the way, and are read from them when they have left."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.vault import KeyRing
from sessions import chain, recordings, storage
from sessions.calls import Entry, fold
from sessions.models import Event, Recording, RetentionRule, Session
from sessions.recording import Sound, Unsound
from sessions.recordings import RecordingFailed, RecordingUnreadable
from sessions.storage import StorageFailed
from tests.support.record import Record
from tests.support.s3 import ACCESS_KEY, REGION, SECRET_KEY, s3_server

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.WARDGATE_RECORDING_FOLDER = str(tmp_path / "recordings")
    settings.WARDGATE_RECORDING_STORAGE = "local"
    settings.WARDGATE_COMPACT_AFTER_SECONDS = 300
    return tmp_path / "recordings"


def ended(record: Record) -> Session:
    record.session.ended_at = record.now
    record.session.save()
    return record.session


def finished(*, calls: int = 5, slug: str = "orders") -> Session:
    record = Record(slug=slug)
    for _ in range(calls):
        record.call(answers=({"jsonrpc": "2.0", "id": 1, "result": {"text": "x" * 3000}},))
    return ended(record)


def entries(session: Session) -> list[Entry]:
    """Return the events of a session as they are in the database."""
    return [
        Entry(
            event.seq,
            event.at,
            event.call_id,
            event.name,
            event.body,
            None if event.payload is None else bytes(event.payload),
            bytes(event.hash),
            event.pk,
            len(event.payload or b""),
        )
        for event in Event.objects.filter(session=session).order_by("id")
    ]


def leave(session: Session) -> None:
    """Take the events of a session out of the database, as the release of their months does."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("DELETE FROM gateway_sessions_event WHERE session_id = %s", [session.pk])
        cursor.execute("SET LOCAL session_replication_role = origin")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def compact(session: Session) -> Recording:
    row = recordings.session_compact(session_id=session.pk, now=NOW)
    assert row is not None
    return row


def test_a_session_that_has_ended_becomes_one_sealed_file(folder):
    session = finished()
    assert list(recordings.sessions_due(now=NOW)) == [session]
    row = compact(session)
    assert (row.state, row.events, row.calls, row.suspect) == ("sealed", 10, 5, 10)
    assert [path.stat().st_size for path in files(folder)] == [row.size]
    assert row.months == {"2026-03": 10}
    assert isinstance(recordings.recording_verify(recording=row), Sound)
    assert list(recordings.sessions_due(now=NOW)) == []
    assert recordings.session_compact(session_id=session.pk, now=NOW) is None


def test_events_that_left_the_database_come_from_the_file_as_they_were():
    session = finished()
    before = entries(session)
    compact(session)
    assert list(recordings.recorded_of(session)) == []
    leave(session)
    assert list(recordings.recorded_of(session)) == before
    assert recordings.recorded_until(session) == before[-1].position
    without = list(recordings.recorded_of(session, payloads=False))
    assert [(entry.payload, entry.payload_bytes) for entry in without] == [
        (None, entry.payload_bytes) for entry in before
    ]
    third = before[4].call_id
    assert list(recordings.recorded_of(session, call_ids=[third])) == before[4:6]
    assert list(recordings.recorded_of(session, after=before[6].position)) == before[7:]
    assert len(list(recordings.recorded_of(session, names=["gateway:call:intent"]))) == 5
    assert [call.state for call in fold(recordings.recorded_of(session))] == ["completed"] * 5


def test_a_session_is_left_alone_while_it_is_open_or_has_just_ended():
    record = Record()
    record.call()
    assert recordings.session_compact(session_id=record.session.pk, now=NOW) is None
    session = ended(record)
    just = session.ended_at + timedelta(seconds=299)
    assert recordings.session_compact(session_id=session.pk, now=just) is None
    assert list(recordings.sessions_due(now=just)) == []
    assert Recording.objects.count() == 0


def test_events_that_come_late_make_a_second_part():
    record = Record()
    record.call(state="open")
    session = ended(record)
    compact(session)
    record.now += timedelta(hours=2)
    late = record.event("gateway:call:outcome_unknown", {"reason": "gateway_crash"}, call=uuid.uuid4())
    assert list(recordings.sessions_due(now=NOW)) == [session]
    row = compact(session)
    assert (row.part, row.events, row.first_event_id) == (2, 1, late.pk)
    before = entries(session)
    leave(session)
    assert list(recordings.recorded_of(session)) == before


def test_an_event_that_got_its_id_early_and_came_late_is_not_forgotten():
    session = finished(calls=3)
    row = compact(session)
    straggler = Event.objects.get(pk=row.first_event_id)
    straggler.pk, straggler.seq = row.first_event_id - 1, 99
    straggler.save(force_insert=True)
    late = recordings.session_compact(session_id=session.pk, now=NOW)
    assert late is not None
    assert (late.part, late.events, late.first_event_id) == (2, 1, straggler.pk)


def test_events_without_a_session_are_sealed_by_month():
    record = Record()
    for _ in range(3):
        record._seq += 1
        Event.objects.create(
            instance=record.instance,
            seq=record._seq,
            at=record.now,
            name="gateway:request:refused",
            body="{}",
            prev_hash=bytes(32),
            hash=bytes(32),
        )
    month = date(2026, 3, 1)
    with pytest.raises(ValueError, match="not over"):
        recordings.month_compact(month=month, now=NOW)
    later = datetime(2026, 4, 2, tzinfo=UTC)
    assert recordings.months_due(now=NOW) == []
    assert recordings.months_due(now=later) == [month]
    row = recordings.month_compact(month=month, now=later)
    assert row is not None
    assert (row.events, row.session, row.month) == (3, None, month)
    assert recordings.months_due(now=later) == []
    assert recordings.month_compact(month=month, now=later) is None


def test_a_chain_that_was_broken_before_is_sealed_as_it_is_and_counted():
    record = Record()
    prev_hash = chain.GENESIS
    for seq in range(1, 6):
        entry = chain.Entry(seq, 1_772_366_400_000_000, record.session.pk.bytes, chain.NOTHING, "a:b:c", b"{}", None)
        own = chain.link(record.instance.pk.bytes, prev_hash, entry)
        Event.objects.create(
            instance=record.instance,
            seq=seq,
            at=recordings.moment_of(entry.at_us),
            session=record.session,
            name="a:b:c",
            body="{}" if seq != 4 else '{"changed":1}',
            prev_hash=prev_hash,
            hash=own,
        )
        prev_hash = own
    row = compact(ended(record))
    assert row.suspect == 1
    verdict = recordings.recording_verify(recording=row)
    assert isinstance(verdict, Sound)
    assert verdict.suspect == (3,)
    assert row.chains == {str(record.instance.pk): {"first": 1, "last": 5, "events": 5, "hash": prev_hash.hex()}}


def test_an_encrypted_recording_is_read_with_the_vault_and_not_without(settings):
    session = finished()
    RetentionRule.objects.create(connection=session.connection, is_encrypted=True)
    before = entries(session)
    row = compact(session)
    leave(session)
    assert row.is_encrypted
    assert list(recordings.recorded_of(session)) == before
    settings.WARDGATE_MASTER_KEYS = "other:" + "QAV8a9ywfjRM36X1T4YTKDhiDVMKgdFkiz1XbXlsWoQ="
    assert KeyRing.parse(settings.WARDGATE_MASTER_KEYS).first_id == "other"
    with pytest.raises(RecordingUnreadable):
        list(recordings.recorded_of(session))


def test_the_rule_of_a_connection_goes_before_the_one_for_all():
    session = finished()
    assert recordings.rule_of(session.connection_id) is None
    everybody = RetentionRule.objects.create(days=30)
    assert recordings.rule_of(session.connection_id) == everybody
    own = RetentionRule.objects.create(connection=session.connection, days=7)
    assert recordings.rule_of(session.connection_id) == own


@pytest.mark.parametrize("step", ["take", "verify", "sign"])
def test_whatever_fails_leaves_no_file_and_the_next_run_succeeds(step, folder, monkeypatch):
    session = finished()

    def fail(*_: Any, **__: Any) -> Any:
        raise StorageFailed("no space left")

    with monkeypatch.context() as broken:
        target: Any = {
            "take": (storage.Local, "take"),
            "verify": (recordings, "recording_verify"),
            "sign": (recordings, "_signed"),
        }[step]
        broken.setattr(*target, fail)
        with pytest.raises(RecordingFailed):
            recordings.session_compact(session_id=session.pk, now=NOW)
    assert files(folder) == []
    assert Recording.objects.count() == 0
    assert compact(session).state == "sealed"


def test_what_is_read_back_otherwise_than_written_is_not_sealed(folder, monkeypatch):
    session = finished()

    def take(self: storage.Local, path: Path, name: str) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    with monkeypatch.context() as broken:
        broken.setattr(storage.Local, "take", take)
        with pytest.raises(RecordingFailed, match="read back"):
            recordings.session_compact(session_id=session.pk, now=NOW)
    assert files(folder) == []


def test_what_a_dead_run_left_is_cleared_away(folder):
    session = finished()
    dead = Recording.objects.create(session=session, part=1, storage="local", name="2026/03/20/dead.wgr")
    (folder / "2026/03/20").mkdir(parents=True)
    (folder / dead.name).write_bytes(b"half")
    (folder / ".writing").mkdir()
    (folder / ".writing" / f"{dead.pk.hex}.wgr").write_bytes(b"half")
    row = compact(session)
    assert files(folder) == [folder / row.name]
    assert list(Recording.objects.all()) == [row]


def test_a_file_that_is_another_sound_recording_is_not_taken_for_this_one(folder):
    mine, other = compact(finished()), compact(finished(slug="wiki"))
    (folder / mine.name).write_bytes((folder / other.name).read_bytes())
    verdict = recordings.recording_verify(recording=mine)
    assert isinstance(verdict, Unsound)
    assert verdict.code == "another_recording"


def test_a_missing_or_cut_file_is_said_to_be_unreadable(folder):
    session = finished()
    row = compact(session)
    leave(session)
    path = folder / row.name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordingUnreadable):
        list(recordings.recorded_of(session))
    path.unlink()
    with pytest.raises(RecordingUnreadable):
        list(recordings.recorded_of(session))
    verdict = recordings.recording_verify(recording=row)
    assert isinstance(verdict, Unsound)


def test_a_recording_belongs_to_the_gateway_alone(folder):
    row = compact(finished())
    assert (folder / row.name).stat().st_mode & 0o077 == 0
    assert (folder / row.name).parent.stat().st_mode & 0o077 == 0


def test_recordings_go_to_a_bucket_and_are_read_from_there(settings, folder):
    with s3_server() as server:
        settings.WARDGATE_RECORDING_STORAGE = "s3"
        settings.WARDGATE_RECORDING_S3_URL = server.url
        settings.WARDGATE_RECORDING_S3_BUCKET = "records"
        settings.WARDGATE_RECORDING_S3_PREFIX = "gateway"
        settings.WARDGATE_RECORDING_S3_REGION = REGION
        settings.WARDGATE_RECORDING_S3_ACCESS_KEY = ACCESS_KEY
        settings.WARDGATE_RECORDING_S3_SECRET_KEY = SECRET_KEY
        settings.WARDGATE_RECORDING_S3_NETWORKS = ["127.0.0.0/8"]
        session = finished()
        before = entries(session)
        row = compact(session)
        assert [len(content) for content in server.objects.values()] == [row.size]
        assert next(iter(server.objects)) == f"records/gateway/{row.name}"
        assert files(folder) == []
        leave(session)
        assert list(recordings.recorded_of(session)) == before
        server.requests.clear()
        assert list(recordings.recorded_of(session, call_ids=[before[4].call_id])) == before[4:6]
        assert len(server.requests) <= 4
        server.fail_next(500, 12)
        with pytest.raises(RecordingUnreadable):
            list(recordings.recorded_of(session))


def test_no_name_leads_out_of_the_folder(folder):
    for name in ("../outside.wgr", "/etc/passwd", "a/../../b", "", "a//b", "A.wgr"):
        with pytest.raises(StorageFailed):
            storage.Local(folder).source(name)


def test_an_old_master_key_can_go_when_everything_is_sealed_again(settings):
    session = finished()
    RetentionRule.objects.create(connection=session.connection, is_encrypted=True)
    before = entries(session)
    compact(session)
    leave(session)
    new = "next:QAV8a9ywfjRM36X1T4YTKDhiDVMKgdFkiz1XbXlsWoQ="
    settings.WARDGATE_MASTER_KEYS = f"{new},{settings.WARDGATE_MASTER_KEYS}"
    assert recordings.keys_seal_again() == (1, 0)
    assert recordings.keys_seal_again() == (0, 0)
    settings.WARDGATE_MASTER_KEYS = new
    assert list(recordings.recorded_of(session)) == before


def test_a_recording_that_is_being_written_meanwhile_opens_without_the_old_master_key(settings, monkeypatch):
    session = finished()
    RetentionRule.objects.create(connection=session.connection, is_encrypted=True)
    before = entries(session)
    new = "next:QAV8a9ywfjRM36X1T4YTKDhiDVMKgdFkiz1XbXlsWoQ="
    verify = recordings.recording_verify

    def while_all_is_sealed_again(**named: Any) -> Any:
        settings.WARDGATE_MASTER_KEYS = f"{new},{settings.WARDGATE_MASTER_KEYS}"
        assert recordings.keys_seal_again() == (1, 0)
        return verify(**named)

    monkeypatch.setattr(recordings, "recording_verify", while_all_is_sealed_again)
    assert compact(session).key_id == "next"
    leave(session)
    settings.WARDGATE_MASTER_KEYS = new
    assert list(recordings.recorded_of(session)) == before


def test_a_key_that_does_not_open_is_said_to_be_stuck(settings):
    session = finished()
    RetentionRule.objects.create(connection=session.connection, is_encrypted=True)
    compact(session)
    settings.WARDGATE_MASTER_KEYS = "next:QAV8a9ywfjRM36X1T4YTKDhiDVMKgdFkiz1XbXlsWoQ="
    assert recordings.keys_seal_again() == (0, 1)
    with pytest.raises(CommandError, match=r"1 keys of recordings, .*\. Keep every master key"):
        call_command("seal_again")
