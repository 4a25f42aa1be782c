"""How quickly does the inbox open when ten thousand requests wait?

    python -m bench.inbox_pages [--requests 10000] [--history 20000] [--samples 60]

Written into the embedded PostgreSQL, with its data in bench/.work: requests that wait, of 40 principals for 20
connections under rules of every kind (for everybody, for a group, for named people, for owners, escalated, in two
stages), and twice as many that have ended. Half of those that wait are nobody's whom this person may decide for, so
that "for me" has to look at many. Every page is asked for by Django's test client: what is measured is everything but
the network and the server.

Printed, and written to bench/results/inbox-pages.json: p50 and p95 of each page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import psutil
import psycopg

from bench.record_pages import client, people, timed
from bench.steps.journal import prepare
from gateway_project.embedded import Postgres

WORK = Path(__file__).resolve().parent / ".work"
RESULT = Path(__file__).resolve().parent / "results" / "inbox-pages.json"
MOST_MILLISECONDS = 300
TOOLS = ("refund_order", "delete_order", "run_sql", "kubectl_apply", "send_mail")
ENDED = ("used", "used", "used", "rejected", "expired", "cancelled")


def stages_of(dice: random.Random, user: int) -> list[dict[str, Any]]:
    """Return stages as rules have them: one in two is for others than `user`."""
    others = [user + 1 + dice.randrange(50) for _ in range(3)]
    kinds: list[list[dict[str, Any]]] = [
        [{"name": "Approvers", "needed": 1, "groups": [], "users": [], "owners": False}],
        [{"name": "Named", "needed": 1, "groups": [], "users": [*others, user], "owners": False}],
        [{"name": "Others", "needed": 2, "groups": [dice.randrange(2, 90)], "users": others, "owners": False}],
        [{"name": "Owners", "needed": 1, "groups": [], "users": [], "owners": True}],
    ]
    first = dice.choice(kinds)
    return [*first, kinds[2][0]] if dice.random() < 0.2 else first


def write(waiting: int, history: int, user: int) -> None:
    """Write the requests, and decisions about one in five of those that wait."""
    from policies.models import ApprovalDecision, ApprovalRequest

    dice, now = random.Random(3), datetime.now(UTC)
    principals, connections = people()

    def made(number: int, state: str, opened: datetime) -> ApprovalRequest:
        ended = opened + timedelta(seconds=dice.randrange(5, 7_200))
        is_held = state == "held"
        return ApprovalRequest(
            code=f"APR-{number:08X}",
            state=state,
            principal_id=dice.choice(principals),
            connection_id=dice.choice(connections),
            client_name="bench",
            method="tools/call",
            name=dice.choice(TOOLS),
            arguments={"order_id": dice.randrange(10**6), "reason": "x" * 200},
            binding=dice.randbytes(32),
            ciphertext=dice.randbytes(400),
            rule_name=f"rule {dice.randrange(12)}",
            why="money leaves",
            stages=stages_of(dice, user),
            terms={
                "risk": dice.choice(["low", "medium", "high"]),
                "run_within_seconds": 900,
                "max_uses": 1,
                "escalate_to": {"groups": [dice.randrange(2, 90)]},
            },
            escalated_at=now if dice.random() < 0.1 else None,
            opened_at=opened,
            changed_at=opened if is_held else ended,
            decided_at=ended if state in {"used", "rejected"} else None,
            expires_at=now + timedelta(hours=8) if is_held else ended,
        )

    rows = [made(number, "held", now - timedelta(seconds=dice.randrange(3_600))) for number in range(waiting)]
    ApprovalRequest.objects.bulk_create(rows, batch_size=1_000)
    some = [row for row in rows if dice.random() < 0.2]
    ApprovalDecision.objects.bulk_create(
        [ApprovalDecision(request=row, user_id=user, verdict="approve", view="{}") for row in some], batch_size=1_000
    )
    for begin in range(0, history, 5_000):
        ApprovalRequest.objects.bulk_create(
            [
                made(waiting + number, dice.choice(ENDED), now - timedelta(seconds=dice.randrange(3_600, 30 * 86_400)))
                for number in range(begin, min(history, begin + 5_000))
            ],
            batch_size=1_000,
        )


def pages(user: Any) -> dict[str, Callable[[], str]]:
    """Return the pages by name: how the next URL is made."""
    from policies.models import ApprovalRequest

    dice = random.Random(5)
    codes = list(ApprovalRequest.objects.filter(state="held").values_list("code", flat=True)[:2_000])
    middle = ApprovalRequest.objects.filter(state="held").order_by("opened_at", "id")[len(codes) // 2]
    place = f"{middle.opened_at.isoformat()}_{middle.pk}".replace("+", "%2B")
    ended = ApprovalRequest.objects.exclude(state="held").order_by("-changed_at", "-id")
    past = ended[ended.count() // 2]
    earlier = f"{past.changed_at.isoformat()}_{past.pk}".replace("+", "%2B")
    return {
        "for me": lambda: "/inbox/",
        "my groups": lambda: "/inbox/?tab=groups",
        "all": lambda: "/inbox/?tab=all",
        "all, in the middle": lambda: f"/inbox/?tab=all&after={place}",
        "all, by tool and risk": lambda: "/inbox/?tab=all&tool=run_*&risk=high",
        "all, by requester": lambda: f"/inbox/?tab=all&requester=person-{dice.randrange(40)}",
        "for me, nothing passes": lambda: "/inbox/?tool=nothing",
        "history": lambda: "/inbox/?tab=history",
        "history, later": lambda: f"/inbox/?tab=history&after={earlier}",
        "one request": lambda: f"/inbox/{dice.choice(codes)}/",
        "figures": lambda: "/inbox/figures/",
    }


def database_seconds() -> float:
    """Return the CPU time of this connection in the database: on a busy machine it says more than a clock."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        times = psutil.Process(cursor.fetchone()[0]).cpu_times()
    return float(times.user + times.system)


