"""Who waits in this process: found by the request for approval, by the message that is held, and by what was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from proxy.held import Standing
from proxy.ports import Call


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits. `is_woken` is set when something may have moved.

    `survives` tells that the call outlives its HTTP request (legacy era), `is_alone` that nobody is there any more,
    `is_replaced` that its client waits for it on another connection (`is_repeated`: with another call of its own),
    `is_back` that this is that other one: then
    `origin` is the id of the call under which it was held first. `asked` is the id under which its client was sent to
    an address, `answer` what it said to that.
    """

    call: Call
    standing: Standing
    bound: bytes
    survives: bool = False
    is_gone: bool = False
    is_alone: bool = False
    is_withdrawn: bool = False
    is_replaced: bool = False
    is_repeated: bool = False
    is_back: bool = False
    origin: bytes = b""
    asked: str = ""
    answer: str = ""
    began: float = field(default_factory=time.monotonic)
    polled_at: float = field(default_factory=time.monotonic)
    is_woken: bool = False
    _sleep: asyncio.Future[None] | None = None

    def wake(self, *_: object) -> None:
        """Look again."""
        self.is_woken = True
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def pause(self, seconds: float) -> bool:
        """Wait until something may have moved, for `seconds` at most; tell whether it may.

        A future and a timer: an event, and a task that waits for it, would be a tenth of what a waiting call costs.
        """
        if not self.is_woken:
            loop = asyncio.get_running_loop()
            sleep = self._sleep = loop.create_future()
            timer = loop.call_later(max(0.0, seconds), _end, sleep)
            try:
                await sleep
            finally:
                timer.cancel()
                self._sleep = None
        was_woken, self.is_woken = self.is_woken, False
        return was_woken


def _end(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)


class Waiting:
    """The calls that wait in this process."""

    def __init__(self) -> None:
        self._by_request: dict[UUID, set[Waiter]] = {}
        self._by_message: dict[bytes, Waiter] = {}
        self._by_question: dict[str, Waiter] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._by_request.values()))

    def __contains__(self, request_id: UUID) -> bool:
        """Whether anybody waits for the request."""
        return request_id in self._by_request

    @property
    def requests(self) -> frozenset[UUID]:
        """The requests that are waited for."""
        return frozenset(self._by_request)

    @property
    def attended(self) -> frozenset[UUID]:
        """The requests for which a client is there right now."""
        return frozenset(
            request_id
            for request_id, waiters in self._by_request.items()
            if not all(waiter.is_alone for waiter in waiters)
        )

    def add(self, waiter: Waiter) -> None:
        """The call waits; adding it again changes nothing."""
        self._by_request.setdefault(waiter.standing.request_id, set()).add(waiter)
        self._by_message[_key_of(waiter)] = waiter

    def discard(self, waiter: Waiter) -> None:
        """The call waits no longer."""
        waiters = self._by_request.get(waiter.standing.request_id)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._by_request[waiter.standing.request_id]
        key = _key_of(waiter)
        if self._by_message.get(key) is waiter:
            del self._by_message[key]
        self._by_question.pop(waiter.asked, None)

    def of(self, request_id: UUID) -> Collection[Waiter]:
        """Return those who wait for a request."""
        return self._by_request.get(request_id, ())

    def by_message(self, key: bytes) -> Waiter | None:
        """Return who waits with the message that `message_key` names."""
        return self._by_message.get(key)

    def ask(self, waiter: Waiter, asked: str) -> None:
        """The client of a call that waits is asked something under the id `asked`."""
        waiter.asked = asked
        self._by_question[asked] = waiter

    def by_question(self, asked: str) -> Waiter | None:
        """Return whose client was asked under this id."""
        return self._by_question.get(asked)

    def __iter__(self) -> Iterator[Waiter]:
        """Return all of them."""
        return (waiter for waiters in self._by_request.values() for waiter in waiters)


def _key_of(waiter: Waiter) -> bytes:
    return message_key(waiter.call.ref.session, waiter.call.request_id)


def message_key(session: bytes, message_id: str | int | None) -> bytes:
    """Return what names a message of a session on all gateway processes, and tells nothing of either."""
    return sha256(session + f"{type(message_id).__name__} {message_id}".encode()).digest()[:16]
