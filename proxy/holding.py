"""Keeping a held call waiting until it may run, ends, or its client can wait no longer.

A waiting call holds no thread, no database connection and no place in the caps of running calls. Decisions come by the
bell of the database, and by polling when a bell was missed. Silence, doubt and every error end in a refusal.

A client of the legacy era that loses its connection has cancelled nothing: its call goes on waiting without it for
`GRACE_SECONDS`, runs when it is approved meanwhile, and the client fetches the answer with the id of its stream
(`approvals`), or by sending the same call again. In the modern era the end of the connection is the cancel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from policies.engine import binding, rules
from policies.engine.verdicts import Allow, Deny, Hold
from proxy import held_texts
from proxy.approval_store import ApprovalStore, Claim, Moved, asked_for
from proxy.catalogue import refusal
from proxy.held import CannotAsk, Standing, Unreachable
from proxy.held_answers import HeldAnswers, HeldRecorder
from proxy.held_reply import HeldReply
from proxy.held_seal import HeldSeal, LegRef, StreamRef
from proxy.held_tasks import Nobody, TaskIds
from proxy.live import Live, why_over
from proxy.ports import Call, ClientGone, RecordUnavailable, ReplyPort, Resolved, Route
from proxy.protocol import mcp, sse
from proxy.store import Snapshot
from proxy.vehicles import KEEP_ALIVE_SECONDS, LONGEST_SECONDS, MOST_LEGS, REPEATABLE, Vehicle
from proxy.waiting import Waiter, Waiting

logger = logging.getLogger(__name__)

CarryOut = Callable[[Call, Allow | Deny, ReplyPort], Awaitable[None]]
GRACE_SECONDS = 600.0
"""For how long a call waits on whose client has lost its connection."""
SAME_SECONDS = 60.0
"""For how long a call waits for the answer of an equal one that runs already."""
RETRY_MILLISECONDS = 2_000
_MOST_ALONE = 10_000
_BACK_SECONDS = 15.0
"""A client that lost its connection is back sooner than that; one that is not has given up."""
_URL_AFTER_SECONDS = 3.0
_POLLED_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_CATCH_UP_SECONDS = 5.0


class Policy(Protocol):
    """Where the newest snapshot is."""

    @property
    def latest(self) -> Snapshot:
        """The newest snapshot."""

    @property
    def current(self) -> Snapshot | None:
        """The snapshot in force; None when there is none that can be trusted."""

    def ring(self) -> None:
        """Look for a newer one now."""


class Slots(Protocol):
    """The places of running calls, which a waiting call gives back."""

    def pause(self, call: Call) -> None:
        """The call waits."""

    def resume(self, call: Call) -> None:
        """The call runs again."""


@dataclass(frozen=True, slots=True)
class Means:
    """What keeps calls waiting.

    Attributes:
        store: the requests in the database.
        recorder: of the data path.
        policy: where the newest snapshot is.
        slots: what a waiting call does not take up.
        live: looks after calls whose HTTP request is over.
        task_ids: makes and checks the ids of tasks.
        seal: of what clients come back with.
        sends_urls: whether clients may be sent to the console: it is reached by https.
        spawn: runs a task in the background.
        carry_out: takes a call from its verdict to its outcome.
    """

    store: ApprovalStore
    recorder: HeldRecorder
    policy: Policy
    slots: Slots
    live: Live
    task_ids: TaskIds
    seal: HeldSeal
    sends_urls: bool
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    carry_out: CarryOut


class Holding:
    """Keeps held calls waiting, and lets them run when they are approved."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self.waiting = Waiting()
        self.answers = HeldAnswers(means.recorder)
        self._fingerprints: dict[str, tuple[rules.ConnectionPolicy, bytes]] = {}
        self._alone = 0

    def bound(self, call: Call) -> bytes:
        """Return what an approval of this call is bound to, by what is true now.

        Raises:
            NotCanonical: its arguments have no canonical form.
        """
        route = self.means.policy.latest.routes.get(call.route.slug, call.route)
        policy = route.policy or call.policy
        known = self._fingerprints.get(route.connection_key)
        if known is None or known[0] is not policy:
            known = self._fingerprints[route.connection_key] = (policy, binding.fingerprint(policy))
        return bound_of(call, known[1], route)

    # With a client on the line.

    async def wait(
        self,
        waiter: Waiter,
        hold: Hold,
        vehicle: Vehicle,
        reply: ReplyPort,
        *,
        leg: LegRef | None = None,
    ) -> Resolved | None:
        """Keep the client of `waiter` until the call may run; None when it has its answer.

        Args:
            waiter: of the call; it is among those that wait.
            hold: the verdict.
            vehicle: how the client is kept.
            reply: the way to it.
            leg: the one with which the client came back.

        Raises:
            ClientGone: the client has left.
            RecordUnavailable: an answer cannot be recorded, or it cannot be known what may run.
        """
        call, way = waiter.call, reply
        call.abort = waiter.wake
        streams = waiter.is_back or (vehicle.kind != "plain" and waiter.standing.state in {"held", "used"})
        if streams:
            way = await self._opened(waiter, reply)

        def gone() -> None:
            waiter.is_gone = True
            waiter.wake()

        reply.watch(gone)
        has_started = time.monotonic()
        while True:
            ended = await self._looked_at(waiter, hold, way)
            if ended is not None:
                return ended.resolved
            left = self._left(waiter, vehicle)
            if left <= 0:
                await self._let_go(waiter, vehicle, leg, way)
                return None
            if vehicle.opens_url and streams and not waiter.asked and self.means.sends_urls:
                until_asked = has_started + _URL_AFTER_SECONDS - time.monotonic()
                if until_asked <= 0:
                    self.waiting.ask(waiter, f"{URL_ID}{os.urandom(16).hex()}")
                    await self.answers.send_to(call, waiter.standing, waiter.asked, way)
                    continue
                left = min(left, until_asked)
            if not await waiter.pause(min(left, KEEP_ALIVE_SECONDS)) and left >= KEEP_ALIVE_SECONDS and streams:
                await way.write(_progress(call, waiter.standing))

    async def _opened(self, waiter: Waiter, reply: ReplyPort) -> HeldReply:
        """Open the stream on which the client waits; a legacy client learns how to come back to it."""
        call = waiter.call
        await reply.open_stream([])
        if call.has_era_modern:
            return HeldReply(reply, call)
        message = call.request_id
        is_long = isinstance(message, int) and message.bit_length() > 63
        if message is None or is_long or call.method not in REPEATABLE:
            await reply.write(sse.KEEP_ALIVE)
            return HeldReply(reply, call)
        waiter.survives = True
        way = HeldReply(reply, call, lambda: self.means.spawn(self._owe(call)))
        ref = StreamRef(waiter.standing.request_id, call.ref.session, call.call_id, message)
        event_id = self.means.seal.stream(ref, call.identity, call.route).encode()
        await way.write(sse.encode(sse.ServerEvent(b"", b"", event_id, RETRY_MILLISECONDS)))
        return way

    async def _owe(self, call: Call) -> None:
        with contextlib.suppress(Unreachable):
            await self.means.store.owe(call.call_id)

    async def _looked_at(self, waiter: Waiter, hold: Hold, way: ReplyPort) -> _Ended | None:
        """End the waiting when there is a reason to; None when there is none."""
        call, standing = waiter.call, waiter.standing
        if waiter.is_replaced:
            if not waiter.is_gone:
                await way.close()
            return _Ended(None)
        if waiter.is_gone:
            raise ClientGone
        if waiter.is_withdrawn:
            await self._withdraw(waiter, way)
            return _Ended(None)
        if call.cut:
            return _Ended(Resolved(Deny(call.cut, held_texts.LOST_ACCESS), way))
        if standing.state == "approved" or not standing.is_open:
            return _Ended(await self.settle(waiter, hold, way))
        return None

    def _left(self, waiter: Waiter, vehicle: Vehicle) -> float:
        """Return for how many seconds the client may wait on; with an expired token nothing runs."""
        standing, budget = waiter.standing, vehicle.leg_seconds or vehicle.budget_seconds
        if waiter.asked and waiter.answer in {"", "accept"}:
            budget = LONGEST_SECONDS
        ends_at = min(standing.expires_at, waiter.call.identity.expires_at)
        return min(waiter.began + budget - time.monotonic(), ends_at - time.time())

    async def _let_go(self, waiter: Waiter, vehicle: Vehicle, leg: LegRef | None, way: ReplyPort) -> None:
        """The client waits no longer on this request: it is told how to go on."""
        call, standing = waiter.call, waiter.standing
        if standing.expires_at <= time.time():
            await self.answers.ended(call, expired(standing), way)
        elif vehicle.kind != "legs" or (leg is not None and leg.leg >= MOST_LEGS):
            await self.answers.pending(call, standing, way)
        else:
            await self._come_again(waiter, leg, way)

    async def _come_again(self, waiter: Waiter, leg: LegRef | None, way: ReplyPort) -> None:
        call, standing = waiter.call, waiter.standing
        if leg is None:
            try:
                legs = await self.means.store.begin_legs(standing.request_id)
            except Unreachable:
                await self.answers.pending(call, standing, way)
                return
            following = LegRef(standing.request_id, legs, 2, waiter.bound, standing.expires_at)
        else:
            following = msgspec.structs.replace(leg, leg=leg.leg + 1)
        state = self.means.seal.state(following, call.identity, call.route)
        await self.answers.come_again(call, standing, state, way)

    async def _withdraw(self, waiter: Waiter, way: ReplyPort) -> None:
        """The client takes its call back; the last one that waits ends the request."""
        call, standing = waiter.call, waiter.standing
        with contextlib.suppress(Unreachable):
            if len(self.waiting.of(standing.request_id)) <= 1:
                await self.means.store.withdraw(standing.code, call)
            await self.means.store.gave_up(call, time.monotonic() - waiter.began)
        await self.answers.withdrawn(call, standing, way)

    # Without one.

    def leave_alone(self, waiter: Waiter, hold: Hold) -> bool:
        """Wait on for a client that has lost its connection; False when too many are waited for in that way."""
        if self._alone >= _MOST_ALONE:
            return False
        self._alone += 1
        self.means.recorder.noted(waiter.call, waiter.standing, "left", "client_gone")
        # The call of the HTTP request ends with it; what waits on is looked after by itself.
        waiter.call = replace(waiter.call, abort=None)
        waiter.is_alone = True
        self.means.spawn(self.look_after(waiter, hold, seconds=GRACE_SECONDS))
        return True

    async def look_after(self, waiter: Waiter, hold: Hold, *, seconds: float = LONGEST_SECONDS) -> None:
        """Wait for the decision about a call without its client, for `seconds` at most, and run it."""
        call = waiter.call
        call.abort = waiter.wake
        self.waiting.add(waiter)
        self.means.live.add(call)
        try:
            reason = await self._undecided(waiter, seconds)
            if reason is not None:
                if waiter.is_alone and reason:
                    await self.means.recorder.denied(call, Hold(waiter.standing.rule, reason))
                return
            if waiter.is_withdrawn:
                await self._withdraw(waiter, Nobody())
                return
            resolved = await self.settle(waiter, hold, Nobody())
            if resolved is not None:
                await self.means.carry_out(call, resolved.verdict, resolved.reply)
                if waiter.is_alone:
                    await self._owe(call)
        except (RecordUnavailable, ClientGone):
            logger.warning("a held call could not be run; it stays as it is until its client asks for it")
        finally:
            self._alone -= waiter.is_alone
            self.means.live.discard(call)
            self.waiting.discard(waiter)

    async def _undecided(self, waiter: Waiter, seconds: float) -> str | None:
        """Wait for the decision about a call whose client is not there; None when it is time to look at it.

        Otherwise nothing may run without the client, for the reason that is returned; an empty one when the same call
        goes on elsewhere.
        """
        call, ends = waiter.call, time.monotonic() + seconds
        away_since, may_learn = time.monotonic(), waiter.is_alone
        while waiter.standing.state == "held" and not (call.cut or waiter.is_withdrawn or waiter.is_replaced):
            left = min(waiter.standing.expires_at, call.identity.expires_at) - time.time()
            if left <= 0 or time.monotonic() >= ends:
                break
            back = away_since + _BACK_SECONDS - time.monotonic() if may_learn else LONGEST_SECONDS
            if back <= 0:
                may_learn = False
                with contextlib.suppress(Unreachable):
                    await self.means.store.gave_up(call, away_since - waiter.began)
                continue
            await waiter.pause(min(left, back, ends - time.monotonic()))
        if waiter.is_replaced:
            return "repeated" if waiter.is_repeated else ""
        if waiter.standing.state == "held" and waiter.standing.expires_at <= time.time():
            waiter.standing = expired(waiter.standing)
        if waiter.standing.state == "held" and not (call.cut or waiter.is_withdrawn):
            # Whoever comes next, with a token that is good, waits for the same request.
            return "client_gone"
        if waiter.is_alone and waiter.standing.state == "approved" and await self._is_over(call):
            # Nobody can come back for the answer. The approval is kept for whoever sends the same call again.
            return "session_over"
        return None if await self._is_asked_for(waiter) else "client_gone"

    async def _is_over(self, call: Call) -> bool:
        """Tell whether the client of a call has ended its session: with it, that of the upstream is gone."""
        try:
            return await self.means.store.is_over(call.ref.session)
        except Unreachable:
            raise RecordUnavailable(maybe_recorded=False) from None

    async def _is_asked_for(self, waiter: Waiter) -> bool:
        """Tell whether the call may run as far as its rule wants somebody to be there."""
        while waiter.standing.needs_poller and waiter.standing.state == "approved":
            if not waiter.is_alone and time.monotonic() - waiter.polled_at <= _POLLED_SECONDS:
                break
            if waiter.standing.usable_until <= time.time() or waiter.call.cut or waiter.is_replaced:
                return False
            await waiter.pause(_POLLED_SECONDS)
        return waiter.call.identity.expires_at > time.time()

    # What became of it.

    async def settle(self, waiter: Waiter, hold: Hold, way: ReplyPort) -> Resolved | None:
        """Run an approved call, or tell what became of it."""
        call = waiter.call
        if call.cut:
            return Resolved(Deny(call.cut, held_texts.LOST_ACCESS), way)
        while waiter.standing.state == "approved":
            refused = self._why_not_now(call, hold)
            if refused is not None:
                return Resolved(refused, way)
            try:
                claim = await self._claim(waiter)
                if claim is None:
                    waiter.standing, before = await self.means.store.look(waiter.standing), waiter.standing
                    if waiter.standing.state == "approved" and waiter.standing == before:
                        await self.answers.changed(call, before, way)
                        return None
                    continue
            except (Unreachable, binding.NotCanonical):
                raise RecordUnavailable(maybe_recorded=False) from None
            return await self._take_up(waiter, hold, claim, way)
        if waiter.standing.state == "used":
            return await self._same(waiter, hold, way)
        await self.answers.ended(call, waiter.standing, way)
        return None

    async def _claim(self, waiter: Waiter) -> Claim | None:
        """Claim a run under the newest policy; None when there is none to have."""
        call, until = waiter.call, time.monotonic() + _CATCH_UP_SECONDS
        while True:
            snapshot = self.means.policy.latest
            versions = (snapshot.version, snapshot.revocations.version)
            try:
                waiter.bound = self.bound(call)
                return await self.means.store.claim(waiter.standing.request_id, waiter.bound, call, versions)
            except Moved:
                if time.monotonic() > until:
                    raise Unreachable from None
                self.means.policy.ring()
                await asyncio.sleep(0.02)

    async def _take_up(self, waiter: Waiter, hold: Hold, claim: Claim, way: ReplyPort) -> Resolved | None:
        """Make what was approved what runs, unless something has moved between the look and the claim."""
        call = waiter.call
        refused = self._why_not_now(call, hold)
        if refused is not None or (waiter.is_gone and not waiter.survives):
            await self.means.store.release(claim.use_id)
            if refused is None:
                raise ClientGone
            return Resolved(refused, way)
        if self.bound(call) != waiter.bound:
            # The look has taken over a newer route: what was approved may not go there, nor with its credential.
            await self.means.store.release(claim.use_id)
            await self.answers.changed(call, waiter.standing, way)
            return None
        call.claim, call.approval = claim.use_id.bytes, claim.code
        call.outbound = claim.body
        if (sent := mcp.id_of(claim.body)) != call.request_id or type(sent) is not type(call.request_id):
            call.wire_id = sent
        self.means.recorder.decided(call, waiter.standing)
        return Resolved(Allow(hold.rule, f"approved: {waiter.standing.code}", hold.attributes), way)

    def _why_not_now(self, call: Call, hold: Hold) -> Deny | None:
        """Look at identity, locks and policy again, at this very moment."""
        snapshot, now = self.means.policy.current, time.time()
        if snapshot is None:
            return Deny("policy_unavailable", "the gateway cannot read its policy")
        if call.identity.expires_at <= now:
            return Deny("token_expired", "the access token expired while the call was held; log in and call again")
        why = call.cut or why_over(call, snapshot, now)
        if why:
            return Deny(why, held_texts.LOST_ACCESS)
        route = snapshot.routes[call.route.slug]
        if route.policy is None or route.refusal is not None:
            return Deny("connection_unusable", "this connection is not configured correctly")
        verdict = rules.decision(route.policy, call.identity, call.asked, call.facts(now)).verdict
        if isinstance(verdict, Deny):
            return verdict
        call.route, call.policy = route, route.policy
        return refusal(call)

    async def _same(self, waiter: Waiter, hold: Hold, way: ReplyPort) -> Resolved | None:
        """An equal call has run, or runs: its answer is this one's, too, if it comes soon."""
        call, until = waiter.call, time.monotonic() + (GRACE_SECONDS if waiter.is_back else SAME_SECONDS)
        request_id, kept_at = waiter.standing.request_id, time.monotonic()
        while True:
            try:
                state = await self.means.store.run(request_id, waiter.origin or call.call_id)
            except Unreachable:
                state = None
            if state is not None and state.outcome:
                await self.answers.same(call, state, way)
                with contextlib.suppress(Unreachable):
                    await self.means.store.paid(request_id)
                return None
            if state is not None and state.standing.state == "approved" and not state.has_begun:
                waiter.standing = state.standing
                return await self.settle(waiter, hold, way)
            if waiter.is_gone and not waiter.survives:
                raise ClientGone
            if call.cut:
                return Resolved(Deny(call.cut, held_texts.LOST_ACCESS), way)
            if time.monotonic() >= until:
                break
            await waiter.pause(_LOOK_SECONDS)
            if way.is_streaming and time.monotonic() - kept_at >= KEEP_ALIVE_SECONDS:
                kept_at = time.monotonic()
                await way.write(sse.KEEP_ALIVE)
        if waiter.is_back:
            await self.answers.unknown(call, waiter.standing, way)
            return None
        await self._ask_anew(waiter, hold, way)
        return None

    async def _ask_anew(self, waiter: Waiter, hold: Hold, way: ReplyPort) -> None:
        """The equal call does not end: ask about this one by itself."""
        call = waiter.call
        try:
            standing = await self.means.store.open(call, hold, self.bound(call), "pending")
        except CannotAsk:
            await self.answers.unknown(call, waiter.standing, way)
        except (Unreachable, binding.NotCanonical):
            raise RecordUnavailable(maybe_recorded=False) from None
        else:
            await self.answers.pending(call, standing, way)

    # Decisions.

    def bring(self, moved: Iterable[Standing]) -> None:
        """Tell those who wait where their requests stand now."""
        for standing in moved:
            for waiter in self.waiting.of(standing.request_id):
                if standing != waiter.standing:
                    waiter.standing = standing
                    waiter.wake()


