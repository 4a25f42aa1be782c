"""Callers that cost little, so that a test can measure the gateway and not itself: plain asyncio, one socket each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

ANSWER_SECONDS = 20.0
STREAM_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """One answer; times are `time.monotonic()`."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent_at: float
    came_at: float

    @property
    def is_served(self) -> bool:
        """Whether a tool's result came, and not an error in its place."""
        return self.status == 200 and b'"isError":true' not in self.body and b'"error"' not in self.body


@dataclass
class Caller:
    """One client connection that posts tool calls to one connection of a gateway, again and again."""

    port: int
    slug: str = "orders"
    address: str = "127.0.0.1"
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def call(self, token: str, name: str = "get_order", **headers: str) -> Answer:
        """Call a tool and return the answer."""
        return await self.post(
            token, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}, **headers
        )

    async def post(self, token: str, message: Any, **headers: str) -> Answer:
        """Post a message; a connection that the gateway closed meanwhile is opened again."""
        async with asyncio.timeout(ANSWER_SECONDS):
            sent_at = time.monotonic()
            await self._send(token, message, headers)
            status, found = await self._head()
            body = await self._body(found)
            if found.get("connection", "").lower() == "close":
                await self.close()
            return Answer(status, found, body, sent_at, time.monotonic())

    async def stream(self, token: str, name: str, on_open: Callable[[], None] = lambda: None) -> tuple[bytes, float]:
        """Call a tool that answers with a stream; return all of it, and the moment (monotonic) of its end."""
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}
        async with asyncio.timeout(STREAM_SECONDS):
            await self._send(token, message, {})
            status, _ = await self._head()
            assert status == 200, status
            on_open()
            assert self._reader is not None
            read = b""
            try:
                while not read.endswith(b"0\r\n\r\n"):
                    piece = await self._reader.read(65536)
                    if not piece:
                        break
                    read += piece
            except ConnectionError:
                pass
            return read, time.monotonic()

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _send(self, token: str, message: Any, headers: dict[str, str]) -> None:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        authorization = f"authorization: Bearer {token}\r\n" if token else ""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST /mcp/{self.slug} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
            f"accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n"
            f"{authorization}{more}content-length: {len(body)}\r\n\r\n"
        )
        if self._writer is None or self._writer.is_closing() or (self._reader is not None and self._reader.at_eof()):
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self.port, limit=1 << 20, local_addr=(self.address, 0)
            )
        self._writer.write(head.encode() + body)

    async def _head(self) -> tuple[int, dict[str, str]]:
        assert self._reader is not None
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def _body(self, headers: dict[str, str]) -> bytes:
        assert self._reader is not None
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body


@dataclass
class Load:
    """What a steady load has seen: answers by name of the caller."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def of(self, *names: str) -> list[Answer]:
        """Return the answers of these callers, or of all, in the order in which they were sent."""
        found = [answer for name, own in self.answers.items() if not names or name in names for answer in own]
        return sorted(found, key=lambda answer: answer.sent_at)

    def refused(self) -> list[Answer]:
        """Return the answers that are no tool's result."""
        return [answer for answer in self.of() if not answer.is_served]

    def p99(self) -> float:
        """Return the 99th percentile of the time from call to answer, in seconds."""
        return percentile([answer.came_at - answer.sent_at for answer in self.of()], 0.99)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@asynccontextmanager
async def steady_load(
    tokens: Mapping[str, str | Callable[[], str]], ports: list[int], *, calls_per_second: float, name: str = "get_order"
) -> AsyncIterator[Load]:
    """Let every caller of `tokens` call through every port, evenly paced, until the block ends.

    `tokens` maps the name of a caller to its token, or to what returns one for the next call. A caller whose answer is
    late does not catch up.
    """
    load = Load({caller: [] for caller in tokens})
    places = [(caller, port) for caller in tokens for port in ports]
    pause = len(places) / calls_per_second
    stop = asyncio.Event()

    async def run(index: int, who: str, port: int) -> None:
        caller = Caller(port)
        due = time.monotonic() + pause * index / len(places)
        while not stop.is_set():
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            token = tokens[who]
            load.answers[who].append(await caller.call(token if isinstance(token, str) else token(), name))
            due = max(due + pause, time.monotonic())
        await caller.close()

    tasks = [asyncio.create_task(run(index, *place)) for index, place in enumerate(places)]
    try:
        yield load
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), ANSWER_SECONDS)
