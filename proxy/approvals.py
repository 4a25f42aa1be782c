"""Held calls: the request for approval, the client that waits, and the one run that an approval is good for.

    open or join the request -> record that the call is held -> keep the client waiting -> look at everything again
    -> claim the run -> hand the approved bytes to the exchange, whose intent consumes the claim

A waiting call holds no thread, no database connection and no place in the caps of running calls. Decisions come by the
bell of the database, and by polling when a bell was missed. Silence, doubt and every error end in a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

from policies.engine import binding, rules
from policies.engine.masking import Masked
from policies.engine.verdicts import Allow, Deny, Hold
from proxy import errors, held_tasks, held_texts
from proxy.approval_store import ApprovalStore, Claim
from proxy.catalogue import refusal
from proxy.held import CannotAsk, Standing, Unreachable
from proxy.held_reply import HeldReply
from proxy.held_tasks import Nobody, TaskIds
from proxy.live import Live, why_over
from proxy.ports import Call, ClientGone, RecordUnavailable, ReplyPort, Resolved
from proxy.protocol import json_strict, jsonrpc, mcp, sse
from proxy.store import Snapshot
from proxy.vehicles import KEEP_ALIVE_SECONDS, Client, Vehicle, choose

logger = logging.getLogger(__name__)

CarryOut = Callable[[Call, Allow | Deny, ReplyPort], Awaitable[None]]
_POLLED_SECONDS = 60.0
_SEEN_SECONDS = 10.0
_STREAM_SECONDS = 285.0


class Policy(Protocol):
    """Where the newest snapshot is."""

    @property
    def latest(self) -> Snapshot:
        """The newest snapshot."""

    @property
    def current(self) -> Snapshot | None:
        """The snapshot in force; None when there is none that can be trusted."""


class Slots(Protocol):
    """The places of running calls, which a waiting call gives back."""

    def pause(self, call: Call) -> None:
        """The call waits."""

    def resume(self, call: Call) -> None:
        """The call runs again."""


class HeldRecorder(Protocol):
    """What is recorded of held calls."""

    def held(self, call: Call, hold: Hold, standing: Standing, vehicle: str) -> Awaitable[None]:
        """Record that the call waits; raises RecordUnavailable."""

    def answered(self, call: Call, masked: Masked) -> Awaitable[None]:
        """Record what the gateway itself answers; raises RecordUnavailable."""

    def frame(self, call: Call, masked: Masked, *, kind: str) -> Awaitable[None]:
        """Record a message that is about to go to the client; raises RecordUnavailable."""

    def decided(self, call: Call, standing: Standing) -> Awaitable[None]:
        """Record what became of the request."""

    def denied(self, call: Call, verdict: Deny | Hold) -> Awaitable[None]:
        """Record that the call does not run; raises RecordUnavailable."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """One client that waits. `woken` is set when something may have moved."""

    call: Call
    standing: Standing
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    is_gone: bool = False
    is_withdrawn: bool = False
    polled_at: float = field(default_factory=time.monotonic)

    def wake(self) -> None:
        self.woken.set()


class HeldCalls:
    """Keeps held calls waiting, and lets them run when they are approved.

    Args:
        store: the requests in the database.
        recorder: of the data path.
        policy: where the newest snapshot is.
        slots: what a waiting call does not take up.
        live: looks after tasks, whose HTTP request is over.
        task_ids: makes and checks the ids of tasks.
        poll_seconds: how often decisions are looked for without a bell.
        spawn: runs a task in the background.
        carry_out: takes a call from its verdict to its outcome.
    """

    def __init__(
        self,
        store: ApprovalStore,
        recorder: HeldRecorder,
        policy: Policy,
        slots: Slots,
        live: Live,
        task_ids: TaskIds,
        *,
        poll_seconds: float,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        carry_out: CarryOut,
    ) -> None:
        self._store, self._recorder, self._policy, self._slots = store, recorder, policy, slots
        self._live, self._task_ids, self._spawn, self._carry_out = live, task_ids, spawn, carry_out
        self._poll_seconds = poll_seconds
        self._waiting: dict[UUID, set[_Waiter]] = {}
        self._rung: set[UUID] = set()
        self._bell = asyncio.Event()

    def __len__(self) -> int:
        """How many clients wait in this process."""
        return sum(len(waiters) for waiters in self._waiting.values())

    # The exchange.

    async def resolve(self, hold: Hold, call: Call, reply: ReplyPort) -> Resolved | None:
        """Keep the client of a held call waiting until it may run; None when it has its answer, or is gone.

        Raises:
            RecordUnavailable: it cannot be recorded that the call waits.
        """
        if call.kind is None or not isinstance(call.message, mcp.Request):
            return Resolved(Deny(hold.rule, "this kind of message cannot wait for approval", hold.attributes), reply)
        try:
            bound = self._binding(call)
            standing = await self._store.open(call, hold, bound)
        except CannotAsk as error:
            return Resolved(Deny(hold.rule, error.text, (error.code,)), reply)
        except binding.NotCanonical:
            return Resolved(Deny(hold.rule, "its arguments cannot be shown to an approver", hold.attributes), reply)
        except Unreachable:
            raise RecordUnavailable(maybe_recorded=False) from None
        vehicle = choose(_client(call), await self._patience(call))
        if vehicle.kind == "task" and call.method != "tools/call":
            vehicle = Vehicle("stream", _STREAM_SECONDS)
        await self._recorder.held(call, hold, standing, vehicle.kind)
        waiter = _Waiter(call, standing)
        if vehicle.kind == "task":
            await self._give_task(waiter, hold, reply)
            return None
        self._waiting.setdefault(standing.request_id, set()).add(waiter)
        self._slots.pause(call)
        began = time.monotonic()
        try:
            return await self._wait(waiter, hold, vehicle, reply)
        except ClientGone:
            await self._left(call, time.monotonic() - began)
            raise
        finally:
            self._slots.resume(call)
            self._forget(waiter, standing.request_id)

    async def _give_task(self, waiter: _Waiter, hold: Hold, reply: ReplyPort) -> None:
        """Answer with a task, and wait on without the client."""
        call, standing = waiter.call, waiter.standing
        task_id = self._task_ids.make(standing.code, call.identity, call.route)
        masked = call.policy.masker.mask(held_tasks.created(call, standing, task_id, time.time()), call.keep)
        await self._recorder.frame(call, masked, kind="result")
        # The call of the request ends with its answer; what waits on is looked after by itself.
        waiter.call = replace(call)
        self._waiting.setdefault(standing.request_id, set()).add(waiter)
        self._spawn(self._run_task(waiter, hold))
        await reply.whole(200, errors.JSON, masked.value, [])

    async def _run_task(self, waiter: _Waiter, hold: Hold) -> None:
        """Wait for the decision about a task, and run it; its client asks for the result when it likes."""
        call, request_id = waiter.call, waiter.standing.request_id
        call.abort = _abort_of(waiter)
        self._live.add(call)
        try:
            while waiter.standing.state == "held" and not call.cut and call.identity.expires_at > time.time():
                left = min(waiter.standing.expires_at, call.identity.expires_at) - time.time()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter.woken.wait(), max(0.0, left))
                waiter.woken.clear()
                if waiter.standing.expires_at <= time.time() and waiter.standing.state == "held":
                    waiter.standing = _expired(waiter.standing)
            while waiter.standing.needs_poller and time.monotonic() - waiter.polled_at > _POLLED_SECONDS:
                if waiter.standing.usable_until <= time.time() or call.cut:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter.woken.wait(), _POLLED_SECONDS)
                waiter.woken.clear()
            if call.identity.expires_at <= time.time():
                # Whoever asks for the task next, with a token that is good, runs it.
                return
            resolved = await self._settled(waiter, hold, Nobody())
            if resolved is not None:
                await self._carry_out(call, resolved.verdict, resolved.reply)
        except (RecordUnavailable, ClientGone):
            logger.warning("a task could not be run; it stays as it is until it is asked for")
        finally:
            self._live.discard(call)
            self._forget(waiter, request_id)

    def _forget(self, waiter: _Waiter, request_id: UUID) -> None:
        waiters = self._waiting.get(request_id)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[request_id]

    # What clients ask about held calls.

    async def serve(self, call: Call, reply: ReplyPort) -> bool:
        """Answer what is about a held call; False when `call` is not, and goes its way.

        Raises:
            RecordUnavailable: the answer cannot be recorded.
        """
        if isinstance(call.message, mcp.Notification):
            return await self._cancelled(call, reply)
        if not isinstance(call.message, mcp.Request) or not (call.message.task_id or "").startswith(held_tasks.PREFIX):
            return False
        task_id = call.message.task_id or ""
        code = self._task_ids.code_of(task_id, call.identity, call.route)
        body = jsonrpc.error(call.message.id, jsonrpc.INVALID_PARAMS, "Unknown task")
        if code is not None:
            try:
                body = await self._asked(call, call.message, code, task_id)
            except Unreachable:
                _, body = errors.failed(call, "record_unavailable")
        masked = call.policy.masker.mask(body, call.keep | {task_id})
        await self._recorder.answered(call, masked)
        await reply.whole(200, errors.JSON, masked.value, [])
        return True

    async def _asked(self, call: Call, message: mcp.Request, code: str, task_id: str) -> bytes:
        match call.method:
            case "tasks/cancel":
                await self._store.withdraw(code, call)
                return jsonrpc.result(message.id, {"resultType": "complete"})
            case "tasks/get":
                state, what = await self._store.task(code)
                if state is None:
                    return jsonrpc.error(message.id, jsonrpc.INVALID_PARAMS, "Unknown task")
                for waiter in self._waiting.get(state.standing.request_id, ()):
                    waiter.polled_at = time.monotonic()
                    waiter.wake()
                is_left = state.standing.state == "approved" and not state.has_begun
                if is_left and state.standing.request_id not in self._waiting:
                    await self._take_up(call, message, state.standing)
                return held_tasks.answer(call, task_id, state, what, call.route.name)
            case _:
                return jsonrpc.error(message.id, jsonrpc.INVALID_PARAMS, "This task asks for nothing.")

    async def _take_up(self, call: Call, message: mcp.Request, standing: Standing) -> None:
        """Run a task that was approved and that nobody looks after: its process is gone, or its token had expired."""
        kept = await self._store.kept(standing.request_id)
        if kept is None:
            return
        session, body = kept
        tree: Any = json_strict.loads(body, json_strict.Limits(bytes=len(body)))
        params = tree["params"]
        name = params["name"]
        asked = mcp.Request(
            tree["id"], tree["method"], params, message.era, message.version, name, "tool", params.get("_meta") or {}
        )
        changed = {b"mcp-method": tree["method"].encode(), b"mcp-name": name.encode()}
        held = replace(
            call,
            call_id=os.urandom(16),
            message=asked,
            method=asked.method,
            name=name,
            kind="tool",
            outbound=body,
            headers=[(key, changed.get(key, value)) for key, value in call.headers],
            ref=replace(call.ref, session=session),
        )
        waiter = _Waiter(held, standing)
        self._waiting.setdefault(standing.request_id, set()).add(waiter)
        self._spawn(self._run_task(waiter, Hold(standing.rule, "approved before")))

    async def _cancelled(self, call: Call, reply: ReplyPort) -> bool:
        """A legacy client takes a request back: of a held one, the upstream knows nothing."""
        asked = getattr(call.message, "params", {}).get("requestId")
        session = call.ref.session
        for waiters in list(self._waiting.values()):
            for waiter in waiters:
                held = waiter.call
                if held.ref.session == session and type(held.request_id) is type(asked) and held.request_id == asked:
                    waiter.is_withdrawn = True
                    waiter.wake()
                    await reply.whole(202, b"", b"", [])
                    return True
        return False

    async def _patience(self, call: Call) -> float | None:
        if call.patience is not None:
            return call.patience
        with contextlib.suppress(Unreachable):
            return await self._store.patience(call)
        return None

    async def _left(self, call: Call, held_seconds: float) -> None:
        """Learn from a client that gave up; nothing depends on it."""
        with contextlib.suppress(Unreachable):
            await self._store.gave_up(call, held_seconds)

    async def release(self, call: Call) -> None:
        """Give back the claim of a call whose intent was not written."""
        claim, call.claim = call.claim, None
        if claim is not None:
            with contextlib.suppress(Unreachable):
                await self._store.release(UUID(bytes=claim))

    def _binding(self, call: Call) -> bytes:
        """Return what an approval of this call is bound to, by what is true now.

        Raises:
            NotCanonical: its arguments have no canonical form.
        """
        route = self._policy.latest.routes.get(call.route.slug, call.route)
        return bound_of(call, route.policy or call.policy, route)

    async def _wait(self, waiter: _Waiter, hold: Hold, vehicle: Vehicle, reply: ReplyPort) -> Resolved | None:
        call = waiter.call
        # With an expired token nothing runs; the client logs in again and joins the same request.
        longest = min(vehicle.budget_seconds, call.identity.expires_at - time.time())
        deadline = time.monotonic() + longest
        call.abort = _abort_of(waiter)

        def gone() -> None:
            waiter.is_gone = True
            waiter.wake()

        steps, way = 0, reply
        if vehicle.kind != "plain" and waiter.standing.state == "held":
            await reply.open_stream([])
            way = HeldReply(reply, call)
            if not call.has_era_modern:
                await reply.write(sse.KEEP_ALIVE)
        reply.watch(gone)
        while True:
            if waiter.is_gone:
                raise ClientGone
            standing = waiter.standing
            if waiter.is_withdrawn:
                await self._withdrawn(waiter, way)
                return None
            if call.cut:
                return Resolved(Deny(call.cut, "the caller lost access while the call was held"), way)
            if standing.state == "approved" or not standing.is_open:
                return await self._settled(waiter, hold, way)
            left = min(deadline, time.monotonic() + standing.expires_at - time.time()) - time.monotonic()
            if left <= 0:
                if standing.expires_at <= time.time():
                    waiter.standing = _expired(standing)
                    continue
                await self._pending(waiter, way)
                return None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiter.woken.wait(), min(left, KEEP_ALIVE_SECONDS))
            if waiter.woken.is_set():
                waiter.woken.clear()
            elif way is not reply:
                steps += 1
                await reply.write(_progress(call, waiter.standing, steps))

    async def _settled(self, waiter: _Waiter, hold: Hold, way: ReplyPort) -> Resolved | None:
        """Run an approved call, or tell what became of it."""
        call, standing = waiter.call, waiter.standing
        if standing.state != "approved":
            await self._tell(call, standing, way)
            return None
        refusal = self._why_not_now(call, hold)
        if refusal is not None:
            return Resolved(refusal, way)
        try:
            claim = await self._store.claim(standing.request_id, self._binding(call), call.call_id)
        except (Unreachable, binding.NotCanonical):
            raise RecordUnavailable(maybe_recorded=False) from None
        if claim is None:
            await self._tell(call, await self._store.look(standing), way, is_lost=True)
            return None
        # Between the look and the claim everything may have moved once more.
        refusal = self._why_not_now(call, hold)
        if refusal is not None or waiter.is_gone:
            await self._store.release(claim.use_id)
            if refusal is None:
                raise ClientGone
            return Resolved(refusal, way)
        _take_over(call, claim)
        self._recorder.decided(call, standing)
        return Resolved(Allow(hold.rule, f"approved: {standing.code}", hold.attributes), way)

    def _why_not_now(self, call: Call, hold: Hold) -> Deny | None:
        """Look at identity, locks and policy again, at this very moment."""
        snapshot, now = self._policy.current, time.time()
        if snapshot is None:
            return Deny("policy_unavailable", "the gateway cannot read its policy")
        if call.identity.expires_at <= now:
            return Deny("token_expired", "the access token expired while the call was held; log in and call again")
        why = call.cut or why_over(call, snapshot, now)
        if why:
            return Deny(why, "the caller lost access while the call was held")
        route = snapshot.routes[call.route.slug]
        if route.policy is None or route.refusal is not None:
            return Deny("connection_unusable", "this connection is not configured correctly")
        verdict = rules.decision(route.policy, call.identity, call.asked, call.facts(now)).verdict
        if isinstance(verdict, Deny):
            return verdict
        call.route, call.policy = route, route.policy
        return refusal(call)

    async def _withdrawn(self, waiter: _Waiter, way: ReplyPort) -> None:
        """The client takes its call back, and expects no answer to it; the last one that waits ends the request."""
        call, standing = waiter.call, waiter.standing
        if len(self._waiting.get(standing.request_id, ())) <= 1:
            with contextlib.suppress(Unreachable):
                await self._store.withdraw(standing.code, call)
        await self._recorder.denied(call, Hold(standing.rule, f"cancelled: {standing.code}"))
        if way.is_streaming:
            await way.close()
        else:
            await way.whole(202, b"", b"", [])

    async def _pending(self, waiter: _Waiter, way: ReplyPort) -> None:
        """The client can wait no longer; the request lives on."""
        call, standing = waiter.call, waiter.standing
        text = held_texts.final(standing, call.name or call.method, call.route.name)
        await self._answer(call, standing, text, way, may_repeat=True)

    async def _tell(self, call: Call, standing: Standing, way: ReplyPort, *, is_lost: bool = False) -> None:
        has_run = is_lost and standing.state in {"approved", "used"}
        text = held_texts.final(standing, call.name or call.method, call.route.name, has_run=has_run)
        await self._answer(call, standing, text, way, may_repeat=standing.state in {"expired", "cancelled"})

    async def _answer(self, call: Call, standing: Standing, text: str, way: ReplyPort, *, may_repeat: bool) -> None:
        assert isinstance(call.message, mcp.Request)  # noqa: S101 - `resolve` has looked
        if standing.state != "held":
            self._recorder.decided(call, standing)
        await self._recorder.denied(call, Hold(standing.rule, f"{standing.state}: {standing.code}"))
        meta = {
            errors.META: {"rule": standing.rule, "event": call.call_id.hex()},
            held_texts.KEY: held_texts.data(standing, may_repeat=may_repeat),
        }
        await way.whole(200, errors.JSON, mcp.denied_call(call.message, text, meta=meta), [])

    # Decisions.

    def ring(self, request_id: str) -> None:
        """A request has moved: look at it now, if anybody waits for it here."""
        try:
            moved = UUID(request_id)
        except ValueError:
            return
        if moved in self._waiting:
            self._rung.add(moved)
            self._bell.set()

    async def keep_watch(self) -> None:
        """Bring decisions to those who wait, for as long as the task lives."""
        seen_at = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), self._poll_seconds)
            self._bell.clear()
            rung, self._rung = self._rung, set()
            try:
                if self._waiting:
                    self._bring(await self._store.moved(rung, frozenset(self._waiting)))
                if time.monotonic() - seen_at > _SEEN_SECONDS:
                    seen_at = time.monotonic()
                    await self._store.reconcile()
                    if self._waiting:
                        await self._store.waiting(frozenset(self._waiting))
            except Unreachable:
                self._rung |= rung
            except Exception:
                logger.exception("the decisions cannot be read; they are looked for again")

    def _bring(self, moved: Iterable[Standing]) -> None:
        for standing in moved:
            for waiter in self._waiting.get(standing.request_id, ()):
                if standing != waiter.standing:
                    waiter.standing = standing
                    waiter.wake()


def bound_of(call: Call, policy: rules.ConnectionPolicy, route: Any) -> bytes:
    """Return the digest that an approval of `call` is bound to.

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
        policy=binding.fingerprint(policy),
    )
    return binding.digest(bound, dict(call.facts(0.0).arguments or {}))


