"""The time that one piece of work may take, counted only when it waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy import reply
from proxy.reply import Reply, Watch, in_time


async def test_work_that_does_not_wait_needs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> str:
        return "done"

    monkeypatch.setattr(reply, "Deadline", None)
    assert await in_time(work(), 1) == "done"


async def test_work_that_waits_more_than_once_gives_its_result() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "done"

    assert await in_time(work(), 5) == "done"


async def test_work_that_waits_too_long_is_ended_and_the_task_goes_on() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    with pytest.raises(TimeoutError):
        await in_time(work(), 0.01)
    assert ended == ["cleaned up"]
    await asyncio.sleep(0)


@pytest.mark.parametrize("waits", [False, True])
async def test_what_the_work_raises_comes_out(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError

    with pytest.raises(KeyError):
        await in_time(work(), 5)


async def test_a_cancelled_task_cancels_the_work() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(in_time(work(), 5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Sent:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    async def receive(self) -> Any:
        raise AssertionError


async def test_the_head_of_a_stream_leaves_alone_when_its_first_event_takes_longer() -> None:
    sent = Sent()
    answer = Reply(sent.receive, sent.send, Watch(), stall_seconds=1)
    await answer.open_stream([])
    assert sent.messages == []
    await asyncio.sleep(2 * reply._HEAD_WAITS_SECONDS)
    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]
    assert (sent.messages[1]["body"], sent.messages[1]["more_body"]) == (b"", True)
    await answer.write(b"data: 1\n\n")
    assert [message["type"] for message in sent.messages[2:]] == ["http.response.body"]


async def test_an_event_that_comes_at_once_takes_the_head_along() -> None:
    sent = Sent()
    answer = Reply(sent.receive, sent.send, Watch(), stall_seconds=1)
    await answer.open_stream([])
    await answer.write(b"data: 1\n\n")
    await asyncio.sleep(2 * reply._HEAD_WAITS_SECONDS)
    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]


async def test_a_head_that_left_with_the_end_just_as_its_time_was_over_is_followed_by_nothing() -> None:
    sent = Sent()
    answer = Reply(sent.receive, sent.send, Watch(), stall_seconds=1)
    await answer.open_stream([])
    answer._send_head_late()
    await answer.close()
    await answer._late
    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]
