"""Cells of the table: one client, one held call, one decision; all of them side by side on one gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.approval_clients.clients import HERE, Client
from tests.e2e.approval_clients.table import AT_ONCE, DENIED_BECAUSE, Ending, kind_of, possible, shown
from tests.support.forwarder import Forwarder
from tests.support.gateway import BEARER, LiveGateway, gateway_running
from tests.support.servers import ROOT, Server, free_port, running, wait_until

SLUG = "accounts"
TOOLS = 2
STARTING_AT_A_TIME = 3
READY_SECONDS = 120.0
QUIT_SECONDS = 10.0
SPARE_SECONDS = 30.0
"""How much later than expected anything may come on a busy machine."""
LEFT_SECONDS = 3.0
"""How long a client that was cancelled is watched."""
CUT_SECONDS = 3.0
"""When a connection that is to be lost is cut."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: the decision comes `seconds` after the request was opened; `decision` is how it is called below."""

    client: Client
    decision: str
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    held: float | None = None

    @property
    def name(self) -> str:
        """The principal of the cell, and the argument of its calls."""
        return "".join(letter if letter.isalnum() else "-" for letter in f"{self.client.name}-{self.decision}").lower()

    @property
    def id(self) -> str:
        """The name with the seconds."""
        return f"{self.name}-{self.seconds:g}".replace(".", "-")

    @property
    def ways(self) -> list[list[str]]:
        """The ways in which its calls may end."""
        if self.decision == "cancelled":
            return [["cancelled"] if self.client.cancel == "unnoticed" else ["cancelled", "result"]]
        held = self.client.held if self.held is None else self.held
        if self.decision == "dropped":
            if self.client.dropped == "resumes":
                return [["result"]]
            first = "cancelled" if self.client.dropped == "hangs" else "gave up"
            left = self.seconds - CUT_SECONDS
            ways = [[first, *way] for way in possible(held=held, gives_up=self.client.gives_up, decided_at=left)]
            return [["result"], *ways] if self.client.dropped == "polls" else ways
        ending = "result" if self.decision == "approved" else self.decision
        return possible(held=held, gives_up=self.client.gives_up, decided_at=self.seconds, decision=ending)


@dataclass(slots=True)
class Measured:
    """What came of a cell. `noticed` is what the gateway learned of a cancelled call."""

    cell: Cell
    endings: list[Ending] = field(default_factory=list)
    requests: int = 0
    executions: int = 0
    noticed: str = ""
    problem: str = ""

    @property
    def wrong(self) -> list[str]:
        """What is not as expected."""
        cell, kinds = self.cell, [ending.kind for ending in self.endings]
        wrong = [self.problem] if self.problem else []
        if kinds not in cell.ways:
            wrong.append(f"ended as {kinds}, expected {cell.ways[0]}")
        runs = 0 if cell.decision in {"denied", "expired"} else 1
        if self.executions != runs:
            wrong.append(f"the upstream ran it {self.executions} times, expected {runs}")
        opened = 2 if self.noticed == "withdrawn" else 1
        if self.requests != opened:
            wrong.append(f"{self.requests} requests were opened, expected {opened}")
        if cell.decision == "cancelled" and self.noticed != cell.client.cancel:
            wrong.append(f"the call taken back was {self.noticed}, expected {cell.client.cancel}")
        wrong += [f"not the text that was sent: {end.text}" for end in self.endings if end.kind == "other"]
        return wrong