def _client(call: Call) -> Client:
    capabilities = mcp.client_capabilities(call.message) if isinstance(call.message, mcp.Request) else {}
    return Client(call.agent, call.client[0], call.has_era_modern, call.accepts_stream, capabilities)


def _abort_of(waiter: _Waiter) -> Callable[[Exception], None]:
    def abort(reason: Exception) -> None:
        waiter.wake()

    return abort


def _expired(standing: Standing) -> Standing:
    return replace(standing, state="expired")


def _progress(call: Call, standing: Standing, step: int) -> bytes:
    """Return a progress notification when the client has asked for progress, a comment otherwise."""
    message = call.message
    token = message.meta.get("progressToken") if isinstance(message, mcp.Request) else None
    if token is None:
        return sse.KEEP_ALIVE
    text = held_texts.waiting(standing)
    params = {"progressToken": token, "progress": step, "message": text}
    body = mcp.encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    return sse.encode(sse.ServerEvent(body, b"message"))


def _take_over(call: Call, claim: Claim) -> None:
    """Make what was approved what runs: the stored bytes, and the claim that their intent consumes."""
    call.claim, call.approval = claim.use_id.bytes, claim.code
    if call.outbound != claim.body:
        call.wire_id = mcp.id_of(claim.body)
        call.outbound = claim.body
