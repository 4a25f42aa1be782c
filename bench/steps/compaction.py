"""How long does it take to seal a long session, how small does it become, and how quickly is one call read from it?

    python -m bench.steps.compaction [--events 100000]

One session of that many events of about 1.2 KB in the embedded PostgreSQL, with its data in bench/.work; then what
`manage.py compact_recordings` does: read, compress, sign, synchronise, read back, prove.

Printed: seconds and events a second for writing and for everything together, size beside the table's and beside the
bytes before compression, time to verify, to open, and to read one call.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django

from bench.steps.journal import prepare
from gateway_project.embedded import Postgres

WORK = Path(__file__).resolve().parents[1] / ".work"
WORDS = "order customer shipped pending address street invoice refund currency quantity product warehouse".split()  # noqa: SIM905


def seed(count: int) -> uuid.UUID:
    """Write one session of `count` events, chained as the gateway does, and return its id."""
    from accounts.models import Principal
    from connections.models import Connection
    from sessions import chain
    from sessions.models import Event, GatewayInstance, Session

    dice = random.Random(7)
    now = datetime.now(UTC) - timedelta(hours=2)
    principal = Principal.objects.create(issuer="https://idp.example", subject="bench", first_seen=now, last_seen=now)
    connection = Connection.objects.create(slug="bench", name="Bench", upstream_url="https://bench.example/mcp")
    instance = GatewayInstance.objects.create(
        lock_key=1, host="bench", pid=1, process_started="1", started_at=now, heartbeat_at=now
    )
    session = Session.objects.create(
        principal=principal, connection=connection, era="modern", started_at=now, ended_at=now + timedelta(hours=1)
    )
    head, at, call = chain.GENESIS, now, uuid.uuid4()
    waiting = []
    for seq in range(1, count + 1):
        at += timedelta(microseconds=dice.randrange(100, 3000))
        if seq % 2:
            call = uuid.UUID(int=dice.getrandbits(128))
            name = "gateway:call:intent"
            body = {
                "method": "tools/call",
                "name": "get_order",
                "id": seq,
                "verdict": "allow",
                "rule": "grant",
                "policy_version": 7,
                "credential_version": 2,
                "outbound_sha256": dice.randbytes(32).hex(),
                "outbound_bytes": 140,
                "verb": "POST",
                "received_us": seq * 1000,
                "subject": "bench",
            }
            message = {"jsonrpc": "2.0", "id": seq, "method": "tools/call", "params": {"name": "get_order"}}
        else:
            name = "gateway:call:completed"
            body = {
                "messages": 1,
                "bytes": 1400,
                "hits": {},
                "total_us": dice.randrange(1000, 9000),
                "kind": "result",
                "upstream_us": 900,
                "status": 200,
                "last_hits": {},
            }
            text = " ".join(dice.choices(WORDS, k=210))
            message = {"jsonrpc": "2.0", "id": seq, "result": {"content": [{"type": "text", "text": text}]}}
        written, payload = json.dumps(body, separators=(",", ":")), json.dumps(message).encode()
        at_us = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        entry = chain.Entry(seq, at_us, session.pk.bytes, call.bytes, name, written.encode(), payload)
        prev_hash, head = head, chain.link(instance.pk.bytes, head, entry)
        waiting.append(
            Event(
                instance=instance,
                seq=seq,
                at=at,
                session=session,
                call_id=call,
                name=name,
                body=written,
                payload=payload,
                prev_hash=prev_hash,
                hash=head,
            )
        )
        if len(waiting) == 5000 or seq == count:
            Event.objects.bulk_create(waiting)
            waiting = []
    return session.pk


def measure(count: int) -> None:
    """Seed, seal, verify, read, and print what it took."""
    from django.conf import settings
    from django.db import connection

    from sessions import compaction, recordings
    from sessions.models import Recording

    seed(count)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
            "WHERE inhparent = 'gateway_sessions_event'::regclass"
        )
        table = int(cursor.fetchone()[0])
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        settings.WARDGATE_RECORDING_FOLDER = folder
        begun, cpu = time.perf_counter(), time.process_time()
        made = compaction.compact_all(now=datetime.now(UTC), seconds=600)
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        row = Recording.objects.get()
        begun = time.perf_counter()
        verdict = recordings.recording_verify(recording=row)
        verified = time.perf_counter() - begun
        spans = []
        for _ in range(50):
            begun = time.perf_counter()
            with recordings.opened(row) as reader:
                opened = time.perf_counter() - begun
                place = reader.calls[random.randrange(len(reader.calls))].first
                wanted = next(iter(reader.entries(place, place + 1))).entry.call
            with recordings.opened(row) as reader:
                begun = time.perf_counter()
                assert len(reader.call(wanted)) == 2
                spans.append((opened, time.perf_counter() - begun))
    print(f"sealed    {made.events:,} events in {took:.2f} s, {made.events / took:,.0f}/s, proved once on the way")
    print(f"CPU       {cpu:.2f} s of this process for that")
    print(
        f"size      {row.size:,} bytes; table and indexes {table:,} ({table / row.size:.1f}:1); "
        f"before compression {row.raw_bytes:,} ({row.raw_bytes / row.size:.1f}:1)"
    )
    print(f"verify    {verified:.2f} s, {row.events / verified:,.0f} events/s: {type(verdict).__name__}")
    print(
        f"open      {1000 * statistics.median(span[0] for span in spans):.1f} ms, then one call "
        f"{1000 * statistics.median(span[1] for span in spans):.1f} ms (medians of {len(spans)})"
    )


def main() -> None:
    """Read the command line, start PostgreSQL, and measure in a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    postgres = Postgres(WORK / "steps")
    try:
        os.environ["DATABASE_URL"] = prepare(postgres.start(), "compaction")
        os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings.test"
        os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
        django.setup()
        measure(options.events)
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