@dataclass(frozen=True, slots=True)
class _Ended:
    """The waiting is over; without `resolved` the client has its answer."""

    resolved: Resolved | None


URL_ID = "wardgate-url-"
"""How the ids of our own requests to clients begin."""


def expired(standing: Standing) -> Standing:
    """Return the standing of a request whose time is over."""
    return replace(standing, state="expired")


def bound_of(call: Call, fingerprint: bytes, route: Route) -> bytes:
    """Return the digest that an approval of `call` is bound to, `fingerprint` being that of its policy.

    Raises:
        NotCanonical: the arguments have no canonical form.
    """
    identity, pinned = call.identity, route.catalogue.get(call.name or "")
    bound = binding.Bound(
        issuer=identity.issuer,
        subject=identity.subject,
        client_id=identity.client_id or "",
        connection=route.connection_key,
        upstream=f"{route.upstream!r} {sorted(route.allowed_networks)}",
        credential_version=route.credential_version,
        method=call.method,
        name=call.name or "",
        definition=pinned.digest if pinned is not None else "",
        policy=fingerprint,
    )
    return binding.digest(bound, asked_for(call))


def _progress(call: Call, standing: Standing) -> bytes:
    """Return a progress notification when the client has asked for progress, a comment otherwise.

    Progress is the age of the request in seconds: it grows also on a stream that another process goes on with.
    """
    message = call.message
    token = message.meta.get("progressToken") if isinstance(message, mcp.Request) else None
    if token is None:
        return sse.KEEP_ALIVE
    text = held_texts.waiting(standing)
    params = {"progressToken": token, "progress": int(time.time() - standing.opened_at), "message": text}
    body = mcp.encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    return sse.encode(sse.ServerEvent(body, b"message"))
