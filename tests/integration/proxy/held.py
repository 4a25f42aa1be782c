"""A client that waits for a held call, as the tests of the data path play it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

from .calls import ACCEPT

PYTHON = {"user-agent": "python-httpx/0.28.1"}
KEY = "wardgate/approval"


class Held:
    """A call that waits, made in a thread; `events` is what has arrived of its stream.

    With `resume` it is a GET with that id as `Last-Event-ID`. `ids` are the ids of the events.
    """

    def __init__(
        self,
        gateway: LiveGateway,
        message: dict[str, Any] | None,
        *,
        resume: str = "",
        slug: str = "orders",
        who: dict[str, Any] | None = None,
        **headers: str,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.retries: list[int] = []
        self.comments = 0
        self.status = 0
        self.content_type = ""
        sent = {**gateway.headers(**(who or {})), **ACCEPT, **PYTHON, **headers}
        self._gateway = gateway
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        if message is None:
            self._connection.request("GET", f"/mcp/{slug}", headers={**sent, "last-event-id": resume})
        else:
            sent["content-type"] = "application/json"
            self._connection.request("POST", f"/mcp/{slug}", json.dumps(message), sent)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            answer = self._connection.getresponse()
            self.status, self.content_type = answer.status, answer.headers.get("content-type", "")
            if "json" in self.content_type:
                self.events.append(json.loads(answer.read()))
                return
            for line in answer:
                name, _, value = line.strip().partition(b": ")
                if name == b"data" and value:
                    self.events.append(json.loads(value))
                elif name == b"id":
                    self.ids.append(value.decode())
                elif name == b"retry":
                    self.retries.append(int(value))
                elif line.startswith(b":"):
                    self.comments += 1
        except (OSError, http.client.HTTPException):
            return

    def leave(self) -> None:
        """Close the connection, and return once the gateway has noticed."""
        gone = "SELECT count(*) FROM gateway_sessions_event WHERE position('client_gone' in body) > 0"
        before = self._gateway.sql(gone)[0]["count"]
        self._connection.sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: self._gateway.sql(gone)[0]["count"] > before, seconds=5, what="the end of the call")

    def waits(self) -> None:
        """Return once the stream is open."""
        wait_until(lambda: bool(self.content_type), seconds=5, what="the head of the stream")

    @property
    def id(self) -> str:
        """The id of the stream, once it is there."""
        wait_until(lambda: bool(self.ids), seconds=5, what="the id of the stream")
        return self.ids[0]

    def ends(self) -> None:
        """Return once the answer is complete, be there a message or not."""
        self._thread.join(15)
        assert not self._thread.is_alive(), "the call still waits"

    @property
    def message(self) -> dict[str, Any]:
        """The last message, once the answer is complete."""
        self.ends()
        return self.events[-1]

    @property
    def result(self) -> dict[str, Any]:
        """The result, once it is there."""
        return dict(self.message["result"])

    @property
    def text(self) -> str:
        """The text of the result."""
        return str(self.result["content"][0]["text"])


@pytest.fixture
def hold(live_gateway: LiveGateway) -> Callable[..., Held]:
    """Return how a call that policy holds is begun."""
    return lambda message, **options: Held(live_gateway, message, **options)


def calls_seen(upstream: ScriptedUpstream) -> list[Any]:
    """Return the tool calls that have reached the upstream."""
    messages = [seen.message for seen in upstream.seen if seen.verb == "POST"]
    return [message for message in messages if message["method"] == "tools/call"]
