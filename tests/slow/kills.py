"""SIGKILL a gateway at every labelled point of a call, again and again, under load, and check what the record says.

    python -m tests.slow.kills [--count 1000] [--seed 1] [--callers 6]

Each life: a gateway starts, callers call it side by side, it kills itself when it passes a label for the n-th time, the
next life starts. Checked for each life, and at the end for all of them:

- the upstream asks the database for each request, before it answers: the intent with the digest of exactly these bytes
  is durable already (0 executions without an earlier intent);
- when the next gateway says that it is ready, no intent of an earlier one is open: each has exactly one outcome, and
  that of an interrupted call is `outcome_unknown`; and this was so within five seconds;
- every answer that a caller got is in the record;
- all chains and checkpoints verify with deploy/wardgate_verify.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg

from gateway_project.embedded import Postgres, Valkey
from tests.support.servers import ROOT, answers_ok, free_port, wait_until
from tests.support.upstream import Seen, default_script, scripted_upstream

LABELS = ["decided", "intent_durable", "connected", "head_received", "answer_received", "message_released"]
LABELS += ["outcome_durable"]
INTENT = "gateway:call:intent"
OPEN = """
SELECT count(*) FROM gateway_sessions_event i
WHERE i.name = 'gateway:call:intent' AND i.instance_id <> %s AND i.id > %s AND NOT EXISTS (
    SELECT 1 FROM gateway_sessions_event o WHERE o.session_id = i.session_id AND o.call_id = i.call_id
    AND o.name IN ('gateway:call:completed', 'gateway:call:upstream_error', 'gateway:call:not_sent',
                   'gateway:call:aborted_by_client', 'gateway:call:outcome_unknown'))
"""


class Witness:
    """The upstream's side: looks for the intent of each request before it answers."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self.lock, self.local = dsn, threading.Lock(), threading.local()
        self.requests = self.without_intent = 0

    def script(self, seen: Seen, connection: Any) -> None:
        """Answer as a tool does; every fifth call as a stream with a message before the result."""
        if seen.verb == "POST" and b'"tools/call"' in seen.body:
            self._look(seen)
            if seen.message["params"]["arguments"]["order"] % 5 == 0:
                self._stream(seen, connection)
                return
        default_script(seen, connection)

    def _look(self, seen: Seen) -> None:
        if not hasattr(self.local, "connection"):
            self.local.connection = psycopg.connect(self.dsn, autocommit=True)
        found = self.local.connection.execute(
            "SELECT 1 FROM (SELECT body FROM gateway_sessions_event WHERE name = %s ORDER BY id DESC LIMIT 400) newest "
            "WHERE body LIKE %s",
            [INTENT, f"%{seen.sha256}%"],
        ).fetchone()
        with self.lock:
            self.requests += 1
            self.without_intent += found is None

    @staticmethod
    def _stream(seen: Seen, connection: Any) -> None:
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "working"}}
        answer = {"jsonrpc": "2.0", "id": seen.message["id"], "result": {"content": [{"type": "text", "text": "fine"}]}}
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for message in (note, answer):
            event = f"event: message\ndata: {json.dumps(message)}\n\n".encode()
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
        connection.sendall(b"0\r\n\r\n")


