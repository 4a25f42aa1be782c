"""What the database itself refuses, whoever asks, and what the roles of the application may not do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import errors

from tests.support.database import fresh_database
from tests.support.servers import ROOT

CLUSTER_ROLES = {"application": "wg_test_app", "retention": "wg_test_retention"}
EVENT = (
    "INSERT INTO gateway_sessions_event (instance_id, seq, at, name, body, prev_hash, hash) "
    "VALUES (gen_random_uuid(), 1, %s, 'test:event:appended', '{}', '', '')"
)
RELEASE = (
    "INSERT INTO gateway_sessions_eventrelease (number, at, partition, body, prev_hash, hash, kid, signature, events) "
    "VALUES (1, now(), %s, '{}', '', '', '', '', %s)"
)
CHECKPOINT = (
    "INSERT INTO gateway_sessions_checkpoint (number, at, body, prev_hash, hash, kid, signature, events) "
    "VALUES (1, now(), '{}', '', '', '', '', 0)"
)
EVIDENCE = ["gateway_sessions_event", "gateway_sessions_checkpoint", "gateway_sessions_eventrelease"]


def command(dsn: str, *arguments: str) -> str:
    environment = {**os.environ, "DATABASE_URL": dsn, "DJANGO_SETTINGS_MODULE": "gateway_project.settings.test"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with fresh_database() as url:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(EVENT, ["2020-01-01"])
            owner.execute("INSERT INTO gateway_sessions_event (instance_id, seq, at, name, body, prev_hash, hash) "
                          "VALUES (gen_random_uuid(), 1, now(), 'test:event:appended', '{}', '', '')")  # fmt: skip
            owner.execute(CHECKPOINT)
            owner.execute(RELEASE, ["gateway_sessions_event_1999_01", 3])
        said = command(url, "record_roles", *(f"--{key}={name}" for key, name in CLUSTER_ROLES.items()))
        assert "no more" in said, said
        yield url


@pytest.fixture
def owner(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def connected_as(dsn: str, name: str) -> psycopg.Connection:
    parts = urlsplit(dsn)
    return psycopg.connect(
        urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}")), autocommit=True
    )


@pytest.fixture
def application(dsn: str) -> Iterator[psycopg.Connection]:
    with connected_as(dsn, CLUSTER_ROLES["application"]) as connection:
        yield connection


@pytest.fixture
def retention(dsn: str) -> Iterator[psycopg.Connection]:
    with connected_as(dsn, CLUSTER_ROLES["retention"]) as connection:
        yield connection


def tables_of_events(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'gateway_sessions_event'::regclass"
    )
    return [*EVIDENCE, *(name for (name,) in rows)]


@pytest.mark.parametrize("statement", ["UPDATE {} SET hash = ''", "DELETE FROM {}"])
def test_even_the_owner_changes_and_deletes_nothing_that_was_recorded(
    owner: psycopg.Connection, statement: str
) -> None:
    for table in EVIDENCE:
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            owner.execute(statement.format(table).encode())


def test_even_the_owner_empties_no_table_of_the_record(owner: psycopg.Connection) -> None:
    for table in tables_of_events(owner):
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            owner.execute(f"TRUNCATE {table}".encode())


@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET hash = ''", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}",
                  "ALTER TABLE {} DISABLE TRIGGER ALL"],
)  # fmt: skip
def test_the_application_has_no_right_to(application: psycopg.Connection, statement: str) -> None:
    for table in tables_of_events(application):
        with pytest.raises(errors.InsufficientPrivilege):
            application.execute(statement.format(table).encode())


def test_the_application_adds_events_and_reads_them(application: psycopg.Connection) -> None:
    application.execute(EVENT, ["2026-11-21"])
    assert application.execute("SELECT count(*) FROM gateway_sessions_event").fetchone() is not None


def test_the_application_reaches_a_partition_through_its_table_alone(application: psycopg.Connection) -> None:
    for table in tables_of_events(application):
        if table[-1].isdigit():
            with pytest.raises(errors.InsufficientPrivilege):
                application.execute(f"SELECT 1 FROM {table}".encode())


def test_the_application_has_months_made_ahead_and_lets_none_go(application: psycopg.Connection) -> None:
    month = application.execute("SELECT (date_trunc('month', now()) + interval '5 months')::date").fetchone()
    assert month is not None
    assert application.execute("SELECT wardgate_event_partition_make(%s)", month).fetchone() == (True,)
    assert application.execute("SELECT wardgate_event_partition_make(%s)", month).fetchone() == (False,)
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute("SELECT wardgate_event_partition_release('gateway_sessions_event_default')")


def test_the_application_has_months_made_only_around_now(application: psycopg.Connection) -> None:
    with pytest.raises(errors.RaiseException):
        application.execute("SELECT wardgate_event_partition_make('1998-01-01')")


def test_retention_reads_nothing_and_releases_only_what_a_release_names(retention: psycopg.Connection) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        retention.execute("SELECT 1 FROM gateway_sessions_event")
    month = retention.execute(
        "SELECT 'gateway_sessions_event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')"
    ).fetchone()
    with pytest.raises(errors.InsufficientPrivilege, match="no signed release"):
        retention.execute("SELECT wardgate_event_partition_release(%s)", month)


def test_a_release_that_states_another_number_of_events_lets_nothing_go(
    owner: psycopg.Connection, retention: psycopg.Connection
) -> None:
    month = owner.execute("SELECT 'gateway_sessions_event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')").fetchone()
    assert month is not None
    owner.execute(RELEASE.replace("VALUES (1", "VALUES (2").encode(), [month[0], 77])
    with pytest.raises(errors.InsufficientPrivilege, match="its release states 77"):
        retention.execute("SELECT wardgate_event_partition_release(%s)", month)


def test_events_of_a_month_without_a_partition_are_kept_and_moved_when_it_is_made(owner: psycopg.Connection) -> None:
    assert owner.execute("SELECT count(*) FROM gateway_sessions_event_default").fetchone() == (1,)
    assert owner.execute("SELECT wardgate_event_partition_make('2020-01-15')").fetchone() == (True,)
    assert owner.execute("SELECT count(*) FROM gateway_sessions_event_default").fetchone() == (0,)
    assert owner.execute("SELECT count(*) FROM gateway_sessions_event_2020_01").fetchone() == (1,)
    with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
        owner.execute("DELETE FROM gateway_sessions_event_2020_01")


def test_the_check_warns_of_the_owner_and_is_silent_for_the_role_of_the_application(dsn: str) -> None:
    parts = urlsplit(dsn)
    name = CLUSTER_ROLES["application"]
    own = urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}"))
    assert "wardgate.W040" in command(dsn, "check", "--database", "default")
    assert "wardgate.W040" not in command(own, "check", "--database", "default")