class Lines:
    """A driver's process: orders in, endings out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def order(self, **entry: Any) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(entry).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await self.process.stdin.drain()

    async def said(self, *, seconds: float) -> dict[str, Any]:
        """Return the next thing it says; that it has ended, if it has.

        Raises:
            TimeoutError: it says nothing for `seconds`.
        """
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := await self.process.stdout.readline():
                with contextlib.suppress(json.JSONDecodeError):
                    entry: dict[str, Any] = json.loads(line)
                    return entry
        return {"said": "gave_up", "text": "the client's process has ended"}


class Line(Forwarder):
    """Stands between a client and the gateway, and can be cut."""

    def __init__(self, to_port: int) -> None:
        super().__init__(port=free_port(), to_port=to_port, headers=dict)
        self._connections: set[asyncio.Task[Any]] = set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await super()._connected(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    def cut(self) -> None:
        """End every connection that is open now; the next one passes."""
        for task in self._connections:
            task.cancel()


class Bench:
    """A gateway, the upstream behind it, and somebody who decides.

    Args:
        gateway: which runs.
        token: of the REST API, of an approver.
        journal: of the upstream.
        folder: for what the clients print.
    """

    def __init__(self, gateway: LiveGateway, token: str, journal: Path, folder: Path) -> None:
        self.gateway, self.token, self.journal, self.folder = gateway, token, journal, folder
        self.rows: list[dict[str, Any]] = []
        self._starting = asyncio.Semaphore(STARTING_AT_A_TIME)
        self._looked = asyncio.Condition()

    async def watch(self) -> None:
        """Keep `rows` as the requests are in the database."""
        query = (
            "SELECT id, code, state, arguments->>'cell' AS cell FROM policies_approvalrequest ORDER BY opened_at, code"
        )
        while True:
            self.rows = await asyncio.to_thread(self.gateway.sql, query)
            async with self._looked:
                self._looked.notify_all()
            await asyncio.sleep(0.1)

    def requests(self, cell: Cell) -> list[dict[str, Any]]:
        """Return the requests of the cell, the newest last."""
        return [row for row in self.rows if row["cell"] == cell.id]

    def executions(self, cell: Cell) -> int:
        """Return how often the upstream ran the cell's tool."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return Counter(lines)[cell.id]

    async def opened(self, cell: Cell, *, count: int = 1) -> dict[str, Any]:
        """Return the cell's newest request, once there are `count`."""
        async with asyncio.timeout(SPARE_SECONDS), self._looked:
            await self._looked.wait_for(lambda: len(self.requests(cell)) >= count)
        return self.requests(cell)[-1]

    async def decide(self, request: Mapping[str, Any], *, approve: bool) -> None:
        """Approve or deny over the REST API."""
        url = f"{self.gateway.origin}/api/v1/approvals/{request['id']}/decide/"
        headers = {"Authorization": f"Bearer {self.token}"}
        body = {"approve": approve, "reason": "looked at it" if approve else DENIED_BECAUSE}
        async with httpx2.AsyncClient(headers=headers, timeout=SPARE_SECONDS, trust_env=False) as client:
            answer = await client.post(url, json=body)
        assert answer.status_code == 200, f"the decision was refused: {answer.status_code} {answer.text[:500]}"

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """Yield a line to the gateway of its own."""
        line = Line(self.gateway.port)
        server = await line.serve()
        try:
            yield line
        finally:
            line.cut()
            server.close()

    @asynccontextmanager
    async def driver(self, cell: Cell, port: int) -> AsyncIterator[Lines]:
        """Start the cell's driver with the gateway at `port`, and yield it when it is ready."""
        token = self.gateway.token(sub=cell.id, exp=int(time.time()) + 3000)
        command = await asyncio.to_thread(cell.client.install, self.folder)
        position = next(place for place, word in enumerate(command) if "drive_" in word) + 1
        command[position:position] = [f"http://127.0.0.1:{port}/mcp/{SLUG}", token, json.dumps(dict(cell.headers))]
        bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        pipe, path = asyncio.subprocess.PIPE, self.folder / f"{cell.id}.log"
        async with AsyncExitStack() as stack:
            log = stack.enter_context(path.open("wb"))
            async with self._starting:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=pipe, stdout=pipe, stderr=log, env=bare, start_new_session=True
                )
                stack.push_async_callback(_ended, process)
                lines = Lines(process)
                said = await lines.said(seconds=READY_SECONDS)
            if said["said"] != "ready":
                raise DriverFailed(f"{said['text']}: {_last(path)}")
            yield lines
            await lines.order(do="quit")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIT_SECONDS):
                    await process.wait()

    # Cells.

    async def measure(self, cell: Cell) -> Measured:
        """Play one cell."""
        measured = Measured(cell)
        try:
            async with AsyncExitStack() as stack:
                line = await stack.enter_async_context(self.line()) if cell.decision == "dropped" else None
                lines = await stack.enter_async_context(self.driver(cell, line.port if line else self.gateway.port))
                await self._play(cell, lines, measured, line)
        except Exception as error:
            # One cell that cannot be played is told in the table, and spoils no other.
            measured.problem = f"{type(error).__name__}: {error}"
        measured.requests, measured.executions = len(self.requests(cell)), self.executions(cell)
        print(f"{cell.id}: {shown(measured.endings)}", flush=True)
        return measured

    async def _call(self, cell: Cell, lines: Lines) -> None:
        tool = "transfer_soon" if cell.decision == "expired" else "transfer"
        await lines.order(do="call", tool=tool, arguments={"cell": cell.id})

    async def _play(self, cell: Cell, lines: Lines, measured: Measured, line: Line | None) -> None:
        if cell.decision == "cancelled":
            await self._cancel(cell, lines, measured)
            return
        began = time.monotonic()
        await self._call(cell, lines)
        decided = asyncio.create_task(self._decide_later(cell, line))
        try:
            while True:
                said = await self._said(cell, lines)
                ending = _ending(cell, said, time.monotonic() - began)
                measured.endings.append(ending)
                if ending.kind not in {"pending", "gave up", "cancelled"} or len(measured.endings) > 2 * AT_ONCE:
                    break
                if len(measured.endings) >= AT_ONCE:
                    await decided
                    if cell.decision == "expired":
                        break
                await self._call(cell, lines)
            await decided
        finally:
            decided.cancel()

    async def _said(self, cell: Cell, lines: Lines) -> dict[str, Any]:
        """Return how the call ended; one whose client hangs is taken back."""
        if cell.decision == "dropped" and cell.client.dropped == "hangs":
            try:
                return await lines.said(seconds=2 * cell.seconds)
            except TimeoutError:
                await lines.order(do="cancel")
        return await lines.said(seconds=max(cell.seconds, cell.client.gives_up_at_last) + SPARE_SECONDS)

    async def _decide_later(self, cell: Cell, line: Line | None) -> None:
        request = await self.opened(cell)
        if line is not None:
            await asyncio.sleep(CUT_SECONDS)
            line.cut()
            await asyncio.sleep(cell.seconds - CUT_SECONDS)
        else:
            await asyncio.sleep(cell.seconds)
        if cell.decision != "expired":
            await self.decide(request, approve=cell.decision != "denied")

    async def _cancel(self, cell: Cell, lines: Lines, measured: Measured) -> None:
        """Take the call back after a while; see what the gateway makes of it, and that it does not run by itself."""
        began = time.monotonic()
        await self._call(cell, lines)
        await self.opened(cell)
        await asyncio.sleep(cell.seconds)
        await lines.order(do="cancel")
        measured.endings.append(_ending(cell, await lines.said(seconds=SPARE_SECONDS), time.monotonic() - began))
        await asyncio.sleep(LEFT_SECONDS)
        request = self.requests(cell)[-1]
        if request["state"] == "cancelled":
            measured.noticed = "withdrawn"
            await self._call(cell, lines)
            request = await self.opened(cell, count=2)
            await self.decide(request, approve=True)
        else:
            await self.decide(request, approve=True)
            await asyncio.sleep(LEFT_SECONDS)
            measured.noticed = "unnoticed" if self.executions(cell) else "left"
            if measured.noticed == "unnoticed":
                return
            await self._call(cell, lines)
        measured.endings.append(_ending(cell, await lines.said(seconds=SPARE_SECONDS), time.monotonic() - began))


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End the process and all that it has started: they are a process group of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


