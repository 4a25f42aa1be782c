"""How quickly do the pages of the record open when it has a million events?

    python -m bench.record_pages [--events 1000000] [--samples 60]

Written with COPY into the embedded PostgreSQL, with its data in bench/.work: sessions of 90 calls each, and one of a
tenth of all events; each call is an intent and an outcome with their masked messages. The rows are not chained, which
no page looks at. Then the index of calls is filled as the task fills it, and every page is asked for by Django's test
client, logged in as an administrator: what is measured is everything but the network and the server.

Printed, and written to bench/results/record-pages.json: events a second of the index, and p50 and p95 of each page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import psycopg

from bench.steps.journal import prepare
from gateway_project.embedded import Postgres

WORK = Path(__file__).resolve().parent / ".work"
RESULT = Path(__file__).resolve().parent / "results" / "record-pages.json"
CALLS_OF_A_SESSION = 90
TOOLS = ("get_order", "list_orders", "search_orders", "update_order", "delete_order", "refund_order", "get_customer")
WORDS = "order customer shipped pending address street invoice refund currency quantity product warehouse".split()  # noqa: SIM905
LIST_MILLISECONDS, REPLAY_MILLISECONDS = 300, 500
_COLUMNS = "instance_id, seq, at, session_id, call_id, name, body, payload, prev_hash, hash"
_SESSION_COLUMNS = (
    "id, principal_id, connection_id, era, protocol_version, client_name, client_version, user_agent, remote_address, "
    "started_at, ended_at, end_reason"
)

Row = tuple[Any, ...]


def people(count: int = 40) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Create principals and connections; return their ids."""
    from accounts.models import Principal
    from connections.models import Connection

    principals = [
        Principal.objects.create(
            issuer="https://idp.example", subject=f"person-{number}", display_name=f"Person {number}"
        )
        for number in range(count)
    ]
    connections = [
        Connection.objects.create(
            slug=f"c{number}", name=f"Connection {number}", upstream_url=f"https://c{number}.example"
        )
        for number in range(10)
    ]
    return [row.pk for row in principals], [row.pk for row in connections]


def call_of(dice: random.Random, session: uuid.UUID, at: datetime, number: int) -> Iterator[Row]:
    """Return the two events of one call, without their place in the chain."""
    call, tool = uuid.UUID(int=dice.getrandbits(128), version=4), dice.choice(TOOLS)
    verdict = "deny" if tool == "delete_order" and dice.random() < 0.5 else "allow"
    body = {
        "method": "tools/call",
        "name": tool,
        "id": number,
        "verdict": verdict,
        "rule": "grant" if verdict == "allow" else "no deletes",
        "policy_version": 7,
        "received_us": int(at.timestamp() * 1_000_000) - 400,
        "subject": "bench",
    }
    arguments = {"order_id": dice.randrange(200_000), "note": " ".join(dice.choices(WORDS, k=6))}
    request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    if verdict == "deny":
        yield session, call, at, "gateway:call:denied", {**body, "reason": "ask"}, request
        return
    sent = {"credential_version": 2, "outbound_sha256": dice.randbytes(32).hex(), "outbound_bytes": 140, "verb": "POST"}
    yield session, call, at, "gateway:call:intent", {**body, **sent}, request
    took = dice.randrange(1_000, 90_000) if dice.random() < 0.98 else dice.randrange(1_000_000, 9_000_000)
    outcome = {"messages": 1, "bytes": 900, "hits": {"email": 1} if dice.random() < 0.1 else {}, "total_us": took + 500}
    outcome |= {"kind": "result", "upstream_us": took, "status": 200}
    text = " ".join(dice.choices(WORDS, k=60)) + f" {dice.randrange(10**6)}"
    answer = {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}]}}
    state = "completed" if dice.random() < 0.99 else "outcome_unknown"
    yield session, call, at + timedelta(microseconds=took), f"gateway:call:{state}", outcome, answer


