"""The exchanges that are under way, and their end from outside.

A call may last: a stream for a day, a held call for hours. Whoever was admitted when it began may since have been
locked, lost the grant or the provider, or hold a token that has expired. So the calls under way are looked at again at
each change of policy, locks or revocations, and a few times a second for what ends by itself. One timer serves all.

A call that is cut ends like one whose upstream failed: the upstream's connection is closed, the outcome is recorded
with the reason, and the client is told. One that is still there two seconds later, because its client does not read,
is cancelled.

A plain answer that is awaited outlives its token: the call was made while the token was good. A stream does not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from policies.engine import narrowing, rules
from proxy import changes
from proxy.identity import with_directory
from proxy.ports import Call, UpstreamFailed
from proxy.store import Snapshot

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
"""How late the end of a token is noticed at most."""
ACCESS_TICKS = 8
"""Every so many ticks the grants are looked at, because they end by themselves, too."""
STUCK_SECONDS = 2.0
_SLICE = 500
"""So many calls are looked at before others get a turn."""

ACCESS_ENDED = "access_ended"
TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, not a secret
SESSION_ENDED = "session_ended"


class Policy(Protocol):
    """Where the newest snapshot is."""

    @property
    def latest(self) -> Snapshot:
        """The newest snapshot."""


def why_over(call: Call, snapshot: Snapshot, now: float) -> str | None:
    """Return why the caller of `call` would not be admitted any more at `now`; None when it would."""
    identity = with_directory(call.identity, snapshot)
    stopped = snapshot.revocations.refusal(identity, call.route.connection_id, now, signed_by=snapshot.signer(identity))
    if stopped is not None:
        return stopped.code
    if call.ref.session in snapshot.stopped_sessions:
        return SESSION_ENDED
    route = snapshot.routes.get(call.route.slug)
    if (
        identity.issuer not in snapshot.providers
        or route is None
        or route.policy is None
        or route.connection_id != call.route.connection_id
        or not narrowing.reaches(identity.narrowing, route.slug)
        or not rules.has_access(route.policy, identity, now=now, facts=call.facts(now))
    ):
        return ACCESS_ENDED
    return None


class Live:
    """The calls under way in this process.

    Args:
        policy: where the newest snapshot is.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._calls: dict[Call, asyncio.Task[None] | None] = {}
        self._cut_at: dict[Call, float] = {}
        self._changed = asyncio.Event()

    def add(self, call: Call) -> None:
        """Look after `call`, which the current task serves, until `discard`."""
        self._calls[call] = asyncio.current_task()

    def discard(self, call: Call) -> None:
        """The call is over."""
        del self._calls[call]
        if call.cut:
            self._cut_at.pop(call, None)

    def __len__(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    @property
    def token_digests(self) -> frozenset[bytes]:
        """The SHA-256 of every token with which a call is under way."""
        return frozenset(call.identity.token_digest for call in self._calls)

    def changed(self) -> None:
        """Look at every call soon: policy, locks or revocations have moved."""
        self._changed.set()

    async def keep_watch(self) -> None:
        """Cut what is over, for as long as the task lives."""
        tick = 0
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), TICK_SECONDS)
            except TimeoutError:
                pass
            tick += 1
            has_changed = self._changed.is_set()
            self._changed.clear()
            try:
                await self._look(access=has_changed or tick % ACCESS_TICKS == 0, news=has_changed)
            except Exception:
                logger.exception("the calls under way could not be looked at; they are at the next tick")
                self._changed.set()
                await asyncio.sleep(TICK_SECONDS)

    async def _look(self, *, access: bool, news: bool) -> None:
        now = time.time()
        for index, call in enumerate(list(self._calls)):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if call.cut:
                self._end_stuck(call)
            elif call.is_streaming and call.identity.expires_at <= now:
                self._cut(call, TOKEN_EXPIRED)
            elif access and (why := self._why_over(call, now)) is not None:
                self._cut(call, why)
            elif news and call.nudge is not None:
                changes.note(call, self._policy.latest.routes.get(call.route.slug), now)

    def _why_over(self, call: Call, now: float) -> str | None:
        try:
            return why_over(call, self._policy.latest, now)
        except Exception:
            # A call that cannot be judged ends, and the others must not go unwatched for it.
            logger.exception("a call under way cannot be judged")
            return ACCESS_ENDED

    def _cut(self, call: Call, why: str) -> None:
        if call not in self._calls:
            return
        call.cut = why
        self._cut_at[call] = time.monotonic()
        if call.abort is not None:
            call.abort(UpstreamFailed(why, was_sent=True))

    def _end_stuck(self, call: Call) -> None:
        """Cancel a call that was cut and does not end: its client does not read, and must not keep it."""
        cut_at, task = self._cut_at.get(call), self._calls.get(call)
        if cut_at is not None and task is not None and time.monotonic() - cut_at > STUCK_SECONDS:
            del self._cut_at[call]
            task.cancel()
