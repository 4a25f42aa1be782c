"""A scripted upstream for tests of the data path: it answers what a test says and keeps every byte that it saw."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the body, hex."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def message(self) -> Any:
        """The JSON-RPC message."""
        return json.loads(self.body)


Script = Callable[[Seen, socket.socket], None]


def json_answer(
    body: bytes, *, status: str = "200 OK", headers: str = "", content_type: str = "application/json"
) -> bytes:
    """Return an HTTP answer with a body of known length."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def result(seen: Seen, text: str = "fine") -> bytes:
    """Return a tool result for the request that was seen."""
    answer = {"jsonrpc": "2.0", "id": seen.message["id"], "result": {"content": [{"type": "text", "text": text}]}}
    return json_answer(json.dumps(answer).encode())


def default_script(seen: Seen, connection: socket.socket) -> None:
    """Answer every request with a small result and every notification with 202."""
    if seen.verb != "POST":
        connection.sendall(json_answer(b"", status="405 Method Not Allowed"))
    elif "id" in seen.message and "method" in seen.message:
        connection.sendall(result(seen))
    else:
        connection.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")


@dataclass
class ScriptedUpstream:
    """Listens on loopback; `script` is called for each request, in a thread of its connection."""

    script: Script = default_script
    seen: list[Seen] = field(default_factory=list)
    bytes_seen: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def clear(self) -> None:
        """Forget what was seen and script nothing special."""
        with self._lock:
            self.seen.clear()
            self.bytes_seen = 0
        self.script = default_script

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffered = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffered:
                    data = connection.recv(65536)
                    if not data:
                        return
                    buffered += data
                    self.bytes_seen += len(data)
                head, _, buffered = buffered.partition(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                verb, path, _ = lines[0].split(" ", 2)
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
                }
                length = int(headers.get("content-length", "0"))
                while len(buffered) < length:
                    data = connection.recv(65536)
                    if not data:
                        return
                    buffered += data
                    self.bytes_seen += len(data)
                body, buffered = buffered[:length], buffered[length:]
                seen = Seen(verb, path, headers, body)
                with self._lock:
                    self.seen.append(seen)
                self.script(seen, connection)
        except OSError:
            return
        finally:
            connection.close()


@contextmanager
def scripted_upstream() -> Iterator[ScriptedUpstream]:
    """Run a scripted upstream for the length of the block."""
    upstream = ScriptedUpstream()
    try:
        yield upstream
    finally:
        upstream.close()
