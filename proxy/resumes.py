"""Legacy calls whose stream ended before their answer: the client may fetch it with GET and `Last-Event-ID`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from proxy.ports import Call, RecorderPort, State

_CALLS = 10_000


@dataclass(slots=True)
class _Waiting:
    call: Call
    timer: asyncio.TimerHandle


class Resumes:
    """Keeps the open calls of broken streams until their answer comes on another one, or for `seconds`.

    Another gateway process may serve the other stream; then this one does not hear of the answer and the call ends as
    `outcome_unknown`, which stays true of what this process knows.
    """

    def __init__(self, recorder: RecorderPort, *, seconds: float) -> None:
        self._recorder, self._seconds = recorder, seconds
        self._waiting: dict[tuple[bytes, str | int], _Waiting] = {}

    def wait(self, call: Call) -> None:
        """Keep `call` open."""
        call.is_concluded = True
        if call.request_id is None or len(self._waiting) >= _CALLS:
            self._recorder.settle(call, State.OUTCOME_UNKNOWN, "stream_closed")
            return
        key = (call.ref.session, call.request_id)
        self._expire(key, "superseded")
        timer = asyncio.get_running_loop().call_later(self._seconds, self._expire, key, "not_resumed")
        self._waiting[key] = _Waiting(call, timer)

    def take(self, session: bytes, request_id: str | int | None) -> Call | None:
        """Return the open call that an answer on another stream of the session belongs to."""
        if request_id is None:
            return None
        waiting = self._waiting.pop((session, request_id), None)
        if waiting is None:
            return None
        waiting.timer.cancel()
        return waiting.call

    def close(self) -> None:
        """Settle what is still open; the process stops."""
        for key in list(self._waiting):
            self._expire(key, "gateway_stopped")

    def _expire(self, key: tuple[bytes, str | int], reason: str) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._recorder.settle(waiting.call, State.OUTCOME_UNKNOWN, reason)
