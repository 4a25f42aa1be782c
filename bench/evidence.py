"""Is the record of the run complete? Checked in the database after the load, not believed from the answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import psycopg

from sessions import chain

INTENT = "gateway:call:intent"
ENDS = ("completed", "upstream_error", "not_sent", "aborted_by_client", "outcome_unknown")
DRAIN_SECONDS = 10
_ROWS = 5000


@dataclass(slots=True)
class Evidence:
    """What the record holds, and everything that is wrong with it in sentences."""

    intents: int = 0
    outcomes: int = 0
    completed: int = 0
    events: int = 0
    answered: int = 0
    faults: list[str] = field(default_factory=list)


def conninfo(url: str) -> dict[str, str]:
    """Return psycopg's keywords for a `postgres://` URL whose host is a percent-encoded socket folder."""
    parts = urlsplit(url)
    return {"host": unquote(parts.hostname or ""), "user": parts.username or "", "dbname": parts.path[1:]}


def examine(database_url: str, *, answered: int, in_flight: int) -> Evidence:
    """Compare the record in the database with the load.

    Args:
        database_url: `postgres://` URL.
        answered: calls that the load generator saw answered.
        in_flight: most calls that were under way when a run ended, and were cut off.
    """
    found = Evidence(answered=answered)
    with psycopg.connect(**conninfo(database_url), autocommit=True) as connection:
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            _count(connection, found)
            if found.intents == found.outcomes or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        _verify_chains(connection, found)
    if found.intents != found.outcomes:
        found.faults.append(f"{found.intents} intents but {found.outcomes} outcomes.")
    if not answered <= found.intents <= answered + in_flight:
        found.faults.append(
            f"{answered} calls were answered (and at most {in_flight} cut off), {found.intents} recorded."
        )
    if found.completed < answered:
        found.faults.append(f"Only {found.completed} of {answered} answered calls are recorded as completed.")
    return found


def _count(connection: psycopg.Connection, found: Evidence) -> None:
    rows = connection.execute(
        "SELECT name, count(*) FROM gateway_sessions_event WHERE name LIKE 'gateway:call:%' GROUP BY name"
    ).fetchall()
    counts = {str(name): int(count) for name, count in rows}
    found.intents = counts.get(INTENT, 0)
    found.outcomes = sum(counts.get(f"gateway:call:{end}", 0) for end in ENDS)
    found.completed = counts.get("gateway:call:completed", 0)
    if denied := counts.get("gateway:call:denied"):
        found.faults.append(f"{denied} calls were denied.")


def _verify_chains(connection: psycopg.Connection, found: Evidence) -> None:
    instances = connection.execute("SELECT DISTINCT instance_id FROM gateway_sessions_event").fetchall()
    for (instance,) in instances:
        with connection.transaction(), connection.cursor(name="chain", binary=True) as cursor:
            cursor.itersize = _ROWS
            cursor.execute(
                "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, session_id, call_id, name,"
                " convert_to(body, 'UTF8'), payload, prev_hash, hash"
                " FROM gateway_sessions_event WHERE instance_id = %s ORDER BY seq",
                [instance],
            )
            verdict = chain.verify(
                instance.bytes,
                (
                    chain.Stored(
                        chain.Entry(
                            seq,
                            at_us,
                            session.bytes if session else chain.NOTHING,
                            call.bytes if call else chain.NOTHING,
                            name,
                            body,
                            payload,
                        ),
                        prev_hash,
                        own_hash,
                    )
                    for seq, at_us, session, call, name, body, payload, prev_hash, own_hash in cursor
                ),
            )
        if isinstance(verdict, chain.Broken):
            found.faults.append(f"The chain of {instance} breaks at number {verdict.seq}: {verdict.reason}.")
        else:
            found.events += verdict.count
