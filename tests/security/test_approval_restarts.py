"""Every process is restarted while calls wait in every way: all go on or end with a clear text, and none runs twice.

    WARDGATE_APPROVAL_RESTARTS=100 python3 run.py test tests/security/test_approval_restarts.py -s

restarts the gateway politely, kills it, and restarts PostgreSQL, each with 100 calls that wait; the suite has 16.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from gateway_project.embedded import Postgres
from tests.integration.proxy.calls import ACCEPT
from tests.integration.proxy.test_held_calls import META, MODERN
from tests.support import held_callers, seeding
from tests.support.database import migrate
from tests.support.gateway import BEARER, LiveGateway, gateway_running
from tests.support.held_callers import forwarded
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

COUNT = int(os.environ.get("WARDGATE_APPROVAL_RESTARTS", "16"))
WAYS = ("task", "legacy stream", "modern stream", "plain")
PATIENCE_SECONDS = 90.0
ROOMY = {**held_callers.ROOMY, "WARDGATE_APPROVAL_COOLDOWN_SECONDS": "600"}
"""Who was cut off while somebody denied the call, and sends it again, hears of that denial."""
PLAIN_META = {**META, "io.modelcontextprotocol/clientCapabilities": {}}


class Client:
    """One client that makes one call, and does what such clients do when their connection breaks."""

    def __init__(self, gateway: LiveGateway, number: int) -> None:
        self.gateway, self.number, self.way = gateway, number, WAYS[number % len(WAYS)]
        self.is_held = asyncio.Event()
        self.text = ""
        self.repeats = 0
        self._last_id = self._task_id = ""

    async def run(self) -> None:
        """Call, and go on until the call has ended."""
        until = time.monotonic() + PATIENCE_SECONDS
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as self.http:
            while not self.text:
                assert time.monotonic() < until, f"{self.way} {self.number} has no end"
                try:
                    await self._once()
                except (httpx.HTTPError, json.JSONDecodeError):
                    self.repeats += 1
                    await asyncio.sleep(0.3)

    async def _once(self) -> None:
        if self._task_id:
            await self._ask_for_task()
        elif self._last_id:
            await self._read(
                self.http.stream("GET", self._url, headers=self._headers({"last-event-id": self._last_id}))
            )
        else:
            await self._read(self.http.stream("POST", self._url, headers=self._headers({}), json=self._message()))

    @property
    def _url(self) -> str:
        return self.gateway.url("orders")

    @property
    def _is_modern(self) -> bool:
        return self.way in {"task", "modern stream"}

    def _headers(self, more: dict[str, str], method: str = "tools/call", name: str = "refund_order") -> dict[str, str]:
        headers = {**self.gateway.headers(), **ACCEPT, "x-approval-wait": "60", "user-agent": "python-httpx/0.28.1"}
        if self._is_modern:
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method, "mcp-name": name}
        if self.way == "plain":
            headers["accept"] = "application/json"
        return {**headers, **more}

    def _message(self) -> dict[str, Any]:
        params: dict[str, Any] = {"name": "refund_order", "arguments": {"number": self.number}}
        if self._is_modern:
            params["_meta"] = META if self.way == "task" else PLAIN_META
        return {"jsonrpc": "2.0", "id": self.number, "method": "tools/call", "params": params}

    async def _read(self, opening: Any) -> None:
        async with opening as answer:
            if answer.status_code >= 400:
                raise httpx.ReadError(f"{answer.status_code}")
            if "event-stream" not in answer.headers["content-type"]:
                self._take(json.loads(await answer.aread()))
                return
            async for line in answer.aiter_lines():
                self.is_held.set()
                if line.startswith("id:"):
                    self._last_id = line[3:].strip()
                elif line.startswith("data:") and line[5:].strip():
                    self._take(json.loads(line[5:]))
        if not self.text:
            raise httpx.ReadError("the stream ended")

    async def _ask_for_task(self) -> None:
        params = {"taskId": self._task_id, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": params}
        headers = self._headers({}, "tasks/get", self._task_id)
        answer = await self.http.post(self._url, json=message, headers=headers)
        if answer.status_code >= 400:
            raise httpx.ReadError(f"{answer.status_code}")
        found = answer.json()
        if found.get("result", {}).get("status") == "completed":
            self.text = found["result"]["result"]["content"][0]["text"]
            return
        assert "error" not in found or found["error"]["code"] != -32602, found
        await asyncio.sleep(0.5)

    def _take(self, message: dict[str, Any]) -> None:
        result = message.get("result")
        if result is None:
            if "error" in message and message.get("id") == self.number:
                self.text = f"ERROR {message['error']['message']}"
        elif result.get("resultType") == "task":
            self._task_id = result["taskId"]
            self.is_held.set()
        else:
            text = str(result["content"][0]["text"])
            if "needs approval" in text or "record" in text:
                # Not yet, says the gateway, and that nothing was sent: whoever wants it calls again.
                self.repeats += 1
                return
            self.text = text


@pytest.fixture(scope="module")
def seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [{"slug": "orders", "upstream_url": upstream.url, "credential": BEARER}],
        "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
        "guardrails": [{"name": "wait", "effect": "hold", "methods": ["tools/call"], "names": ["refund_*"]}],
    }


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("pg"), throwaway=True)
    server.start()
    try:
        migrate(server.url)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def gateway(
    seed: dict[str, list[dict[str, Any]]], database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway_running(seed, folder, dsn=database.url, environment=ROOMY) as running:
        yield running


def restart(what: str, gateway: LiveGateway, database: Postgres) -> None:
    """Restart a process."""
    match what:
        case "gateway, politely":
            gateway.restart()
        case "gateway, killed":
            gateway.kill()
            gateway.start()
        case _:
            database.stop()
            database.start()
            gateway.server.wait_until_ready()


@pytest.mark.parametrize("what", ["gateway, politely", "gateway, killed", "PostgreSQL"])
async def test_calls_that_wait_outlive_a_restart_or_end_with_a_clear_text(
    gateway: LiveGateway, database: Postgres, upstream: ScriptedUpstream, what: str
) -> None:
    upstream.clear()
    base = ["gateway, politely", "gateway, killed", "PostgreSQL"].index(what) * 1000
    clients = [Client(gateway, base + number) for number in range(COUNT)]
    running = [asyncio.create_task(client.run()) for client in clients]
    codes = await asyncio.to_thread(all_held, gateway, base)
    # Not in a thread: a server dies with the thread that started it. The clients see nothing for so long.
    restart(what, gateway, database)
    entries = []
    for number, code in codes.items():
        is_good = number % 10 < 7
        entries.append({"code": code, "by": "grace", "approve": is_good, "reason": "looked at it"})
    await asyncio.to_thread(seeding.fill, gateway.environment, {"decisions": entries})
    async with asyncio.timeout(PATIENCE_SECONDS + 10):
        await asyncio.gather(*running)
    ran = Counter(json.loads(body)["params"]["arguments"]["number"] for body in forwarded(upstream))
    assert all(times == 1 for times in ran.values()), ran
    ends: Counter[str] = Counter()
    for client in clients:
        was_approved = client.number % 10 < 7
        assert (client.number in ran) is was_approved, (client.way, client.number, client.text)
        assert client.text == "fine" if was_approved else "Denied by grace" in client.text, (client.way, client.text)
        ends[f"{client.way}: {'ran once' if was_approved else 'denied'}"] += 1
    print(f"{what}: {COUNT} calls waited; {dict(sorted(ends.items()))}")


def all_held(gateway: LiveGateway, base: int) -> dict[int, str]:
    """Return the codes by number, once every call of this round waits."""
    found: dict[int, str] = {}

    def are_held() -> bool:
        rows = gateway.sql("SELECT code, arguments FROM policies_approvalrequest WHERE state = 'held'")
        found.update(
            {
                row["arguments"]["number"]: row["code"]
                for row in rows
                if base <= row["arguments"]["number"] < base + COUNT
            }
        )
        return len(found) == COUNT

    wait_until(are_held, seconds=60, what="that every call waits")
    return found