class Callers:
    """Threads that call until the gateway is gone, each call with a number of its own."""

    def __init__(self, gateway: Any, count: int) -> None:
        self.gateway, self.count = gateway, count
        self.lock, self.number = threading.Lock(), 0
        self.answered: list[int] = []

    def run(self) -> None:
        """Call, and return when every caller has seen the end."""
        # A new token for each life: one that expires would be refused for ever, and nobody would pass a label.
        self.headers = {
            **self.gateway.headers(groups=["sre"]),
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2025-11-25",
        }
        threads = [threading.Thread(target=self._call) for _ in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    def _call(self) -> None:
        with httpx.Client(timeout=10) as client:
            while True:
                with self.lock:
                    self.number += 1
                    number = self.number
                message = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
                message["params"] = {"name": "get_order", "arguments": {"order": number}}
                try:
                    answer = client.post(self.gateway.url("orders"), json=message, headers=self.headers)
                except httpx.HTTPError:
                    return
                if "fine" in answer.text and "NOT EXECUTED" not in answer.text:
                    with self.lock:
                        self.answered.append(number)


def main() -> int:
    """Run, print a line every fifty lives and the figures at the end; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wardgate-kills-") as folder:
        postgres, valkey = Postgres(Path(folder), throwaway=True), Valkey(Path(folder))
        try:
            return run(options, postgres.start(), valkey.start(), Path(folder))
        finally:
            valkey.stop()
            postgres.stop()


def run(options: argparse.Namespace, dsn: str, redis: str, folder: Path) -> int:
    """Run all lives on this database."""
    os.environ.update(DATABASE_URL=dsn, REDIS_URL=redis, DJANGO_SETTINGS_MODULE="gateway_project.settings.test")
    from tests.support.database import migrate
    from tests.support.gateway import UPSTREAM_SECRET, LiveGateway

    migrate(dsn)
    chance = random.Random(options.seed)
    witness = Witness(dsn)
    with scripted_upstream() as upstream, psycopg.connect(dsn, autocommit=True) as database:
        upstream.script = witness.script
        gateway = LiveGateway(dsn=dsn, folder=folder, port=free_port())
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
        callers = Callers(gateway, options.callers)
        with (folder / "lives.log").open("wb") as log:
            lives = subprocess.Popen(
                [sys.executable, "-m", "tests.slow.lives", str(gateway.port)],
                cwd=ROOT,
                env=gateway.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                figures = _all_lives(options, lives, gateway, callers, witness, database, chance)
            finally:
                assert lives.stdin is not None
                lives.stdin.close()
                lives.wait(30)
        return _verdict(options, figures, gateway, callers, witness, database)


def _all_lives(
    options: argparse.Namespace,
    lives: subprocess.Popen[str],
    gateway: Any,
    callers: Callers,
    witness: Witness,
    database: psycopg.Connection,
    chance: random.Random,
) -> dict[str, Any]:
    def said() -> str:
        assert lives.stdout is not None
        return lives.stdout.readline().strip()

    def order(label: str, times: int) -> None:
        assert lives.stdin is not None
        lives.stdin.write(json.dumps({"label": label, "times": times}) + "\n")
        lives.stdin.flush()

    assert said() == "ready"
    killed: Counter[str] = Counter()
    starts: list[float] = []
    still_open = 0
    before = 0
    for number in range(options.count + 1):
        label = LABELS[number % len(LABELS)]
        # Few streams pass `message_released`, so the first one has to do.
        order(label, 1 if label == "message_released" else chance.randint(1, 12))
        began = time.monotonic()
        child = int(said())
        wait_until(lambda: answers_ok(gateway.port, "/readyz"), seconds=30, what="readiness")
        starts.append(time.monotonic() - began)
        newest = database.execute(
            "SELECT id FROM gateway_sessions_gatewayinstance ORDER BY started_at DESC LIMIT 1"
        ).fetchone()
        assert newest is not None
        still_open += database.execute(OPEN, [newest[0], before]).fetchone()[0]  # type: ignore[index]
        if number == options.count:
            os.kill(child, signal.SIGTERM)
            said()
            break
        callers.run()
        if said() == "-9":
            killed[label] += 1
        if number % 50 == 49:
            print(
                f"{number + 1} lives, {witness.requests} requests at the upstream, {witness.without_intent} without an "
                f"intent, {still_open} intents left open, slowest start {max(starts):.2f} s",
                flush=True,
            )
            # Everything up to here has been looked at; looking at it again each time would take longer and longer.
            before = (database.execute("SELECT max(id) FROM gateway_sessions_event").fetchone() or [0])[0] - 2000
    return {"killed": killed, "starts": starts, "still_open": still_open}


def _verdict(
    options: argparse.Namespace,
    figures: dict[str, Any],
    gateway: Any,
    callers: Callers,
    witness: Witness,
    database: psycopg.Connection,
) -> int:
    from tests.support.verifying import tool

    outcomes = database.execute(
        "SELECT name, count(*) FROM gateway_sessions_event WHERE name LIKE 'gateway:call:%' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    twice = database.execute(
        "SELECT count(*) FROM (SELECT call_id FROM gateway_sessions_event WHERE name IN ('gateway:call:completed', "
        "'gateway:call:upstream_error', 'gateway:call:not_sent', 'gateway:call:aborted_by_client', "
        "'gateway:call:outcome_unknown') GROUP BY call_id HAVING count(*) > 1) twice"
    ).fetchone()
    recorded = {
        row[0]
        for row in database.execute(
            "SELECT (i.body::json ->> 'id')::bigint FROM gateway_sessions_event i JOIN gateway_sessions_event o "
            "ON o.call_id = i.call_id AND o.name = 'gateway:call:completed' WHERE i.name = 'gateway:call:intent'"
        )
    }
    unrecorded = [number for number in callers.answered if number not in recorded]
    lines = subprocess.run(
        [sys.executable, "manage.py", "record_export"],
        cwd=ROOT,
        env=gateway.environment,
        capture_output=True,
        check=True,
    ).stdout.splitlines(keepends=True)
    report = tool.Report()
    tool.verify_lines(lines, report)
    starts = sorted(figures["starts"])
    print(f"killed: {dict(figures['killed'])} = {sum(figures['killed'].values())}")
    print(f"events of calls: {dict(outcomes)}")
    print(f"requests at the upstream {witness.requests}, without an earlier intent {witness.without_intent}")
    print(f"intents open when the next gateway was ready {figures['still_open']}, with two outcomes {twice[0]}")  # type: ignore[index]
    print(f"answers that callers got {len(callers.answered)}, not in the record {len(unrecorded)}")
    print(f"start to ready, reconciled: median {starts[len(starts) // 2]:.2f} s, slowest {starts[-1]:.2f} s")
    print(f"verified: {report.events} events, {report.checkpoints} checkpoints, {report.count} problems")
    for problem in report.problems[:3]:
        print(f"  {problem}")
    is_good = not (witness.without_intent or figures["still_open"] or twice[0] or unrecorded or report.count)  # type: ignore[index]
    print("OK" if is_good and starts[-1] < 5 else "FAILED")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
