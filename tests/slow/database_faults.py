"""The database fails under load, again and again: killed, its disk full, its writes refused with EIO.

    python -m tests.slow.database_faults killed [--rounds 50]     SIGKILL to all of PostgreSQL, then a new start
    python -m tests.slow.database_faults full [--rounds 10]       its disk is a small tmpfs that is filled (needs root)
    python -m tests.slow.database_faults eio [--rounds 30]        strace lets the n-th write of WAL fail (needs strace)

Callers call one gateway all the time. Checked in the end: what the upstream got has an intent with the same digest in
the record (0 forwards without one, so none while nothing could be written); what callers were answered is in the record
(0 acknowledged events lost); every intent has exactly one outcome; all chains and checkpoints verify. Measured: how
soon a call is served after the database accepts writes again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import psycopg

from gateway_project.embedded import Postgres, Valkey
from tests.support.servers import ROOT, wait_until
from tests.support.upstream import Seen, default_script, scripted_upstream

DISK_MEGABYTES = 400
INTENT, COMPLETED = "gateway:call:intent", "gateway:call:completed"


class Load:
    """Callers that never stop, what they were answered, and what the upstream got."""

    def __init__(self, gateway: Any, count: int) -> None:
        self.gateway, self.lock, self.number = gateway, threading.Lock(), 0
        self.answered: list[int] = []
        self.arrived: list[str] = []
        self.served_at, self.refused = 0.0, 0
        self.last_refusal: dict[str, Any] = {}
        self.is_over = False
        self.headers: dict[str, str] = {}
        self.refresh()
        self.threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def refresh(self) -> None:
        """Take a new token, before the old one expires."""
        self.headers = {
            **self.gateway.headers(groups=["sre"]),
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2025-11-25",
        }

    def script(self, seen: Seen, connection: Any) -> None:
        """Be the upstream: keep the digest of what came, and answer."""
        if seen.verb == "POST":
            with self.lock:
                self.arrived.append(seen.sha256)
        default_script(seen, connection)

    def _call(self) -> None:
        client = httpx.Client(timeout=15)
        while not self.is_over:
            with self.lock:
                self.number += 1
                number = self.number
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
            message["params"] = {"name": "get_order", "arguments": {"order": number}}
            try:
                answer = client.post(self.gateway.url("orders"), json=message, headers=self.headers)
            except httpx.HTTPError:
                continue
            if '"fine"' in answer.text:
                with self.lock:
                    self.answered.append(number)
                    self.served_at = time.monotonic()
            else:
                with self.lock:
                    self.refused += 1
                    self.last_refusal = {"status": answer.status_code, "text": answer.text[:300]}
                time.sleep(0.02)
        client.close()


@contextlib.contextmanager
def small_disk(folder: Path, is_wanted: bool) -> Iterator[Path]:
    """Yield a folder for the database, on a tmpfs of its own where the disk is to be filled."""
    place = folder / "database"
    place.mkdir(mode=0o711)
    if not is_wanted:
        yield place
        return
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=0711", "wardgate", str(place)], check=True
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def accepts(dsn: str) -> bool:
    """Tell whether the database takes a write."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=2) as connection:
            connection.execute("CREATE TEMPORARY TABLE probe AS SELECT 1")
            connection.execute("SELECT pg_logical_emit_message(true, 'probe', '')")
    except psycopg.Error:
        return False
    return True


