"""Callers of tools that wait for a human: plain asyncio, many at once, and what their requests became."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tests.support import seeding
from tests.support.callers import Caller
from tests.support.gateway import LiveGateway
from tests.support.upstream import ScriptedUpstream

AT_ONCE = 40
ROOMY = {
    "WARDGATE_APPROVALS_PER_PRINCIPAL": "100000",
    "WARDGATE_APPROVALS_PER_CONNECTION": "100000",
    "WARDGATE_APPROVAL_COOLDOWN_SECONDS": "0",
    "WARDGATE_PRINCIPAL_CALLS": "100000",
    "WARDGATE_CONNECTION_CALLS": "100000",
    "WARDGATE_PRINCIPAL_SESSIONS": "100000",
    "WARDGATE_SESSIONS": "200000",
}
"""Settings of a gateway in which thousands of requests of one principal may wait."""

Sent = tuple[str, str, bytes]
"""Slug of the connection, token, and the bytes of the message."""


def call_bytes(name: str, arguments: Any, *, id: Any = 1, **more: Any) -> bytes:
    """Return the bytes of a tools/call."""
    params = {"name": name, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params, **more}).encode()


async def said(port: int, sent: Sent, *, wait: str = "1") -> str:
    """Send one call that waits for `wait` seconds for its approval; return the text of its answer, of whatever kind."""
    slug, token, body = sent
    caller = Caller(port, slug)
    try:
        answer = await caller.post(token, body, x_approval_wait=wait)
    finally:
        await caller.close()
    return text_of(answer.body)


def text_of(body: bytes) -> str:
    """Return the text of the result in an answer; the whole answer when it has none."""
    for line in body.splitlines():
        data = line.removeprefix(b"data:").strip()
        if data.startswith(b"{") and b'"result"' in data:
            return str(json.loads(data)["result"]["content"][0]["text"])
    return body.decode()


async def all_said(ports: Sequence[int], sent: Iterable[Sent], *, at_once: int = AT_ONCE, wait: str = "1") -> list[str]:
    """Send many calls, a bounded number at once, to the processes in turn; return their texts in order."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int, item: Sent) -> str:
        async with gate:
            return await said(ports[number % len(ports)], item, wait=wait)

    return await asyncio.gather(*(one(number, item) for number, item in enumerate(sent)))


def approve(gateway: LiveGateway, codes: Collection[str], *, by: str = "grace", **values: Any) -> None:
    """Approve requests through the service, in one go."""
    entries = [{"code": code, "by": by, "approve": True, "reason": "looked at it", **values} for code in codes]
    seeding.fill(gateway.environment, {"decisions": entries})


def waiting_codes(gateway: LiveGateway) -> list[str]:
    """Return the codes of the requests that wait, oldest first."""
    rows = gateway.sql("SELECT code FROM policies_approvalrequest WHERE state = 'held' ORDER BY opened_at")
    return [row["code"] for row in rows]


def forwarded(upstream: ScriptedUpstream) -> list[bytes]:
    """Return the bodies of the tool calls that the upstream has seen."""
    return [seen.body for seen in upstream.seen if seen.verb == "POST" and b'"tools/call"' in seen.body]