def write(url: str, count: int) -> tuple[list[uuid.UUID], uuid.UUID]:
    """Write `count` events and their sessions; return the ids of some sessions, and that of the long one."""
    from sessions.models import GatewayInstance

    dice = random.Random(11)
    principals, connections = people()
    now = datetime.now(UTC)
    instance = GatewayInstance.objects.create(
        lock_key=1, host="bench", pid=1, process_started="1", started_at=now, heartbeat_at=now
    ).pk
    long, sessions, events = uuid.uuid4(), [], []
    begin = now - timedelta(days=19)
    written = 0

    def rows_of(session: uuid.UUID, at: datetime, calls: int) -> Iterator[Row]:
        for number in range(calls):
            yield from call_of(dice, session, at + timedelta(seconds=2 * number), number)

    with psycopg.connect(url) as connection, connection.cursor() as cursor:

        def copy_events(rows: Iterator[Row]) -> None:
            nonlocal written
            with cursor.copy(f"COPY gateway_sessions_event ({_COLUMNS}) FROM STDIN") as copy:
                for session, call, at, name, body, message in rows:
                    written += 1
                    copy.write_row(
                        (
                            instance,
                            written,
                            at,
                            session,
                            call,
                            name,
                            json.dumps(body, separators=(",", ":")),
                            json.dumps(message, separators=(",", ":")).encode(),
                            bytes(32),
                            dice.randbytes(32),
                        )
                    )

        copy_events(rows_of(long, begin, count // 20))
        events.append((long, begin, begin + timedelta(seconds=count // 10)))
        while written < count:
            session = uuid.UUID(int=dice.getrandbits(128), version=4)
            at = begin + timedelta(seconds=dice.randrange(19 * 86_400 - 600))
            copy_events(rows_of(session, at, CALLS_OF_A_SESSION))
            events.append((session, at, at + timedelta(seconds=2 * CALLS_OF_A_SESSION)))
        with cursor.copy(f"COPY gateway_sessions_session ({_SESSION_COLUMNS}) FROM STDIN") as copy:
            for session, started, ended in events:
                sessions.append(session)
                who, where = dice.choice(principals), dice.choice(connections)
                row = (
                    session,
                    who,
                    where,
                    "modern",
                    "2026-07-28",
                    "bench",
                    "1",
                    "",
                    "192.0.2.1",
                    started,
                    ended,
                    "idle",
                )
                copy.write_row(row)
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
    return sessions, long


def client() -> Any:
    """Return a client that is logged in as an administrator."""
    from django.conf import settings
    from django.test import Client

    from accounts.console_sessions import SEEN_KEY
    from accounts.models import User
    from accounts.services import console_session_begin

    settings.ALLOWED_HOSTS = ["*"]
    user = User.objects.create_superuser(f"bench-{uuid.uuid4().hex[:8]}")
    found = Client()
    found.force_login(user, backend="accounts.backends.LocalBackend")
    session = found.session
    session[SEEN_KEY] = int(time.time())
    session.save()
    console_session_begin(
        user=user,
        session_key=str(session.session_key),
        issuer="",
        subject="",
        provider_session="",
        method="password",
        address="",
        user_agent="",
        now=datetime.now(UTC),
    )
    return found


def timed(browser: Any, place: Callable[[], str], samples: int) -> dict[str, Any]:
    """Return p50 and p95 in milliseconds of `samples` requests after three to warm up, and the bytes of the last.

    `cpu_p95_ms` is the CPU time of this process alone: on a machine that others use it says more than the clock.
    """
    spans: list[float] = []
    cpu: list[float] = []
    size = 0
    for number in range(samples + 3):
        url = place()
        begun, used = time.perf_counter(), time.process_time()
        answer = browser.get(url)
        took, spent = 1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - used)
        if answer.status_code not in {200, 204}:
            raise SystemExit(f"{url}: {answer.status_code}")
        size = len(answer.content)
        if number >= 3:
            spans.append(took)
            cpu.append(spent)
    place_of_p95 = max(0, round(0.95 * samples) - 1)
    return {
        "p50_ms": round(statistics.median(spans), 1),
        "p95_ms": round(sorted(spans)[place_of_p95], 1),
        "cpu_p95_ms": round(sorted(cpu)[place_of_p95], 1),
        "bytes": size,
    }


def pages(sessions: list[uuid.UUID], long: uuid.UUID) -> dict[str, tuple[Callable[[], str], int | None]]:
    """Return the pages by name: how the next URL is made, and how many milliseconds it may take."""
    from django.urls import reverse

    from sessions.models import CallIndex

    dice = random.Random(5)
    listed, search = (
        reverse("admin:gateway_sessions_session_changelist"),
        reverse("admin:gateway_sessions_session_search"),
    )
    calls = list(CallIndex.objects.filter(session=long).values_list("call_id", flat=True)[:5000])

    def of(name: str, session: uuid.UUID, *more: object) -> str:
        return reverse(f"admin:gateway_sessions_session_{name}", args=[session, *more])

    return {
        "session list": (lambda: listed, LIST_MILLISECONDS),
        "session list, page 20": (lambda: f"{listed}?p={min(20, len(sessions) // 50)}", LIST_MILLISECONDS),
        "session list, searched": (lambda: f"{listed}?q=person-7", LIST_MILLISECONDS),
        "replay": (lambda: of("replay", dice.choice(sessions)), REPLAY_MILLISECONDS),
        "replay, filtered": (lambda: of("replay", dice.choice(sessions)) + "?q=is:slow", REPLAY_MILLISECONDS),
        "replay of the long session": (lambda: of("replay", long), REPLAY_MILLISECONDS),
        "the same, at a moment": (lambda: of("replay", long) + f"?at={dice.randrange(90_000)}", REPLAY_MILLISECONDS),
        "one call of it": (lambda: of("panel", long, dice.choice(calls)), REPLAY_MILLISECONDS),
        "search: newest calls": (lambda: search, None),
        "search: value:order_id=…": (lambda: f"{search}?q=value:order_id={dice.randrange(200_000)}", None),
        "search: verdict:deny since:7d": (lambda: f"{search}?q=verdict:deny%20since:7d", None),
        "search: who, tool": (lambda: f"{search}?q=who:person-{dice.randrange(40)}%20tool:refund_*", None),
        "search: rare word": (lambda: f"{search}?q={dice.randrange(10**6)}", None),
        "search: two common words": (lambda: f"{search}?q=invoice%20warehouse", None),
    }


def measure(url: str, count: int, samples: int, *, is_again: bool) -> dict[str, Any]:
    """Write, index, ask for the pages; return the figures."""
    from sessions import search_index
    from sessions.models import CallIndex, Event, Session

    begun, rate = time.perf_counter(), None
    if is_again:
        sizes = Session.objects.order_by("started_at").values_list("pk", flat=True)
        sessions, long = list(sizes), sizes[0]
    else:
        sessions, long = write(url, count)
        took = time.perf_counter() - begun
        print(f"wrote {Event.objects.count():,} events of {len(sessions):,} sessions in {took:.0f} s", flush=True)
        begun, indexed = time.perf_counter(), 0
        while found := search_index.catch_up(seconds=8.0):
            indexed += found
        rate = round(indexed / (time.perf_counter() - begun))
        print(f"indexed {indexed:,} events, {CallIndex.objects.count():,} calls, {rate:,} events/s", flush=True)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE gateway_sessions_callindex")
    browser = client()
    figures: dict[str, Any] = {}
    for name, (place, most) in pages(sessions, long).items():
        figures[name] = {**timed(browser, place, samples), "most_ms": most}
        p50, p95, cpu, size = (figures[name][key] for key in ("p50_ms", "p95_ms", "cpu_p95_ms", "bytes"))
        verdict = "" if most is None else f"  at most {most}: {'yes' if p95 <= most else 'NO'}"
        text = f"{name:34} p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  CPU p95 {cpu:6.1f} ms  {size:9,} bytes{verdict}"
        print(text, flush=True)
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": f"{os.cpu_count()} CPUs, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "events": Event.objects.count(),
        "sessions": len(sessions),
        "index_events_per_second": rate,
        "samples": samples,
        "pages": figures,
    }


def main() -> None:
    """Read the command line, start PostgreSQL, and measure in a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--again", action="store_true", help="measure the pages of what an earlier run wrote")
    options = parser.parse_args()
    postgres = Postgres(WORK / "record-pages")
    try:
        url = postgres.start()
        url = url.rpartition("/")[0] + "/bench_record_pages" if options.again else prepare(url, "record_pages")
        os.environ["DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings.test"
        os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
        django.setup()
        figures = measure(url, options.events, options.samples, is_again=options.again)
        RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
