"""Who waits in a process, and how they are found."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest.mock import Mock
from uuid import UUID

from proxy.held import Standing
from proxy.waiting import Waiter, Waiting, message_key

SESSION = b"s" * 16


def waiter(request: int = 1, message: Any = 1, session: bytes = SESSION) -> Waiter:
    standing = Standing(UUID(int=request), "APR-1", "held", "", "rule", "1 of Approvers", 0.0)
    return Waiter(Mock(ref=Mock(session=session), request_id=message), standing, b"")


def test_who_waits_is_found_by_the_request_and_by_the_message_of_its_session() -> None:
    waiting, first, second = Waiting(), waiter(), waiter(message="1")
    waiting.add(first)
    waiting.add(second)
    waiting.add(second)
    assert len(waiting) == 2
    assert set(waiting.of(UUID(int=1))) == {first, second}
    assert waiting.by_message(message_key(SESSION, 1)) is first
    assert waiting.by_message(message_key(SESSION, "1")) is second
    assert waiting.by_message(message_key(b"t" * 16, 1)) is None


def test_nothing_is_left_of_who_waits_no_longer() -> None:
    waiting, one = Waiting(), waiter()
    waiting.add(one)
    waiting.ask(one, "asked")
    assert waiting.by_question("asked") is one
    waiting.discard(one)
    waiting.discard(one)
    assert (len(waiting), waiting.requests, list(waiting)) == (0, frozenset(), [])
    assert waiting.by_question("asked") is None
    assert waiting.by_message(message_key(SESSION, 1)) is None


def test_a_message_that_was_sent_again_is_the_newest_one() -> None:
    waiting, older, newer = Waiting(), waiter(), waiter(request=2)
    waiting.add(older)
    waiting.add(newer)
    waiting.discard(older)
    assert waiting.by_message(message_key(SESSION, 1)) is newer


def test_a_request_is_attended_while_one_client_is_there() -> None:
    waiting, here, away = Waiting(), waiter(), waiter(message=2)
    away.is_alone = True
    waiting.add(away)
    assert waiting.attended == frozenset()
    waiting.add(here)
    assert waiting.attended == {UUID(int=1)}


async def test_who_waits_is_woken_at_once_also_by_what_came_before_it_paused() -> None:
    one = waiter()
    one.wake()
    assert await one.pause(60)
    assert not await one.pause(0.01)
    asyncio.get_running_loop().call_later(0.01, one.wake)
    began = time.monotonic()
    assert await one.pause(60)
    assert time.monotonic() - began < 5
