"""What do calls that wait for a human cost, and how soon does one run once it is approved?

    python -m bench.approvals [--streams 2000] [--tasks 8000] [--rows 0] [--decisions 300] [--dry-run]

Starts a PostgreSQL that commits durably, a Valkey and one gateway process. Clients send calls that policy holds:
`--streams` of them wait on open connections, `--tasks` got a task and wait without one, and `--rows` more requests are
written whose clients wait no longer. Caps are raised, and there are 20 callers. Then

- how much the resident memory of the gateway process has grown for each call that waits (both kinds);
- what the process uses of a core while nothing is decided;
- from the moment before a decision is written to the moment when the upstream gets the call, for calls drawn by lot,
  with Redis running and again after Valkey was stopped, all the others waiting on.

Printed as a table with what is asked for, and written to bench/results/approvals.json with the load of the machine.
Exits with 1 when a figure misses what is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from bench.steps.journal import prepare
from gateway_project.embedded import Postgres, Valkey

WORK = Path(__file__).resolve().parent / ".work"
RESULT = Path(__file__).resolve().parent / "results" / "approvals.json"
CALLERS, AT_ONCE, WARM = 20, 8, 200
MOST_KIB, MOST_WITH_REDIS_MS, MOST_WITHOUT_MS = 20.0, 200.0, 1000.0
IDLE_SECONDS = 30.0
OPEN_SECONDS = 120.0
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MODERN = "2026-07-28"


class Upstream:
    """Answers every call, and notes when it came."""

    def __init__(self) -> None:
        self.came: dict[int, float] = {}
        self.twice = 0

    async def start(self) -> str:
        """Listen, and return the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/mcp"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
                message = json.loads(await reader.readexactly(length)) if length else {}
                came = time.monotonic()
                number = message.get("params", {}).get("arguments", {}).get("number")
                if number is not None:
                    self.twice += number in self.came
                    self.came[number] = came
                body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": {"content": []}}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(body), body)
                )


class TryAgain(Exception):
    """The gateway could not record the call in time, and says that nothing has happened."""


