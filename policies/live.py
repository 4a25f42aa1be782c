"""The bell of the live pages: who is to be told in this process that approval requests have moved.

The database rings it (a trigger notifies every gateway process), so it works without Redis. It carries ids alone;
whoever listens asks what of them their person may see. All of it runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

MOST_IDS = 100
"""Ids that wait for one listener; of more it is only known that there are more."""


class TooManyListeners(Exception):
    """The process, or the person, has as many live pages as it may have."""


@dataclass(slots=True, eq=False)
class Listener:
    """One live page of a person: what has moved since it last looked."""

    user_id: int
    _rung: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: set[str] = field(default_factory=set)
    _is_over: bool = False

    def ring(self, request_id: str) -> None:
        """Note that a request has moved."""
        if len(self._moved) < MOST_IDS:
            self._moved.add(request_id)
        elif request_id not in self._moved:
            self._is_over = True
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Wait until something has moved, at most so long."""
        try:
            await asyncio.wait_for(self._rung.wait(), seconds)
        except TimeoutError:
            return

    def take(self) -> tuple[frozenset[str], bool]:
        """Return the ids that have moved, and whether there were more of them than are kept."""
        taken, is_over = frozenset(self._moved), self._is_over
        self._moved.clear()
        self._is_over = False
        self._rung.clear()
        return taken, is_over


class Hub:
    """The listeners of one process.

    Args:
        most: of all people.
        most_of_one: of one person.
    """

    def __init__(self, *, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._listeners: set[Listener] = set()
        self._of_person: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def is_full(self) -> bool:
        """Whether nobody else may come now."""
        return len(self._listeners) >= self._most

    def join(self, user_id: int) -> Listener:
        """Listen for a person.

        Raises:
            TooManyListeners: there are as many as may be.
        """
        if self.is_full or self._of_person[user_id] >= self._most_of_one:
            raise TooManyListeners
        listener = Listener(user_id)
        self._listeners.add(listener)
        self._of_person[user_id] += 1
        return listener

    def leave(self, listener: Listener) -> None:
        """Listen no longer; a second time does nothing."""
        if listener in self._listeners:
            self._listeners.discard(listener)
            self._of_person -= Counter((listener.user_id,))

    def ring(self, request_id: str) -> None:
        """Tell every listener that a request has moved."""
        for listener in self._listeners:
            listener.ring(request_id)
