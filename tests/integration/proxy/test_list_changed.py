"""A client that listens hears when policy changes what it may see."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen

from .calls import in_force, post, rpc

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACKNOWLEDGED = {
    "jsonrpc": "2.0",
    "method": "notifications/subscriptions/acknowledged",
    "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": 7}, "notifications": {"toolsListChanged": True}},
}


class Streams:
    """An upstream whose streams stay open until the test is over; `first` is sent at once, when there is one."""

    def __init__(self, first: Any = None) -> None:
        self.first = first
        self.over = threading.Event()

    def __call__(self, seen: Seen, connection: socket.socket) -> None:
        connection.sendall(HEAD)
        if self.first is not None:
            data = f"data: {json.dumps(self.first)}\n\n".encode()
            connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        self.over.wait(20)
        connection.sendall(b"0\r\n\r\n")


@pytest.fixture
def streams(upstream: ScriptedUpstream) -> Iterator[Callable[..., Streams]]:
    opened: list[Streams] = []

    def script(first: Any = None) -> Streams:
        opened.append(Streams(first))
        upstream.script = opened[-1]
        return opened[-1]

    yield script
    for stream in opened:
        stream.over.set()


@contextmanager
def listening(
    gateway: LiveGateway, upstream: ScriptedUpstream, body: Any = None, **headers: str
) -> Iterator[list[Any]]:
    """Hold a stream open and return the messages that arrive on it, while the block runs."""
    got: list[Any] = []
    sent = {**gateway.headers(), "accept": "application/json, text/event-stream", **headers}
    before = len(upstream.seen)

    def read() -> None:
        nonlocal got
        verb = "GET" if body is None else "POST"
        try:
            with httpx.stream(verb, gateway.url("orders"), json=body, headers=sent, timeout=20) as answer:
                for line in answer.iter_lines():
                    got += [json.loads(line[6:])] if line.startswith("data: ") else []
        except httpx.HTTPError:
            return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    wait_until(lambda: len(upstream.seen) > before, seconds=5, what="the stream at the upstream")
    yield got


def hide(gateway: LiveGateway, name: str, **values: Any) -> None:
    rule = {"name": f"hide {name}", "effect": "deny", "methods": ["tools/call"], "names": [name], **values}
    gateway.seed({"guardrails": [rule]})


def changed(kind: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"}


def test_a_legacy_client_with_a_stream_hears_that_its_lists_look_different_and_the_record_has_it(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, streams: Callable[..., Streams]
) -> None:
    streams()
    with listening(live_gateway, upstream, **{"mcp-protocol-version": "2025-11-25"}) as got:
        hide(live_gateway, "get_a")
        wait_until(lambda: changed("tools") in got, seconds=5, what="the notice")
        recorded = [event["payload"] for event in live_gateway.events("upstream:message:relayed")]
        assert any(payload and b"notifications/tools/list_changed" in payload for payload in recorded)


def test_a_modern_client_hears_only_of_what_it_asked_for_and_after_the_acknowledgement(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, streams: Callable[..., Streams]
) -> None:
    streams(ACKNOWLEDGED)
    body = rpc("subscriptions/listen", {"_meta": META, "notifications": {"toolsListChanged": True}}, id=7)
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "subscriptions/listen"}
    with listening(live_gateway, upstream, body, **headers) as got:
        wait_until(lambda: bool(got), seconds=5, what="the acknowledgement")
        hide(live_gateway, "get_b")
        wait_until(lambda: len(got) > 1, seconds=5, what="the notice")
    assert got[0]["method"] == "notifications/subscriptions/acknowledged"
    params = {"_meta": {"io.modelcontextprotocol/subscriptionId": 7}}
    assert got[1:] == [{**changed("tools"), "params": params}]


def test_a_change_that_concerns_another_connection_is_not_told(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, streams: Callable[..., Streams]
) -> None:
    live_gateway.seed({"connections": [{"slug": "other", "upstream_url": upstream.url}]})
    streams()
    with listening(live_gateway, upstream, **{"mcp-protocol-version": "2025-11-25"}) as got:
        hide(live_gateway, "get_c", connection="other")
        hide(live_gateway, "get_d")
        wait_until(lambda: changed("tools") in got, seconds=5, what="the notice of the second change")
    assert got.count(changed("tools")) == 1


def test_with_a_catalogue_only_a_change_of_visible_tools_is_told(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, streams: Callable[..., Streams]
) -> None:
    listed = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "get_x", "inputSchema": {"type": "object"}}]}}
    upstream.script = lambda seen, connection: connection.sendall(_whole(listed))
    post(live_gateway, rpc("tools/list"))
    in_force(live_gateway)
    streams()
    with listening(live_gateway, upstream, **{"mcp-protocol-version": "2025-11-25"}) as got:
        hide(live_gateway, "no_such_tool")
        hide(live_gateway, "get_x")
        wait_until(lambda: changed("tools") in got, seconds=5, what="the notice")
    assert got.count(changed("tools")) == 1


def _whole(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