class Clients:
    """The callers and their waiting calls."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self.port, self.tokens = port, tokens
        self.writers: list[asyncio.StreamWriter] = []
        self.readers: set[asyncio.Task[None]] = set()

    async def stream(self, number: int) -> None:
        """Send a call and keep its connection, once its stream is open."""
        reader, writer = await self._send(number, {"mcp-protocol-version": "2025-11-25"}, {})
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or b"text/event-stream" not in head:
            body = await reader.read(2000)
            writer.close()
            refuse(body)
        self.writers.append(writer)
        task = asyncio.create_task(self._read(reader))
        self.readers.add(task)
        task.add_done_callback(self.readers.discard)

    async def task(self, number: int) -> None:
        """Send a call and get a task."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": TASKS,
        }
        headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "refund"}
        reader, writer = await self._send(number, headers, {"_meta": meta})
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        writer.close()
        if b'"resultType":"task"' not in body:
            refuse(body)

    async def _send(
        self, number: int, headers: dict[str, str], params: dict[str, Any]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        arguments = {"number": number, "order": f"order-{number}", "reason": "the parcel was lost on its way"}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
        message["params"] = {"name": "refund", "arguments": arguments, **params}
        body = json.dumps(message).encode()
        lines = [
            "POST /mcp/orders HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "x-approval-wait: 86400",
            f"authorization: Bearer {self.tokens[number % len(self.tokens)]}",
            *(f"{name}: {value}" for name, value in headers.items()),
            f"content-length: {len(body)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return reader, writer

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while await reader.read(65536):
                pass


def refuse(body: bytes) -> None:
    """Say what to do about a call that was not held."""
    if b"record_unavailable" in body:
        raise TryAgain
    raise SystemExit(f"a call was not held: {body!r}")


async def many(begin: Callable[[int], Awaitable[None]], numbers: range, what: str) -> float:
    """Begin so many calls, some at once; return how many in a second."""
    gate, began, done = asyncio.Semaphore(AT_ONCE), time.monotonic(), 0

    async def one(number: int) -> None:
        nonlocal done
        async with gate, asyncio.timeout(OPEN_SECONDS):
            while True:
                try:
                    await begin(number)
                    break
                except TryAgain:
                    await asyncio.sleep(1)
        done += 1
        if done % 1000 == 0:
            print(f"  {done} {what}, {done / (time.monotonic() - began):.0f}/s", flush=True)

    await asyncio.gather(*(one(number) for number in numbers))
    return len(numbers) / max(0.001, time.monotonic() - began)


def resident(process: psutil.Process) -> int:
    """Return the resident memory in bytes."""
    return int(process.memory_info().rss)


def write_rows(count: int) -> None:
    """Write requests whose clients wait no longer, as copies of one that is there."""
    from policies.models import ApprovalRequest

    one = ApprovalRequest.objects.filter(state="held").first()
    assert one is not None
    rows = []
    for number in range(count):
        opened = datetime.now(UTC) - timedelta(seconds=60 + number % 3600)
        values = {field.attname: getattr(one, field.attname) for field in ApprovalRequest._meta.concrete_fields}
        values |= {"id": uuid.uuid4(), "code": f"APR-B{number:07d}", "binding": os.urandom(32), "opened_at": opened}
        rows.append(ApprovalRequest(**{**values, "changed_at": opened, "waiting_at": opened}))
    ApprovalRequest.objects.bulk_create(rows, batch_size=1000)


def decided(number: int, user_id: int) -> float:
    """Approve the call `number` through the service; return the moment before."""
    from django.db import connection

    from accounts.models import User
    from policies import services
    from policies.models import ApprovalRequest

    try:
        request = ApprovalRequest.objects.get(state="held", arguments__number=number)
        deciding = services.Deciding(user=User.objects.get(pk=user_id), view=services.view_of(request))
        began = time.monotonic()
        services.request_decide(
            request_id=request.pk, deciding=deciding, approve=True, reason="bench", now=datetime.now(UTC)
        )
        return began
    finally:
        connection.close()


async def latencies(upstream: Upstream, numbers: list[int], user_id: int) -> list[float]:
    """Approve calls one after the other; return how many milliseconds later each came to the upstream."""
    found = []
    for number in numbers:
        began = await asyncio.to_thread(decided, number, user_id)
        async with asyncio.timeout(30):
            while number not in upstream.came:  # noqa: ASYNC110 - the moment itself is noted by the upstream
                await asyncio.sleep(0.005)
        found.append(1000 * (upstream.came[number] - began))
    return found


def figures(spans: list[float]) -> dict[str, float]:
    """Return the percentiles."""
    ordered = sorted(spans)
    p99 = ordered[max(0, round(0.99 * len(ordered)) - 1)]
    return {"p50_ms": round(statistics.median(ordered), 1), "p99_ms": round(p99, 1), "most_ms": round(ordered[-1], 1)}


async def measure(options: argparse.Namespace, gateway: Any, valkey: Valkey, upstream: Upstream) -> dict[str, Any]:
    """Open, weigh, decide; return the figures."""
    from accounts.models import RoleGrant, User

    def grace() -> int:
        user = User.objects.create(username="grace", is_staff=True)
        RoleGrant.objects.create(user=user, role=RoleGrant.Role.APPROVER)
        return int(user.pk)

    user_id = await asyncio.to_thread(grace)
    tokens = [gateway.token(f"caller-{number}", exp=int(time.time()) + 3500) for number in range(CALLERS)]
    clients, process = Clients(gateway.port, tokens), psutil.Process(gateway.process.pid)
    await many(clients.stream, range(WARM // 2), "streams to warm up")
    await many(clients.task, range(WARM // 2, WARM), "tasks to warm up")
    found: dict[str, Any] = {"streams": options.streams, "tasks": options.tasks, "rows": options.rows}
    after_warm = weighed = resident(process)
    end = WARM
    for kind, begin, count in (
        ("stream", clients.stream, options.streams),
        ("task", clients.task, options.tasks),
    ):
        if not count:
            continue
        found[f"{kind}s_opened_per_second"] = round(await many(begin, range(end, end + count), f"{kind}s"), 1)
        end += count
        now = resident(process)
        found[f"kib_per_{kind}"] = round((now - weighed) / count / 1024, 1)
        weighed = now
    found["kib_per_waiting_call"] = round((weighed - after_warm) / max(1, end - WARM) / 1024, 1)
    if options.rows:
        await asyncio.to_thread(write_rows, options.rows)
    used, began = sum(process.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    found["idle_cores"] = round((sum(process.cpu_times()[:2]) - used) / (time.monotonic() - began), 3)
    dice = random.Random(3)
    drawn = dice.sample(range(WARM, end), min(2 * options.decisions, end - WARM))
    half = len(drawn) // 2
    found["with_redis"] = figures(await latencies(upstream, drawn[:half], user_id))
    await asyncio.to_thread(valkey.stop)
    found["without_redis"] = figures(await latencies(upstream, drawn[half:], user_id))
    found["executed"], found["executed_twice"] = len(upstream.came), upstream.twice
    found["decisions"] = len(drawn)
    for writer in clients.writers:
        writer.close()
    return found


def judged(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return what is asked for: name, figure, most."""
    return [
        ("KiB for each waiting call", found["kib_per_waiting_call"], MOST_KIB),
        ("decide to forward, p99, Redis running (ms)", found["with_redis"]["p99_ms"], MOST_WITH_REDIS_MS),
        ("decide to forward, p99, Redis stopped (ms)", found["without_redis"]["p99_ms"], MOST_WITHOUT_MS),
        ("calls that ran and were not approved, or ran twice", abs(found["executed"] - found["decisions"])
         + found["executed_twice"], 0),
    ]  # fmt: skip


async def run(options: argparse.Namespace, dsn: str, valkey: Valkey, folder: Path) -> dict[str, Any]:
    """Start the gateway, and measure it."""
    from tests.support.gateway import LiveGateway
    from tests.support.held_callers import ROOMY
    from tests.support.servers import free_port

    upstream = Upstream()
    url = await upstream.start()
    environment = {**ROOMY, "REDIS_URL": os.environ["REDIS_URL"], "WARDGATE_POLICY_POLL_MILLISECONDS": "1000"}
    gateway = LiveGateway(dsn=dsn, folder=folder, port=free_port(), environment=environment)
    os.environ.update({name: gateway.environment[name] for name in ("SECRET_KEY", "WARDGATE_MASTER_KEYS")})
    import django

    django.setup()
    gateway.seed(
        {
            "providers": [gateway.provider_seed()],
            "connections": [{"slug": "orders", "upstream_url": url}],
            "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
            "guardrails": [{"name": "wait", "effect": "hold", "methods": ["tools/call"], "names": ["refund"]}],
        }
    )
    gateway.start()
    try:
        return await measure(options, gateway, valkey, upstream)
    finally:
        gateway.stop()


def main() -> int:
    """Read the command line, start the services, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=8000)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--decisions", type=int, default=300, help="with Redis, and as many without")
    parser.add_argument("--dry-run", action="store_true", help="write no result")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="wardgate-approvals-") as name:
        folder = Path(name)
        postgres, valkey = Postgres(WORK / "approvals"), Valkey(folder)
        try:
            os.environ["REDIS_URL"] = valkey.start()
            os.environ["DATABASE_URL"] = prepare(postgres.start(), "approvals")
            os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings.test"
            found = asyncio.run(run(options, os.environ["DATABASE_URL"], valkey, folder))
        finally:
            valkey.stop()
            postgres.stop()
    found |= {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "cpus": os.cpu_count(),
        "load_of_the_machine": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found, indent=1))
    is_good = True
    for what, figure, most_figure in judged(found):
        is_good = is_good and figure <= most_figure
        print(f"{what:52} {figure:9.1f}  at most {most_figure:6.0f}: {'yes' if figure <= most_figure else 'NO'}")
    if not options.dry_run:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
