"""Held calls: the request for approval, the client that waits, and the one run that an approval is good for.

    open or join the request -> record that the call is held -> keep the client waiting -> look at everything again
    -> claim the run -> hand the approved bytes to the exchange, whose intent consumes the claim

`holding` keeps the calls waiting; here they begin, and here clients come back to them: for a task, for the answer on a
stream that broke, with the next leg of a call, with what they say to an address they were sent to, or to take a call
back. Whatever reaches another gateway process than the one that waits goes there through the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

from policies.engine import binding
from policies.engine.client_kinds import kind_of
from policies.engine.masking import Masked
from policies.engine.verdicts import Deny, Effect, Hold
from proxy import errors, held_tasks
from proxy.held import CannotAsk, Standing, Unreachable
from proxy.held_reply import HeldReply
from proxy.held_seal import STREAM, LegRef, NotOurs, StreamRef
from proxy.holding import URL_ID, Holding, Means, expired
from proxy.ports import Call, ClientGone, RecordUnavailable, ReplyPort, Resolved
from proxy.protocol import json_strict, jsonrpc, mcp
from proxy.protocol.messages import Kind
from proxy.vehicles import Client, Vehicle, choose
from proxy.waiting import Waiter, message_key

logger = logging.getLogger(__name__)

_SEEN_SECONDS = 10.0
_LATE_SECONDS = 10.0
"""A change may become visible so much later than the time that is written in it, by clocks and long transactions."""
_JOINED_SECONDS = 1.0
"""A request that is older was opened by another call than the one that joins it."""
_MOST_OF_ONE = 1_000
"""So many calls wait for one request in one process: equal calls cost their caller nothing, and the gateway memory."""
_SLOW_SECONDS = 1.0
_LAST_EVENT_ID = b"last-event-id"
_STATE_REFUSED = "This requestState is not, or no longer, good for this call. Call again without it."


class HeldCalls(Holding):
    """Begins to hold calls, and answers what their clients come back with.

    Args:
        means: what keeps calls waiting.
        poll_seconds: how often decisions are looked for without a bell.
    """

    def __init__(self, means: Means, *, poll_seconds: float) -> None:
        super().__init__(means)
        self._poll_seconds = poll_seconds
        self._rung: set[UUID] = set()
        self._bell = asyncio.Event()
        self._name = os.urandom(8).hex()

    def __len__(self) -> int:
        """How many calls wait in this process."""
        return len(self.waiting)

    # The exchange.

    async def resolve(self, hold: Hold, call: Call, reply: ReplyPort) -> Resolved | None:
        """Keep the client of a held call waiting until it may run; None when it has its answer, or comes back for it.

        Raises:
            ClientGone: the client has left, and its call ends with that.
            RecordUnavailable: it cannot be recorded that the call waits.
        """
        if call.kind is None or not isinstance(call.message, mcp.Request):
            return Resolved(Deny(hold.rule, "this kind of message cannot wait for approval", hold.attributes), reply)
        vehicle = await self._vehicle(call)
        began = time.monotonic()
        try:
            bound = self.bound(call)
            leg = await self._begun_leg(call, bound)
            standing = await self._standing(call, hold, bound, leg, vehicle)
        except CannotAsk as error:
            return Resolved(Deny(hold.rule, error.text, (error.code,)), reply)
        except binding.NotCanonical:
            return Resolved(Deny(hold.rule, "its arguments cannot be shown to an approver", hold.attributes), reply)
        except Unreachable:
            raise RecordUnavailable(maybe_recorded=False) from None
        await self.means.recorder.held(call, hold, standing, vehicle.kind)
        waiter = Waiter(call, standing, bound, began=began)
        if standing.is_open:
            await self._replace_alone(standing)
        if vehicle.kind == "task" and standing.is_open:
            await self._give_task(waiter, hold, reply)
            return None
        return await self._kept(waiter, hold, vehicle, reply, leg)

    async def _kept(
        self, waiter: Waiter, hold: Hold, vehicle: Vehicle, reply: ReplyPort, leg: LegRef | None
    ) -> Resolved | None:
        call = waiter.call
        self.waiting.add(waiter)
        if time.monotonic() - waiter.began > _SLOW_SECONDS:
            # A decision that came after the request was read, and before anybody waited for it here, rang for nobody.
            self._rung.add(waiter.standing.request_id)
            self._bell.set()
        self.means.slots.pause(call)
        try:
            return await self.wait(waiter, hold, vehicle, reply, leg=leg)
        except ClientGone:
            if waiter.survives and not waiter.is_replaced and self.leave_alone(waiter, hold):
                return None
            with contextlib.suppress(Unreachable):
                await self.means.store.gave_up(call, time.monotonic() - waiter.began)
            raise
        finally:
            self.means.slots.resume(call)
            if not waiter.is_alone:
                self.waiting.discard(waiter)

    async def _vehicle(self, call: Call) -> Vehicle:
        """Choose how the client is kept, and for how long: by what it says, what was learned of it, or its kind."""
        client = _client(call)
        known = call.patience
        if known is None:
            with contextlib.suppress(Unreachable):
                known = await self.means.store.patience(call, kind_of(client.agent, client.name))
        return choose(client, known)

    async def _standing(self, call: Call, hold: Hold, bound: bytes, leg: LegRef | None, vehicle: Vehicle) -> Standing:
        """Return where the request of the call stands: the one it came back to, runs under already, or opens or joins.

        Raises:
            CannotAsk: there are too many, or the call cannot be kept, or it came back to nothing.
            Unreachable: the database cannot be used.
        """
        if leg is not None:
            found = await self.means.store.find(leg.request)
            if found is None:
                raise CannotAsk("state_refused", _STATE_REFUSED)
            return found
        under_way = await self.means.store.under_way(bound)
        standing = under_way or await self.means.store.open(call, hold, bound, vehicle.kind)
        if len(self.waiting.of(standing.request_id)) >= _MOST_OF_ONE:
            raise CannotAsk("too_many_waiting", "As many equal calls wait already as may wait. Wait for their answer.")
        return standing

    async def _begun_leg(self, call: Call, bound: bytes) -> LegRef | None:
        """Begin the leg with which the client comes back, once; None when it comes for the first time.

        Raises:
            CannotAsk: what it comes back with was not given to it for this call, has been used, or is too old.
            Unreachable: the database cannot be used.
        """
        if not call.continues:
            return None
        try:
            leg = self.means.seal.open_state(call.continues, call.identity, call.route)
        except NotOurs:
            raise CannotAsk("state_refused", _STATE_REFUSED) from None
        is_good = leg.bound == bound and leg.expires_at > time.time()
        if not is_good or not await self.means.store.begin_leg(leg.legs, leg.leg):
            raise CannotAsk("state_refused", _STATE_REFUSED)
        return leg

    async def _replace_alone(self, standing: Standing) -> None:
        """Whoever sends the same call again waits in the place of those whose client was lost: one of them runs."""
        self._repeated(standing.request_id)
        if time.time() - standing.opened_at > _JOINED_SECONDS:
            await self._knock(f"repeated {standing.request_id} {self._name}")

    def _repeated(self, request_id: UUID) -> None:
        for waiter in self.waiting.of(request_id):
            if waiter.is_alone:
                waiter.is_replaced = waiter.is_repeated = True
                waiter.wake()

    async def _give_task(self, waiter: Waiter, hold: Hold, reply: ReplyPort) -> None:
        """Answer with a task, and wait on without the client."""
        call, standing = waiter.call, waiter.standing
        task_id = self.means.task_ids.make(standing.code, call.identity, call.route)
        # The call of the request ends with its answer; what waits on is looked after by itself.
        waiter.call = replace(call)
        self.waiting.add(waiter)
        try:
            await self.answers.task(call, standing, task_id, time.time(), reply)
        finally:
            self.means.spawn(self.look_after(waiter, hold))

    async def release(self, call: Call) -> None:
        """Give back the claim of a call whose intent was not written."""
        claim, call.claim = call.claim, None
        if claim is not None:
            with contextlib.suppress(Unreachable):
                await self.means.store.release(UUID(bytes=claim))

    # What clients come back with.

    async def serve(self, call: Call, reply: ReplyPort) -> bool:
        """Answer what is about a held call; False when `call` is not, and goes its way.

        Raises:
            ClientGone: the client has left again.
            RecordUnavailable: the answer cannot be recorded.
        """
        match call.message:
            case None:
                return await self._resumed(call, reply)
            case mcp.Notification():
                return await self._cancelled(call, reply)
            case mcp.Response(id=str(asked)) if asked.startswith(URL_ID):
                await self._url_answered(call, asked, reply)
                return True
            case mcp.Request(task_id=str(task_id)) if task_id.startswith(held_tasks.PREFIX):
                await self._task_asked(call, call.message, task_id, reply)
                return True
            case _:
                return False

    async def _task_asked(self, call: Call, message: mcp.Request, task_id: str, reply: ReplyPort) -> None:
        code = self.means.task_ids.code_of(task_id, call.identity, call.route)
        body = jsonrpc.error(message.id, jsonrpc.INVALID_PARAMS, "Unknown task")
        if code is not None:
            try:
                body = await self._about_task(call, message, code, task_id)
            except Unreachable:
                _, body = errors.failed(call, "record_unavailable")
        masked = call.policy.masker.mask(body, call.keep | {task_id})
        await self.means.recorder.answered(call, masked)
        await reply.whole(200, errors.JSON, masked.value, [])

    async def _about_task(self, call: Call, message: mcp.Request, code: str, task_id: str) -> bytes:
        match call.method:
            case "tasks/cancel":
                # The state of the request moves, and its bell reaches whoever waits for it, wherever that is.
                await self.means.store.withdraw(code, call)
                return jsonrpc.result(message.id, {"resultType": "complete"})
            case "tasks/get":
                state, what = await self.means.store.task(code)
                if state is None:
                    return jsonrpc.error(message.id, jsonrpc.INVALID_PARAMS, "Unknown task")
                if state.standing.state == "held" and state.standing.expires_at <= time.time():
                    # Nobody has written it down yet.
                    state = replace(state, standing=expired(state.standing))
                for waiter in self.waiting.of(state.standing.request_id):
                    waiter.polled_at = time.monotonic()
                    waiter.wake()
                is_left = state.standing.state == "approved" and not state.has_begun
                if is_left and state.standing.request_id not in self.waiting:
                    await self._take_over(call, message, state.standing)
                return held_tasks.answer(call, task_id, state, what, call.route.name)
            case _:
                return jsonrpc.error(message.id, jsonrpc.INVALID_PARAMS, "This task asks for nothing.")

    async def _take_over(self, call: Call, message: mcp.Request, standing: Standing) -> None:
        """Run a task that was approved and that nobody looks after: its process is gone, or its token had expired."""
        kept = await self.means.store.kept(standing.request_id)
        if kept is None:
            return
        session, body = kept
        held = _rebuilt(call, body, session, message.era, message.version)
        waiter = Waiter(held, standing, b"")
        self.waiting.add(waiter)
        self.means.spawn(self.look_after(waiter, Hold(standing.rule, "approved before")))

    async def _resumed(self, call: Call, reply: ReplyPort) -> bool:
        """A legacy client comes back to the stream on which its call waited, here or on another gateway process."""
        event_id = dict(call.headers).get(_LAST_EVENT_ID, b"").decode("latin-1")
        if call.verb != b"GET" or not event_id.startswith(STREAM):
            return False
        standing = None
        try:
            ref = self.means.seal.open_stream(event_id, call.identity, call.route)
            if not call.ref.upstream_id or ref.session == call.ref.session:
                standing = await self.means.store.find(ref.request)
        except NotOurs:
            standing = None
        except Unreachable:
            raise RecordUnavailable(maybe_recorded=False) from None
        try:
            waiter = None if standing is None else await self._back(call, ref, standing)
            if waiter is not None and await self.means.store.has_run(ref.call):
                # What ran for this call once does not run for it again, however often it was approved.
                waiter.standing = replace(waiter.standing, state="used")
        except Unreachable:
            raise RecordUnavailable(maybe_recorded=False) from None
        if waiter is None:
            body = jsonrpc.error(None, jsonrpc.INVALID_PARAMS, "Unknown Last-Event-ID")
            await self.means.recorder.answered(call, Masked(body, {}))
            await reply.whole(404, errors.JSON, body, [])
            return True
        await self._go_on(call, waiter, reply)
        return True

    async def _back(self, call: Call, ref: StreamRef, standing: Standing) -> Waiter | None:
        """Return who waits now in the place of whoever waited before; None when what was held cannot be opened."""
        before = next((one for one in self.waiting.of(ref.request) if one.call.call_id == ref.call), None)
        if before is not None:
            before.is_replaced = True
            before.wake()
            held = replace(before.call, identity=call.identity, abort=None, cut="")
            waiter = Waiter(
                held, standing, before.bound, is_back=True, origin=ref.call, answer=before.answer, began=before.began
            )
            if before.asked:
                self.waiting.ask(waiter, before.asked)
            return waiter
        kept = await self.means.store.kept(ref.request)
        if kept is None:
            return None
        held = _rebuilt(call, kept[1], ref.session, mcp.Era.LEGACY, call.ref.version, ref.message)
        return Waiter(held, standing, b"", is_back=True, origin=ref.call)

    async def _go_on(self, call: Call, waiter: Waiter, reply: ReplyPort) -> None:
        """Keep a client that came back waiting, and run its call when it is approved."""
        hold = Hold(waiter.standing.rule, "approved before")
        held = waiter.call
        self.means.recorder.noted(held, waiter.standing, "returned", "last_event_id")
        vehicle = await self._vehicle(held)
        self.waiting.add(waiter)
        self.means.live.add(held)
        try:
            self.means.slots.pause(call)
            try:
                resolved = await self.wait(waiter, hold, vehicle, reply)
            except ClientGone:
                if not self.leave_alone(waiter, hold):
                    raise
                return
            finally:
                self.means.slots.resume(call)
            if resolved is not None:
                await self.means.carry_out(held, resolved.verdict, resolved.reply)
        except RecordUnavailable:
            if not reply.is_streaming:
                raise
            _, body = errors.failed(held, "record_unavailable")
            await HeldReply(reply, held).whole(200, errors.JSON, body, [])
        finally:
            self.means.live.discard(held)
            if not waiter.is_alone:
                self.waiting.discard(waiter)

    async def _cancelled(self, call: Call, reply: ReplyPort) -> bool:
        """A legacy client takes a request back: of a held one, the upstream knows nothing."""
        asked = getattr(call.message, "params", {}).get("requestId")
        if not isinstance(asked, str | int):
            return False
        key = message_key(call.ref.session, asked)
        waiter = self.waiting.by_message(key)
        if waiter is None:
            if any(rule.effect is Effect.HOLD for rule in call.policy.rules):
                await self._knock(f"cancelled {key.hex()}")
            return False
        waiter.is_withdrawn = True
        waiter.wake()
        await reply.whole(202, b"", b"", [])
        return True

    async def _url_answered(self, call: Call, asked: str, reply: ReplyPort) -> None:
        """A client says what became of the address that it was sent to; the upstream never hears of it."""
        body: Any = json_strict.loads(call.outbound, json_strict.Limits(bytes=len(call.outbound)))
        found = body.get("result")
        action = found.get("action") if isinstance(found, dict) else None
        said = action if action in {"accept", "decline"} else "cancel"
        await self.means.recorder.answered(call, Masked(b"", {}))
        session = message_key(call.ref.session, None).hex()
        if not self._note_answer(asked, said, session):
            await self._knock(f"answered {asked} {said} {session}")
        await reply.whole(202, b"", b"", [])

    def _note_answer(self, asked: str, said: str, session: str) -> bool:
        waiter = self.waiting.by_question(asked)
        if waiter is None or message_key(waiter.call.ref.session, None).hex() != session:
            return False
        waiter.answer = said
        self.means.recorder.noted(waiter.call, waiter.standing, "answered", said)
        waiter.wake()
        return True

    # News.

    def ring(self, request_id: str) -> None:
        """A request has moved: look at it now, if anybody waits for it here."""
        try:
            moved = UUID(request_id)
        except ValueError:
            return
        if moved in self.waiting:
            self._rung.add(moved)
            self._bell.set()

    async def _knock(self, text: str) -> None:
        """Tell all gateway processes what concerns a call that waits in one of them."""
        with contextlib.suppress(Unreachable):
            await self.means.store.knock(text)

    def knocked(self, text: str) -> None:
        """Another gateway process was told something that may concern a call which waits here."""
        match text.split(" "):
            case ["cancelled", key]:
                waiter = self.waiting.by_message(bytes.fromhex(key))
                if waiter is not None:
                    waiter.is_withdrawn = True
                    waiter.wake()
            case ["answered", asked, said, session]:
                self._note_answer(asked, said, session)
            case ["repeated", request_id, name] if name != self._name:
                self._repeated(UUID(request_id))

    async def keep_watch(self) -> None:
        """Bring decisions to those who wait, for as long as the task lives."""
        since = time.time()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), self._poll_seconds)
            self._bell.clear()
            rung, self._rung = self._rung, set()
            try:
                now = time.time()
                if self.waiting:
                    self.bring(await self.means.store.moved(rung, self.waiting.requests, since - _LATE_SECONDS))
                since = now
            except Unreachable:
                self._rung |= rung
            except Exception:
                logger.exception("the decisions cannot be read; they are looked for again")

    async def keep_tidy(self) -> None:
        """Give back the claims of dead processes and note who waits, for as long as the task lives.

        Beside `keep_watch`: of thousands that wait, noting takes a while, and no decision may wait for that.
        """
        while True:
            try:
                await self.means.store.reconcile()
                if self.waiting:
                    await self.means.store.note_waiting(self.waiting.attended)
            except Unreachable:
                logger.warning("it cannot be noted who waits")
            except Exception:
                logger.exception("it cannot be noted who waits")
            await asyncio.sleep(_SEEN_SECONDS)


def _rebuilt(
    call: Call, body: bytes, session: bytes, era: mcp.Era, version: str, message_id: str | int | None = None
) -> Call:
    """Return the held call whose bytes are `body` as a call of whoever comes for it now, under `message_id`."""
    tree: Any = json_strict.loads(body, json_strict.Limits(bytes=len(body)))
    method, params = tree["method"], tree["params"]
    name, kind = params.get("name") or params.get("uri"), _KINDS[method]
    sent = tree["id"] if message_id is None else message_id
    asked = mcp.Request(sent, method, params, era, version, name, kind, params.get("_meta") or {})
    changed = {b"mcp-method": method.encode(), b"mcp-name": name.encode()}
    headers = [(key, changed.get(key, value)) for key, value in call.headers if key not in _OF_ONE_REQUEST]
    return replace(
        call,
        call_id=os.urandom(16),
        message=asked,
        verb=b"POST",
        method=method,
        name=name,
        kind=kind,
        outbound=body,
        headers=[*headers, (b"accept", b"application/json, text/event-stream"), (b"content-type", errors.JSON)],
        ref=replace(call.ref, session=session),
        abort=None,
    )


_OF_ONE_REQUEST = frozenset({_LAST_EVENT_ID, b"accept", b"content-type"})
_KINDS: dict[str, Kind] = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}


def _client(call: Call) -> Client:
    capabilities = mcp.client_capabilities(call.message) if isinstance(call.message, mcp.Request) else {}
    return Client(
        agent=call.agent,
        name=call.program[0],
        is_modern=call.has_era_modern,
        accepts_stream=call.accepts_stream,
        capabilities=capabilities,
        method=call.method,
        opens_urls=call.ref.opens_urls,
    )