class DriverFailed(Exception):
    """A client could not be started."""


def _ending(cell: Cell, said: Mapping[str, Any], at: float) -> Ending:
    text = str(said.get("text", ""))
    match said["said"]:
        case "answer":
            return Ending(kind_of(cell.id, is_error=said["is_error"], text=text), at, text)
        case "cancelled":
            return Ending("cancelled", at, text)
        case _:
            return Ending("gave up", at, text)


def _last(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-5:])[-1000:]


@contextmanager
def bench(folder: Path, *, expires_seconds: int = 30) -> Iterator[Bench]:
    """Run the upstream and a gateway that holds every transfer, and yield them with an approver."""
    port, journal = free_port(), folder / "journal.txt"
    command = [sys.executable, str(HERE / "upstream.py"), str(port), str(journal)]
    seed: dict[str, list[dict[str, Any]]] = {
        "connections": [{"slug": SLUG, "upstream_url": f"http://127.0.0.1:{port}/mcp", "credential": BEARER}],
        "grants": [{"connection": SLUG, "group": "sre", "tools": ["transfer*"]}],
        "approval_rules": [{"name": "briefly", "stages": [{"name": "anybody", "needed": 1}], "expires_seconds": 30}],
        "guardrails": [
            {"name": "transfers wait", "effect": "hold", "methods": ["tools/call"], "names": ["transfer"]},
            {
                "name": "transfers wait briefly",
                "effect": "hold",
                "methods": ["tools/call"],
                "names": ["transfer_soon"],
                "approval_rule": "briefly",
            },
        ],
    }
    environment = {"WARDGATE_APPROVALS_PER_CONNECTION": "10000"}
    with (
        running(Server(command, port=port, log=folder / "upstream.log")),
        gateway_running(seed, folder, environment=environment) as gateway,
    ):
        # Shorter than a person would be allowed to say.
        gateway.sql("UPDATE policies_approvalrule SET expires_seconds = %s", expires_seconds)
        _list(gateway)
        yield Bench(gateway, _approver(gateway), journal, folder)


