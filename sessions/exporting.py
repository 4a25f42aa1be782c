"""The record as lines of JSON that `wardgate-verify` proves: all of it, or the part that holds what one asks for.

The lines are made by PostgreSQL itself, so that an auditor can have the same ones from `psql` without the application
(deploy/record_export.sql is `sql_script`). Their order and members are described in docs/record.md.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction

VERSION = 1
_CHUNK = 2000
_KEYS = """
SELECT json_build_object('type', 'key', 'kid', kid, 'public_key', translate(encode(public_key, 'base64'), E'\\n', ''),
    'created_at', created_at, 'endorsed_by', endorsed_by,
    'endorsement', translate(encode(endorsement, 'base64'), E'\\n', ''))::text
FROM gateway_sessions_checkpointkey ORDER BY created_at, kid
"""
_STATEMENTS = """
SELECT json_build_object('type', '{kind}', 'number', number, 'body', body, 'kid', kid,
    'signature', translate(encode(signature, 'base64'), E'\\n', ''))::text
FROM gateway_sessions_{table} {where}ORDER BY number
"""
_INSTANCES = """
SELECT json_build_object('type', 'instance', 'id', translate(id::text, '-', ''), 'host', host, 'pid', pid,
    'started_at', started_at, 'ended_at', ended_at, 'end_reason', end_reason)::text
FROM gateway_sessions_gatewayinstance {where}ORDER BY started_at, id
"""
_EVENTS = """
SELECT json_build_object('type', 'event', 'instance', translate(instance_id::text, '-', ''), 'seq', seq,
    'at_us', (extract(epoch FROM at) * 1000000)::bigint, 'session', translate(session_id::text, '-', ''),
    'call', translate(call_id::text, '-', ''), 'name', name, 'body', body,
    'payload', translate(encode(payload, 'base64'), E'\\n', ''), 'prev', encode(prev_hash, 'hex'),
    'hash', encode(hash, 'hex'))::text
FROM gateway_sessions_event {where}ORDER BY instance_id, seq, at
"""
_END = """
SELECT json_build_object('type', 'end', 'events', (SELECT count(*) FROM gateway_sessions_event),
    'checkpoints', (SELECT count(*) FROM gateway_sessions_checkpoint))::text
"""
_HEADER = """
SELECT json_build_object('type', 'wardgate-record', 'v', 1, 'made_at', now(), 'scope', 'all')::text
"""
_SCRIPT = """\
-- The whole record as lines of JSON for wardgate-verify, without the application:
--
--     psql -X -A -t -q -v ON_ERROR_STOP=1 -f deploy/record_export.sql "$DATABASE_URL" > record.jsonl
--
-- One snapshot of the database; it only reads. `manage.py record_export` writes the same lines.
\\set FETCH_COUNT 2000
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of the record to export; empty members ask for all.

    Of each chain everything is exported from the checkpoint before the first event that fits until the checkpoint after
    the last one, for only that can be proved: other events of that time are among it.
    """

    session: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_all(self) -> bool:
        """Whether it is the whole record."""
        return self == Part()


def sql_script() -> str:
    """Return the script with which `psql` writes the whole record."""
    queries = [
        _HEADER,
        _KEYS,
        *(_STATEMENTS.format(kind=kind, table=table, where="") for kind, table in _TABLES.items()),
        _INSTANCES.format(where=""),
        _EVENTS.format(where=""),
        _END,
    ]
    return _SCRIPT + "".join(f"{query.rstrip()};\n" for query in queries) + "\nCOMMIT;\n"


def record_lines(*, part: Part, now: datetime) -> Iterator[str]:
    """Yield the lines, each without its line break, from one snapshot of the database."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        chains = None if part.is_all else _chains_of(part)
        yield _header(part, chains, now)
        yield from _rows(_KEYS, [])
        checkpoints = 0
        for kind, table in _TABLES.items():
            where, parameters = _statements_of(kind, chains)
            for line in _rows(_STATEMENTS.format(kind=kind, table=table, where=where), parameters):
                checkpoints += kind == "checkpoint"
                yield line
        if chains is None:
            yield from _rows(_INSTANCES.format(where=""), [])
            events = yield from _counted(_rows(_EVENTS.format(where=""), []))
        else:
            yield from _rows(_INSTANCES.format(where="WHERE id = ANY(%s) "), [list(chains)])
            events = 0
            for instance, (first, last) in sorted(chains.items()):
                where = "WHERE instance_id = %s AND seq BETWEEN %s AND %s "
                events += yield from _counted(_rows(_EVENTS.format(where=where), [instance, first, last]))
        yield json.dumps({"type": "end", "events": events, "checkpoints": checkpoints})