class Faults:
    """The ways to break the database; each leaves it accepting again and returns when it did."""

    def __init__(self, postgres: Postgres, place: Path, load: Load, chance: random.Random) -> None:
        self.postgres, self.place, self.load, self.chance = postgres, place, load, chance

    def killed(self) -> None:
        """Kill every process of the server at once."""
        assert self.postgres.pid is not None
        server = psutil.Process(self.postgres.pid)
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        server.wait(10)
        self._again()

    def full(self) -> None:
        """Fill its disk until calls are refused, leave it full for two seconds more, and free it."""
        ballast, refused = self.place / "ballast", self.load.refused
        deadline = time.monotonic() + 120
        with ballast.open("wb") as file:
            while self.load.refused < refused + 5 and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    file.write(bytes(64 * 1024))
                    file.flush()
                    continue
                time.sleep(0.05)
        time.sleep(2)
        assert self.load.refused > refused, "the full disk was not noticed"
        ballast.unlink()
        self._again()

    def eio(self) -> None:
        """Let some write of the record's own connection fail."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'wardgate-record'"
            ).fetchone()
        assert found is not None
        call = self.chance.choice(["pwrite64", "fdatasync"])
        when = self.chance.randint(1, 20)
        tracer = subprocess.Popen(
            ["strace", "-qq", "-o", "/dev/null", "-p", str(found[0]), "-e", f"trace={call}", "-e",
             f"inject={call}:error=EIO:when={when}"],
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            tracer.wait(10)
        if tracer.poll() is None:
            tracer.kill()
            tracer.wait()
        self._again()

    def _again(self) -> None:
        for _ in range(20):
            if not self.postgres.is_running:
                with contextlib.suppress(Exception):
                    self.postgres.start()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and self.postgres.is_running:
                if accepts(self.postgres.url):
                    return
                time.sleep(0.02)
        raise TimeoutError("the database did not come back")


def main() -> int:
    """Run the rounds and print the figures; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fault", choices=["killed", "full", "eio"])
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.rounds = options.rounds or {"killed": 50, "full": 10, "eio": 30}[options.fault]
    folder = Path(tempfile.mkdtemp(prefix="wardgate-faults-"))
    folder.chmod(0o711)
    try:
        with small_disk(folder, options.fault == "full") as place:
            # Migrated without fsync, which takes a tenth of the time; what follows is durable as in a deployment.
            quick, postgres, valkey = Postgres(place, throwaway=True), Postgres(place), Valkey(folder)
            try:
                quick.start()
                from tests.support.database import migrate

                migrate(quick.url)
                quick.stop()
                postgres.start()
                return run(options, postgres, valkey.start(), folder, place)
            finally:
                valkey.stop()
                quick.stop()
                postgres.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace, postgres: Postgres, redis: str, folder: Path, place: Path) -> int:
    """Break the database as often as asked for, and judge."""
    os.environ.update(
        DATABASE_URL=postgres.url, REDIS_URL=redis, DJANGO_SETTINGS_MODULE="gateway_project.settings.test"
    )
    from tests.support.gateway import UPSTREAM_SECRET, LiveGateway

    with scripted_upstream() as upstream:
        gateway = LiveGateway(dsn=postgres.url, folder=folder)
        gateway.seed(
            {
                "providers": [gateway.provider_seed()],
                "connections": [
                    {
                        "slug": "orders",
                        "upstream_url": upstream.url,
                        "credential": {"kind": "bearer", "secret": UPSTREAM_SECRET},
                    }
                ],
                "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
            }
        )
        load = Load(gateway, options.callers)
        upstream.script = load.script
        gateway.start()
        faults = Faults(postgres, place, load, random.Random(options.seed))
        back: list[float] = []
        try:
            for thread in load.threads:
                thread.start()
            for number in range(options.rounds):
                load.refresh()
                before = len(load.answered)
                wait_until(lambda before=before: len(load.answered) > before + 20, seconds=60, what="calls")  # type: ignore[misc]
                getattr(faults, options.fault)()
                accepted = time.monotonic()
                wait_until(lambda accepted=accepted: load.served_at > accepted, seconds=60, what="a served call")  # type: ignore[misc]
                back.append(load.served_at - accepted)
                if number % 10 == 9:
                    print(f"{number + 1} rounds, {len(load.answered)} calls answered", flush=True)
        except TimeoutError:
            print(gateway.log()[-4000:])
            print({**load.last_refusal})
            raise
        finally:
            load.is_over = True
            for thread in load.threads:
                thread.join(20)
            gateway.stop()
        return verdict(postgres, gateway, load, back)


def verdict(postgres: Postgres, gateway: Any, load: Load, back: list[float]) -> int:
    """Compare what callers, the upstream and the record say."""
    from tests.support.verifying import tool

    with psycopg.connect(postgres.url, autocommit=True) as database:
        intents = [
            row[0]
            for row in database.execute(
                "SELECT body::json ->> 'outbound_sha256' FROM gateway_sessions_event WHERE name = %s", [INTENT]
            )
        ]
        completed = {
            row[0]
            for row in database.execute(
                "SELECT (i.body::json ->> 'id')::bigint FROM gateway_sessions_event i JOIN gateway_sessions_event o "
                "ON o.call_id = i.call_id AND o.name = %s WHERE i.name = %s",
                [COMPLETED, INTENT],
            )
        }
        outcomes = dict(
            database.execute(
                "SELECT name, count(*) FROM gateway_sessions_event WHERE name LIKE 'gateway:call:%' GROUP BY 1"
            ).fetchall()
        )
    known = set(intents)
    forwarded = [digest for digest in load.arrived if digest not in known]
    lost = [number for number in load.answered if number not in completed]
    ends = sum(count for name, count in outcomes.items() if name not in {INTENT, "gateway:call:denied"})
    lines = subprocess.run(
        [sys.executable, "manage.py", "record_export"],
        cwd=ROOT,
        env=gateway.environment,
        capture_output=True,
        check=True,
    ).stdout.splitlines(keepends=True)
    report = tool.Report()
    tool.verify_lines(lines, report)
    ordered = sorted(back)
    print(
        f"{len(back)} faults; {len(load.answered)} calls answered, {load.refused} refused; events of calls {outcomes}"
    )
    print(f"requests at the upstream {len(load.arrived)}, without an intent {len(forwarded)}")
    print(f"answers that are not in the record {len(lost)}; intents {len(intents)}, outcomes {ends}")
    print(f"a call served again after: median {ordered[len(ordered) // 2]:.2f} s, slowest {ordered[-1]:.2f} s")
    print(f"verified: {report.events} events, {report.checkpoints} checkpoints, {report.count} problems")
    is_good = not (forwarded or lost or report.count) and ends == len(intents) and ordered[-1] < 10
    print("OK" if is_good else "FAILED")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
