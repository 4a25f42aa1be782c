"""How much later does the first event of a paced stream arrive than without anything between?

The upstream waits 20 ms between ten events, so whoever buffers shows a first event of 200 ms. Candidates are asked in
turn, a run of streams each time, one after the other over a connection that stays open. The first stream of a run is
not counted: it finds a machine that has done nothing for seconds, whose processors sleep and whose disk takes four
times as long for a flush. How late it is, is told beside the rest.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.candidates import Candidate
from bench.machine import LOAD_CPU

EVENTS, GAP_MICROSECONDS = 10, 20_000
RUN_STREAMS = 10
TIMEOUT_SECONDS = 10


@dataclass(slots=True)
class FirstEvent:
    """Microseconds from the last byte of the request to the first byte of the first event, and to the end.

    `idle_p50` is that of a stream after seconds without one.
    """

    idle_p50: float
    first_p50: float
    first_p99: float
    total_p50: float
    samples: int
    calls: int
    events: int


class _Client:
    calls = 0

    def __init__(self, candidate: Candidate) -> None:
        parts = urlsplit(candidate.url)
        call = {"name": f"stream{EVENTS}", "arguments": {"gap_us": GAP_MICROSECONDS, "q": "abc"}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode()
        head = [
            f"POST {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2025-11-25",
            f"Content-Length: {len(body)}",
        ]
        if candidate.token:
            head.append(f"Authorization: Bearer {candidate.token}")
        self.name = candidate.name
        self._request = ("\r\n".join(head) + "\r\n\r\n").encode() + body
        self._socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.first: list[float] = []
        self.idle: list[float] = []
        self.total: list[float] = []
        self.events: set[int] = set()

    def call(self) -> None:
        self.calls += 1
        received, first = b"", 0.0
        started = time.perf_counter()
        self._socket.sendall(self._request)
        while not received.endswith(b"0\r\n\r\n"):
            piece = self._socket.recv(65536)
            if not piece:
                raise SystemExit(f"{self.name} closed the connection within a stream: {received[-300:]!r}")
            received += piece
            if not first and b"data: {" in received:
                first = time.perf_counter() - started
        if not received.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"{self.name} does not stream: {received[:300]!r}")
        self.first.append(first)
        self.total.append(time.perf_counter() - started)
        self.events.add(received.count(b"data: {"))

    def close(self) -> None:
        self._socket.close()


def first_events(candidates: list[Candidate], samples: int) -> dict[str, FirstEvent]:
    """Ask every candidate at least `samples` times and return the medians by name."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CPU})
    clients = [_Client(candidate) for candidate in candidates]
    try:
        for _ in range(-(-samples // RUN_STREAMS)):
            for client in clients:
                client.call()
                client.idle.append(client.first.pop())
                client.total.pop()
                for _ in range(RUN_STREAMS):
                    client.call()
    finally:
        os.sched_setaffinity(0, affinity)
        for client in clients:
            client.close()
    return {
        client.name: FirstEvent(
            idle_p50=statistics.median(client.idle) * 1e6,
            first_p50=statistics.median(client.first) * 1e6,
            first_p99=sorted(client.first)[int(len(client.first) * 0.99)] * 1e6,
            total_p50=statistics.median(client.total) * 1e6,
            samples=len(client.first),
            calls=client.calls,
            events=min(client.events),
        )
        for client in clients
    }
