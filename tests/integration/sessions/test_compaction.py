"""What the task and the command do, and what is left when they are killed at any step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from sessions import compaction, recordings, retention, selectors
from sessions.models import Event, Recording, Session
from sessions.recording import Sound, Writer
from sessions.storage import Local, StorageFailed
from sessions.tasks import apply_retention, compact_recordings
from tests.integration.sessions.test_recordings import NOW, entries, files, finished, leave
from tests.support.record import START


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.WARDGATE_RECORDING_FOLDER = str(tmp_path / "recordings")
    settings.WARDGATE_RECORDING_STORAGE = "local"
    return tmp_path / "recordings"


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], Any], *, at: tuple[Any, str], after: int = 0) -> None:
    """Do `work` in a process of its own that is killed at the call of `at`, having been there `after` times."""
    # An inherited connection is the parent's: it must be gone before there are two of us.
    connection.close()
    child = os.fork()
    if child == 0:
        target, name = at
        original, left = getattr(target, name), [after]

        def step(*args: Any, **kwargs: Any) -> Any:
            if not left[0]:
                die()
            left[0] -= 1
            return original(*args, **kwargs)

        setattr(target, name, step)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the step was not reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


STEPS: dict[str, tuple[Any, str, int]] = {
    "before the row": (recordings, "_begun", 0),
    "after the row": (recordings, "_finish", 0),
    "while it is written": (Writer, "add", 7),
    "before it is signed": (recordings, "_signed", 0),
    "before it is moved": (Local, "take", 0),
    "after it was moved": (recordings, "_sealed", 0),
    "after it was proved": (recordings, "_is_writing", 0),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_killed_loses_nothing_and_the_next_one_seals(step, folder):
    session = finished()
    before = entries(session)
    target, name, after = STEPS[step]
    killed(lambda: compaction.compact_all(now=NOW, seconds=60), at=(target, name), after=after)
    assert not Recording.objects.filter(state=Recording.State.SEALED).exists()
    assert entries(session) == before
    made = compaction.compact_all(now=NOW, seconds=60)
    assert (made.sealed, made.failed) == (1, 0)
    row = Recording.objects.get()
    assert files(folder) == [folder / row.name]
    assert isinstance(recordings.recording_verify(recording=row), Sound)


DELETING: dict[str, tuple[Any, str]] = {
    "before the tombstone": (retention, "_tombstone"),
    "after the tombstone": (retention, "files_delete"),
    "before the file goes": (Local, "delete"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", DELETING)
def test_a_deletion_that_is_killed_is_finished_by_the_next_run(step, folder):
    session = finished()
    compaction.compact_all(now=NOW, seconds=60)
    with transaction.atomic():
        leave(session)
    retention.rule_save(days=1, now=START)
    later = START + timedelta(days=40)
    killed(lambda: retention.retention_apply(now=later), at=DELETING[step])
    row = session.recordings.get()
    assert (row.tombstone is None) == (row.state == "sealed") == (step == "before the tombstone")
    assert len(files(folder)) == 1
    retention.retention_apply(now=later)
    assert files(folder) == []
    row.refresh_from_db()
    assert (row.state, row.tombstone.number) == ("deleted", 1)


@pytest.mark.django_db
def test_the_task_seals_everything_that_is_due_and_a_second_run_does_nothing(folder):
    sessions = [finished(slug=slug) for slug in ("orders", "wiki", "mail")]
    for _ in range(2):
        compact_recordings()
        assert Recording.objects.filter(state="sealed", session__in=sessions).count() == 3
        assert len(files(folder)) == 3


@pytest.mark.django_db
def test_one_that_fails_stops_no_other(monkeypatch):
    finished()
    finished(slug="wiki")
    take, broken = Local.take, []

    def first_fails(self: Local, path: Path, name: str) -> None:
        if not broken:
            broken.append(name)
            raise StorageFailed("no space left")
        take(self, path, name)

    monkeypatch.setattr(Local, "take", first_fails)
    made = compaction.compact_all(now=NOW, seconds=60)
    assert (made.sealed, made.failed) == (1, 1)
    assert compaction.compact_all(now=NOW, seconds=60).sealed == 1


@pytest.mark.django_db
def test_no_recording_is_begun_when_the_time_is_over():
    finished()
    assert compaction.compact_all(now=NOW, seconds=0).sealed == 0


@pytest.mark.django_db
def test_the_command_shows_how_far_it_is_and_how_small_it_became(folder):
    finished(calls=200)
    out, err = StringIO(), StringIO()
    call_command("compact_recordings", stdout=out, stderr=err)
    assert "1 recordings, 400 events" in out.getvalue()
    assert ":1)" in out.getvalue()
    assert "400 of 400 events" in err.getvalue()
    out = StringIO()
    call_command("compact_recordings", "--verify", stdout=out, stderr=err)
    assert "1 recordings are sound, 0 are not" in out.getvalue()
    path = files(folder)[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CommandError):
        call_command("compact_recordings", "--verify", stdout=out, stderr=err)


@pytest.mark.django_db
def test_the_task_of_retention_deletes_what_is_over(folder):
    session = finished()
    compact_recordings()
    leave(session)
    retention.rule_save(days=1, now=START)
    apply_retention()
    assert files(folder) == []
    assert list(selectors.events_of(session)) == []


@pytest.mark.django_db
def test_many_sessions_cost_a_few_queries_each(django_assert_max_num_queries):
    for number in range(5):
        finished(slug=f"c{number}", calls=2)
    with django_assert_max_num_queries(5 * 45):
        assert compaction.compact_all(now=datetime.now(UTC), seconds=60).sealed == 5
    assert Event.objects.count() == 20
    assert Session.objects.count() == 5
