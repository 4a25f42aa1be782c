"""Leaving and cancelling: what each era means by them reaches the upstream, and the record says so.

Modern (2026-07-28): closing the stream is the cancel. Legacy: a lost connection is not, `notifications/cancelled` is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.e2e.clients.conftest import SLUG, Upstream
from tests.support.gateway import OUTCOMES, LiveGateway

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
ACCEPT = {"Accept": "application/json, text/event-stream"}
EVENT_SECONDS = 5
CANCEL_SECONDS = 5.0


@pytest.fixture(autouse=True)
def quiet_upstream(upstream: Upstream) -> None:
    """Forget the moments of the test before."""
    upstream.journal.write_text("")


@asynccontextmanager
async def client_of(gateway: LiveGateway, subject: str) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {**ACCEPT, **gateway.headers(sub=subject)}
    async with httpx2.AsyncClient(headers=headers, timeout=10, trust_env=False) as client:
        yield client


class Stream:
    """The event stream of one call, read message by message. It is open until the caller leaves the response."""

    def __init__(self, response: httpx2.Response) -> None:
        assert response.headers["content-type"].startswith("text/event-stream")
        # Held here: a dropped iterator would close the connection, which is what these tests are about.
        self._lines = response.aiter_lines()

    async def message(self) -> dict[str, Any] | None:
        """Return the next message, None at the end of the stream."""
        async with asyncio.timeout(EVENT_SECONDS):
            async for line in self._lines:
                if line.startswith("data:") and line[5:].strip():
                    message: dict[str, Any] = json.loads(line[5:])
                    return message
        return None

    async def first(self) -> dict[str, Any]:
        """Return the first message, which the upstream sends before it waits."""
        message = await self.message()
        assert message is not None, "the stream ended without a message"
        assert message["method"] == "notifications/progress"
        return message


def waiting_call(**meta: Any) -> dict[str, Any]:
    params = {"name": "wait_for_ever", "arguments": {}, "_meta": {"progressToken": "p", **meta}}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def final_event(gateway: LiveGateway, subject: str) -> str | None:
    """Return the outcome of the subject's `wait_for_ever`, None while it is open."""
    for call in gateway.calls():
        if call["name"] == "wait_for_ever" and call["rows"][0]["body"]["subject"] == subject:
            return next((name for name in call["events"] if name in OUTCOMES), None)
    raise AssertionError("the call has no intent")


async def test_a_modern_client_that_leaves_mid_stream_cancels_the_call_upstream(
    live_gateway: LiveGateway, upstream: Upstream
) -> None:
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "wait_for_ever"}
    prefix = "io.modelcontextprotocol/"
    body = waiting_call(
        **{
            f"{prefix}protocolVersion": MODERN,
            f"{prefix}clientInfo": {"name": "leaver", "version": "1"},
            f"{prefix}clientCapabilities": {},
        }
    )
    async with client_of(live_gateway, "modern-leaver") as client:
        async with client.stream("POST", live_gateway.url(SLUG), headers=headers, json=body) as response:
            stream = Stream(response)
            await stream.first()
            assert upstream.moments() == ["waiting"]
        await asyncio.to_thread(upstream.wait_for, "cancelled", seconds=CANCEL_SECONDS)

    await asyncio.to_thread(live_gateway.wait_for_outcomes)
    assert final_event(live_gateway, "modern-leaver") == "gateway:call:aborted_by_client"
    assert upstream.moments() == ["waiting", "cancelled"]


@asynccontextmanager
async def legacy_session(client: httpx2.AsyncClient, url: str) -> AsyncIterator[dict[str, str]]:
    """Open a session, yield the headers of its later requests, and end it."""
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "leaver", "version": "1"}}
    started = await client.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert started.status_code == 200, started.text
    headers = {"Mcp-Session-Id": started.headers["mcp-session-id"], "MCP-Protocol-Version": LEGACY}
    accepted = await client.post(url, headers=headers, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert accepted.status_code == 202
    yield headers
    await client.delete(url, headers=headers)


CANCEL = {
    "jsonrpc": "2.0",
    "method": "notifications/cancelled",
    "params": {"requestId": 7, "reason": "changed my mind"},
}


async def test_a_legacy_cancel_notification_ends_the_call_upstream(
    live_gateway: LiveGateway, upstream: Upstream
) -> None:
    url = live_gateway.url(SLUG)
    async with (
        client_of(live_gateway, "legacy-canceller") as client,
        legacy_session(client, url) as headers,
        client.stream("POST", url, headers=headers, json=waiting_call()) as response,
    ):
        stream = Stream(response)
        await stream.first()
        accepted = await client.post(url, headers=headers, json=CANCEL)
        assert accepted.status_code == 202
        await asyncio.to_thread(upstream.wait_for, "cancelled", seconds=CANCEL_SECONDS)
        # The server answers a cancelled request with an error or with nothing; either way its stream ends.
        answer = await stream.message()
        assert answer is None or "error" in answer

    await asyncio.to_thread(live_gateway.wait_for_outcomes)
    assert final_event(live_gateway, "legacy-canceller") == "gateway:call:upstream_error"


async def test_a_legacy_client_that_only_loses_its_connection_cancels_nothing(
    live_gateway: LiveGateway, upstream: Upstream
) -> None:
    url = live_gateway.url(SLUG)
    async with client_of(live_gateway, "legacy-leaver") as client, legacy_session(client, url) as headers:
        async with client.stream("POST", url, headers=headers, json=waiting_call()) as response:
            await Stream(response).first()
        # A later request of the same session passes the gateway after the disconnect did.
        ping = await client.post(url, headers=headers, json={"jsonrpc": "2.0", "id": 8, "method": "ping"})
        assert ping.status_code == 200
        await asyncio.to_thread(live_gateway.wait_for_outcomes)
        assert final_event(live_gateway, "legacy-leaver") == "gateway:call:aborted_by_client"
        assert upstream.moments() == ["waiting"]
        assert not any("notifications/cancelled" in request["body"] for request in upstream.requests())

        # The call still runs, and the client can still cancel it.
        accepted = await client.post(url, headers=headers, json=CANCEL)
        assert accepted.status_code == 202
        await asyncio.to_thread(upstream.wait_for, "cancelled", seconds=CANCEL_SECONDS)


async def test_each_message_of_a_stream_arrives_while_the_call_still_runs(
    live_gateway: LiveGateway, upstream: Upstream
) -> None:
    url = live_gateway.url(SLUG)
    async with client_of(live_gateway, "watcher") as client, legacy_session(client, url) as headers:
        async with client.stream("POST", url, headers=headers, json=waiting_call()) as response:
            stream = Stream(response)
            assert (await stream.first())["params"]["message"] == "waiting"
            assert upstream.moments() == ["waiting"]
        await client.post(url, headers=headers, json=CANCEL)
