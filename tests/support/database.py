"""Migrated databases of their own, each a quick copy of one template, on the PostgreSQL of the test run."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.support.servers import ROOT

MIGRATE_SECONDS = 120
_LOCK = 0x57617264
"""The advisory lock under which parallel test processes make the template once."""


@contextmanager
def fresh_database() -> Iterator[str]:
    """Yield the URL of a new, migrated and empty database, which is dropped on leaving."""
    name = f"wg_{secrets.token_hex(6)}"
    template = _template()
    with _maintenance() as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    try:
        yield _url_of(name)
    finally:
        with _maintenance() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@contextmanager
def nothing_is_committed(dsn: str) -> Iterator[None]:
    """Let every insert of an event into the record wait until the end."""
    with psycopg.connect(dsn) as connection:
        connection.execute("LOCK TABLE gateway_sessions_event IN ACCESS EXCLUSIVE MODE")
        yield


def let_django_empty_the_tables() -> None:
    """Take the guards against TRUNCATE from Django's own test database, which is emptied between tests."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'wardgate_no_truncate' AND tgenabled <> 'D'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER wardgate_no_truncate")


@functools.cache
def _template() -> str:
    """Return the name of the migrated template, made when there is none for the migrations as they are."""
    files = sorted(ROOT.glob("*/migrations/*.py"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
    name = f"wg_template_{digest[:12]}"
    with _maintenance() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not found:
            # Renamed when it is complete, so that an interrupted migration leaves no template behind.
            draft = f"wg_draft_{secrets.token_hex(6)}"
            connection.execute(f'CREATE DATABASE "{draft}"'.encode())
            migrate(_url_of(draft))
            connection.execute(f'ALTER DATABASE "{draft}" RENAME TO "{name}"'.encode())
    return name


def migrate(url: str) -> None:
    """Bring the database to the current migrations."""
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "gateway_project.settings.test"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=MIGRATE_SECONDS, check=False
    )
    assert done.returncode == 0, f"the migrations failed:\n{done.stderr[-3000:]}"


def _maintenance() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def _url_of(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
