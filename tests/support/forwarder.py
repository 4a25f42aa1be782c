"""A forwarder that adds a header to every request: for MCP clients that cannot send an Authorization header.

Bytes pass as they come, both ways: nothing is parsed but the request heads and the lengths of their bodies, nothing is
held back, and a side that closes closes the other at once. Plain HTTP/1.1 on the loopback only.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
START_SECONDS = 10


class Forwarder:
    """Serves `port` and forwards to `to_port`, adding to each request the header lines that `headers()` returns."""

    def __init__(self, *, port: int, to_port: int, headers: Callable[[], dict[str, str]]) -> None:
        self.port = port
        self._to_port = to_port
        self._headers = headers

    async def serve(self) -> asyncio.Server:
        """Start to listen."""
        return await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=HEAD_BYTES)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        up = asyncio.create_task(self._upwards(reader, their_writer))
        down = asyncio.create_task(self._downwards(their_reader, writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for side in (writer, their_writer):
                side.close()

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(CHUNK_BYTES):
            writer.write(piece)
            await writer.drain()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                added = "".join(f"{name}: {value}\r\n" for name, value in self._headers().items())
                writer.write(head[:-2] + added.encode() + b"\r\n")
                await self._body(head.lower(), reader, writer)
                await writer.drain()

    async def _body(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
            await self._chunks(reader, writer)
            return
        left = int(fields.get(b"content-length", b"0"))
        while left:
            piece = await reader.read(min(left, CHUNK_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            writer.write(piece)
            await writer.drain()
            left -= len(piece)

    async def _chunks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_last = False
        while not is_last:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            is_last = size == 0
            writer.write(line + await reader.readexactly(size + 2))
            await writer.drain()


@contextmanager
def forwarding(forwarder: Forwarder) -> Iterator[Forwarder]:
    """Run the forwarder in a thread of its own until the block ends."""
    loop = asyncio.new_event_loop()
    is_up, is_over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = await forwarder.serve()
        is_up.set()
        await is_over.wait()
        server.close()
        # Connections are not waited for: whoever still holds one is cut.
        open_ones = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="forwarder", daemon=True)
    thread.start()
    try:
        assert is_up.wait(START_SECONDS), f"nobody listens on port {forwarder.port}"
        yield forwarder
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join(START_SECONDS)
        loop.close()
