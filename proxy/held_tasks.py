"""Held calls as tasks of the extension io.modelcontextprotocol/tasks: the client gets a task at once, and asks for it.

The id of a task is made from the code of its request for approval and bound to the principal and the connection, so
that nobody else can ask for it, and no table has to be written. What a finished task answers is read from the record:
the very message that a waiting client would have got.

Sources: SEP-2663 (tasks extension); the behaviour of clients as measured for docs/clients.md: an unknown id makes one
of them poll for ever, and `cancelled` loses the reason, so that a refusal is a completed task with an error result.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from accounts.tokens import Identity
from proxy import held_texts
from proxy.held import Standing
from proxy.ports import Call, Route
from proxy.protocol import jsonrpc

PREFIX: Final = "apr-"
POLL_MS: Final = 3_000
_TAG_CHARACTERS: Final = 26


@dataclass(frozen=True, slots=True)
class TaskState:
    """A request, and what became of the call that ran: the outcome's name and its recorded message."""

    standing: Standing
    opened_at: float
    changed_at: float
    has_begun: bool = False
    outcome: str = ""
    message: bytes | None = None


class TaskIds:
    """Makes and checks the ids of tasks; the first key makes, all check."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = list(keys)

    def make(self, code: str, identity: Identity, route: Route) -> str:
        """Return the id of the task of the request `code` (APR-...)."""
        return f"{PREFIX}{code.removeprefix('APR-')}-{_tag(self._keys[0], code, identity, route)}"

    def code_of(self, task_id: str, identity: Identity, route: Route) -> str | None:
        """Return the code of the request whose task this is; None when it was not given to this principal."""
        short, _, tag = task_id.removeprefix(PREFIX).partition("-")
        code = f"APR-{short}"
        if not task_id.startswith(PREFIX) or not tag.isascii():
            return None
        is_ours = [hmac.compare_digest(tag, _tag(key, code, identity, route)) for key in self._keys]
        return code if any(is_ours) else None


def _tag(key: bytes, code: str, identity: Identity, route: Route) -> str:
    text = "\x1f".join((code, identity.issuer, identity.subject, identity.client_id or "", route.connection_key))
    return b32encode(hmac.digest(key, text.encode(), "sha256")).decode()[:_TAG_CHARACTERS].lower()


def created(call: Call, standing: Standing, task_id: str, now: float) -> bytes:
    """Return the answer to a held call: a task that works."""
    body = _task(standing, task_id, now, now, "working", held_texts.waiting(standing))
    return jsonrpc.result(_id(call), {"resultType": "task", **body})


def answer(call: Call, task_id: str, state: TaskState, what: str, connection: str) -> bytes:
    """Return the answer to tasks/get."""
    standing = state.standing
    status, message, result = "working", held_texts.waiting(standing), None
    if state.outcome:
        status, message, result = "completed", "Done.", outcome(state)
    elif state.has_begun:
        message = f"Approved ({standing.code}); it runs."
    elif standing.state == "approved":
        message = f"Approved ({standing.code}); it waits for the agent to ask for it."
    elif not standing.is_open:
        text = held_texts.final(standing, what, connection)
        status, message = "completed", text
        result = {"content": [{"type": "text", "text": text}], "isError": True, "resultType": "complete"}
    body = _task(standing, task_id, state.opened_at, state.changed_at, status, message)
    if result is not None:
        body["result"] = result
    return jsonrpc.result(_id(call), {"resultType": "complete", **body})


def outcome(state: TaskState) -> dict[str, Any]:
    """Return the result of a call that has ended, as its task carries it."""
    if state.outcome in {"completed", "upstream_error"} and state.message:
        message = orjson.loads(state.message)
        if "result" in message:
            return dict(message["result"])
        text = str(message.get("error", {}).get("message", "The upstream server answered with an error."))
    elif state.outcome == "not_sent":
        text = f"NOT EXECUTED. Approved ({state.standing.code}), but the upstream server could not be reached."
    else:
        text = held_texts.unknown(state.standing)
    return {"content": [{"type": "text", "text": text}], "isError": True, "resultType": "complete"}


def _task(
    standing: Standing, task_id: str, created_at: float, changed_at: float, status: str, message: str
) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "status": status,
        "statusMessage": message,
        "createdAt": _moment(created_at),
        "lastUpdatedAt": _moment(changed_at),
        "ttlMs": max(1, int((standing.expires_at - created_at) * 1000)),
        "pollIntervalMs": POLL_MS,
    }


def _id(call: Call) -> str | int:
    return call.request_id if call.request_id is not None else 0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Nobody:
    """The way back of a call whose client asks for it later: what would be sent is in the record."""

    is_streaming = False

    async def whole(self, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep nothing."""

    async def open_stream(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Open nothing."""

    async def write(self, data: bytes) -> None:
        """Keep nothing."""

    async def close(self) -> None:
        """Close nothing."""

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Nobody can leave."""