def _list(gateway: LiveGateway) -> None:
    """Ask for the tools once: with the first listing they are pinned, and what waits before that is bound to less."""
    version = "2026-07-28"
    meta = {"protocolVersion": version, "clientInfo": {"name": "list", "version": "1"}, "clientCapabilities": {}}
    params = {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}}
    headers = {
        **gateway.headers(),
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": "tools/list",
    }

    def is_in_force() -> bool:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
        httpx2.post(gateway.url(SLUG), json=message, headers=headers, timeout=10, trust_env=False).raise_for_status()
        [state] = gateway.sql("SELECT version FROM policies_policystate")
        [pinned] = gateway.sql("SELECT count(*) FROM connections_tool WHERE state = 'accepted'")
        judged_by = gateway.events("gateway:call:intent")[-1]["body"]["policy_version"]
        return bool(pinned["count"] == TOOLS and judged_by >= state["version"])

    wait_until(is_in_force, seconds=SPARE_SECONDS, what="the pinned tools in force")


def _approver(gateway: LiveGateway) -> str:
    done = subprocess.run(
        [sys.executable, str(HERE / "approver.py")],
        cwd=ROOT,
        env=gateway.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"no approver could be made:\n{done.stderr[-2000:]}"
    return done.stdout.strip()


async def measure(table: Bench, cells: Sequence[Cell]) -> list[Measured]:
    """Play all cells side by side."""
    watching = asyncio.create_task(table.watch())
    try:
        return await asyncio.gather(*(table.measure(cell) for cell in cells))
    finally:
        watching.cancel()
        await asyncio.wait([watching])