def measure(url: str, waiting: int, history: int, samples: int, *, is_again: bool) -> dict[str, Any]:
    """Write, and ask for the pages; return the figures."""
    from accounts.models import User
    from connections.models import Connection

    browser = client()
    user = User.objects.order_by("-pk")[0]
    if not is_again:
        write(waiting, history, user.pk)
    for row in Connection.objects.order_by("slug")[:2]:
        row.owners.add(user)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    figures: dict[str, Any] = {}
    for name, place in pages(user).items():
        before = database_seconds()
        found = timed(browser, place, samples)
        database = round(1000 * (database_seconds() - before) / (samples + 3), 1)
        figures[name] = {**found, "database_cpu_ms": database, "most_ms": MOST_MILLISECONDS}
        p50, p95, cpu = (found[key] for key in ("p50_ms", "p95_ms", "cpu_p95_ms"))
        verdict = f"at most {MOST_MILLISECONDS}: {'yes' if p95 <= MOST_MILLISECONDS else 'NO'}"
        took = f"p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  CPU p95 {cpu:6.1f} ms and {database:6.1f} ms of the database"
        print(f"{name:26} {took}  {verdict}", flush=True)
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": f"{os.cpu_count()} CPUs, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "waiting": waiting,
        "history": history,
        "samples": samples,
        "pages": figures,
    }


def main() -> None:
    """Read the command line, start PostgreSQL, and measure in a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--history", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--again", action="store_true", help="measure the pages of what an earlier run wrote")
    options = parser.parse_args()
    postgres = Postgres(WORK / "inbox-pages")
    try:
        url = postgres.start()
        url = url.rpartition("/")[0] + "/bench_inbox_pages" if options.again else prepare(url, "inbox_pages")
        os.environ["DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings.test"
        os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
        django.setup()
        figures = measure(url, options.requests, options.history, options.samples, is_again=options.again)
        RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
