"""When an issuer is asked about a token, and what its answer, or its silence, means."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from accounts.introspection import Introspector, Standing, standing_of
from accounts.tokens import Identity

ISSUED = 1_000_000
IDENTITY = Identity(
    issuer="https://idp.example",
    subject="ada",
    groups=frozenset(),
    expires_at=ISSUED + 3600,
    display_name="",
    email="",
    client_id="",
    token_digest=b"d" * 32,
    provider_id="p",
    token_id="t",
    audiences=frozenset(),
    issued_at=ISSUED,
)


class Desk:
    """An issuer that answers as it is told, and a clock."""

    def __init__(self) -> None:
        self.now = float(ISSUED)
        self.standing = Standing.ACTIVE
        self.asked: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.introspector = Introspector(self._ask, every_seconds=60, outage_seconds=300, clock=lambda: self.now)

    async def _ask(self, identity: Identity, raw: bytes) -> Standing:
        self.asked.append(raw)
        await self.open.wait()
        return self.standing

    async def code(self, after: float, identity: Identity = IDENTITY) -> str | None:
        """Return the code of the refusal when the token is used so long after its issue."""
        self.now = ISSUED + after
        rejected = await self.introspector.refusal(identity, b"raw")
        return rejected and rejected.code


@pytest.fixture
async def desk():
    return Desk()


@pytest.mark.parametrize(
    ("status", "body", "standing"),
    [
        (200, {"active": True}, Standing.ACTIVE),
        (200, {"active": True, "sub": "ada"}, Standing.ACTIVE),
        (200, {"active": False}, Standing.INACTIVE),
        (200, {"active": "true"}, Standing.UNAVAILABLE),
        (200, {"active": 1}, Standing.UNAVAILABLE),
        (200, {}, Standing.UNAVAILABLE),
        (200, [], Standing.UNAVAILABLE),
        (401, {"active": True}, Standing.UNAVAILABLE),
        (204, {"active": True}, Standing.UNAVAILABLE),
        (302, {"active": True}, Standing.UNAVAILABLE),
        (500, {}, Standing.UNAVAILABLE),
    ],
)
def test_only_a_plain_yes_is_active_and_only_a_plain_no_is_inactive(status, body, standing):
    assert standing_of(status, json.dumps(body).encode()) is standing


@pytest.mark.parametrize("body", [b"", b"true", b'{"active": true, "active": false}', b"\xff", b'{"active": tru'])
def test_an_answer_that_can_be_read_in_two_ways_is_none(body):
    assert standing_of(200, body) is Standing.UNAVAILABLE


async def test_a_fresh_token_is_not_asked_about(desk):
    assert await desk.code(59) is None
    assert desk.asked == []


async def test_a_token_is_asked_about_once_in_a_while(desk):
    for after in (60, 61, 119, 120, 121):
        assert await desk.code(after) is None
    assert len(desk.asked) == 2


async def test_an_inactive_token_stays_inactive_without_being_asked_about_again(desk):
    desk.standing = Standing.INACTIVE
    assert await desk.code(60) == "token_inactive"
    desk.standing = Standing.ACTIVE
    assert await desk.code(600) == "token_inactive"
    assert len(desk.asked) == 1


async def test_the_last_word_counts_for_a_while_when_the_issuer_cannot_be_asked(desk):
    assert await desk.code(60) is None
    desk.standing = Standing.UNAVAILABLE
    assert await desk.code(120) is None
    assert await desk.code(60 + 359) is None
    assert await desk.code(60 + 360) == "introspection_unavailable"
    desk.standing = Standing.ACTIVE
    assert await desk.code(60 + 371) is None


async def test_an_old_token_that_nobody_can_vouch_for_is_refused(desk):
    desk.standing = Standing.UNAVAILABLE
    assert await desk.code(1800) == "introspection_unavailable"


async def test_while_the_issuer_cannot_be_asked_it_is_not_asked_with_every_request(desk):
    desk.standing = Standing.UNAVAILABLE
    for after in (100, 101, 105, 109, 110, 111):
        await desk.code(after)
    assert len(desk.asked) == 2


async def test_many_requests_at_once_ask_one_question(desk):
    desk.open.clear()
    desk.now = ISSUED + 100
    waiting = [asyncio.create_task(desk.introspector.refusal(IDENTITY, b"raw")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()
    desk.open.set()
    answers = await asyncio.gather(*waiting[1:])
    assert answers == [None] * 49
    assert len(desk.asked) == 1


async def test_a_stream_that_goes_on_is_asked_about_without_a_request(desk):
    await desk.code(10)
    desk.standing, desk.now = Standing.INACTIVE, ISSUED + 100
    await desk.introspector.ask_again({IDENTITY.token_digest, b"unknown"})
    assert desk.asked == [b"raw"]
    assert await desk.code(101) == "token_inactive"


async def test_a_failing_question_does_not_end_the_watch(desk):
    async def broken(identity, raw):
        raise RuntimeError

    introspector = Introspector(broken, every_seconds=60, outage_seconds=300, clock=lambda: ISSUED + 100)
    with pytest.raises(RuntimeError):
        await introspector.refusal(IDENTITY, b"raw")
    await introspector.ask_again({IDENTITY.token_digest})


async def test_a_token_is_forgotten_when_it_has_expired(desk):
    await desk.code(10)
    desk.now = IDENTITY.expires_at
    desk.introspector.forget_expired()
    await desk.introspector.ask_again({IDENTITY.token_digest})
    assert desk.asked == []


async def test_two_tokens_of_one_subject_are_two_questions(desk):
    await desk.code(100)
    await desk.code(100, replace(IDENTITY, token_digest=b"e" * 32))
    assert len(desk.asked) == 2