_TABLES = {"checkpoint": "checkpoint", "release": "eventrelease"}


def _header(part: Part, chains: Mapping[UUID, tuple[int, int]] | None, now: datetime) -> str:
    members: dict[str, Any] = {"type": "wardgate-record", "v": VERSION, "made_at": now.isoformat(), "scope": "all"}
    if chains is not None:
        members |= {
            "scope": "part",
            "session": None if part.session is None else part.session.hex,
            "since": None if part.since is None else part.since.isoformat(),
            "until": None if part.until is None else part.until.isoformat(),
            "chains": {instance.hex: list(bounds) for instance, bounds in sorted(chains.items())},
        }
    return json.dumps(members)


def _chains_of(part: Part) -> dict[UUID, tuple[int, int]]:
    """Return from which number until which each chain is exported."""
    conditions, parameters = ["true"], []
    for column, operator, value in (
        ("session_id", "=", part.session),
        ("at", ">=", part.since),
        ("at", "<", part.until),
    ):
        if value is not None:
            conditions.append(f"{column} {operator} %s")
            parameters.append(value)
    where = " AND ".join(conditions)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT instance_id, min(seq), max(seq) FROM gateway_sessions_event WHERE {where} GROUP BY 1",  # noqa: S608
            parameters,
        )
        found = {instance: (first, last) for instance, first, last in cursor.fetchall()}
    return {instance: _widened(instance, first, last) for instance, (first, last) in found.items()}


def _widened(instance: UUID, first: int, last: int) -> tuple[int, int]:
    """Return the bounds moved outwards to where a checkpoint says what the chain was."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT max(seq) FILTER (WHERE seq < %(first)s), min(seq) FILTER (WHERE seq >= %(last)s) FROM (
                SELECT (head ->> 2)::bigint AS seq FROM gateway_sessions_checkpoint,
                    jsonb_array_elements(body::jsonb -> 'heads') AS head WHERE head ->> 0 = %(instance)s
            ) claimed
            """,
            {"first": first, "last": last, "instance": instance.hex},
        )
        before, after = cursor.fetchone()
        cursor.execute("SELECT min(seq), max(seq) FROM gateway_sessions_event WHERE instance_id = %s", [instance])
        oldest, newest = cursor.fetchone()
    return max((before or 0) + 1, oldest), min(after or newest, newest)


def _statements_of(kind: str, chains: Mapping[UUID, tuple[int, int]] | None) -> tuple[str, list[Any]]:
    """Return which checkpoints a part needs: from the first to the last one that speaks of it, without a gap."""
    if chains is None or kind != "checkpoint":
        return "", []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT min(c.number), max(c.number) FROM gateway_sessions_checkpoint c,
                jsonb_array_elements(c.body::jsonb -> 'heads') AS head
            JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS chain (instance, first, last)
                ON head ->> 0 = chain.instance AND (head ->> 2)::bigint BETWEEN chain.first - 1 AND chain.last
            """,
            [
                [instance.hex for instance in chains],
                [first for first, _ in chains.values()],
                [last for _, last in chains.values()],
            ],
        )
        first, last = cursor.fetchone()
    return "WHERE number BETWEEN %s AND %s ", [first or 0, last or 0]


def _rows(query: str, parameters: list[Any]) -> Iterator[str]:
    """Yield the first column of each row, through a cursor of the server, so that memory stays small."""
    connection.ensure_connection()
    with connection.connection.cursor(name=f"export_{uuid4().hex[:8]}") as cursor:
        cursor.itersize = _CHUNK
        cursor.execute(query, parameters or None)
        for (line,) in cursor:
            yield line


def _counted(lines: Iterator[str]) -> Generator[str, None, int]:
    """Yield the lines, and return how many they were."""
    count = 0
    for line in lines:
        count += 1
        yield line
    return count
