"""What the client of a held call is told; each answer is recorded before it leaves."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from policies.engine.masking import Masked
from policies.engine.verdicts import Deny, Hold
from proxy import errors, held_tasks, held_texts
from proxy.held import Standing
from proxy.held_tasks import TaskState
from proxy.ports import Call, ReplyPort
from proxy.protocol import jsonrpc, mcp, sse


class HeldRecorder(Protocol):
    """What is recorded of held calls."""

    def held(self, call: Call, hold: Hold, standing: Standing, vehicle: str) -> Awaitable[None]:
        """Record that the call waits; raises RecordUnavailable."""

    def answered(self, call: Call, masked: Masked) -> Awaitable[None]:
        """Record what the gateway itself answers; raises RecordUnavailable."""

    def frame(self, call: Call, masked: Masked, *, kind: str) -> Awaitable[None]:
        """Record a message that is about to go to the client; raises RecordUnavailable."""

    def decided(self, call: Call, standing: Standing) -> None:
        """Record what became of the request; nobody waits."""

    def noted(self, call: Call, standing: Standing, what: str, reason: str) -> None:
        """Record what the client of a held call did; nobody waits."""

    def denied(self, call: Call, verdict: Deny | Hold) -> Awaitable[None]:
        """Record that the call does not run; raises RecordUnavailable."""


class HeldAnswers:
    """Tells clients what became of their held calls.

    Every method raises RecordUnavailable when the answer cannot be recorded.
    """

    def __init__(self, recorder: HeldRecorder) -> None:
        self._recorder = recorder

    async def pending(self, call: Call, standing: Standing, way: ReplyPort) -> None:
        """The client can wait no longer; the request lives on."""
        text = held_texts.final(standing, call.name or call.method, call.route.name)
        await self._deny(call, standing, text, way, may_repeat=True)

    async def ended(self, call: Call, standing: Standing, way: ReplyPort) -> None:
        """The request has ended, and the call did not run."""
        text = held_texts.final(standing, call.name or call.method, call.route.name)
        await self._deny(call, standing, text, way, may_repeat=standing.state in {"expired", "cancelled"})

    async def changed(self, call: Call, standing: Standing, way: ReplyPort) -> None:
        """The approval is good for another call than this one has become."""
        text = held_texts.changed(standing, call.name or call.method)
        await self._deny(call, standing, text, way, may_repeat=True)

    async def unknown(self, call: Call, standing: Standing, way: ReplyPort) -> None:
        """The call was sent, and what it was answered is not known here."""
        await self._deny(call, standing, held_texts.unknown(standing), way, may_repeat=False)

    async def _deny(self, call: Call, standing: Standing, text: str, way: ReplyPort, *, may_repeat: bool) -> None:
        if standing.state != "held":
            self._recorder.decided(call, standing)
        await self._recorder.denied(call, Hold(standing.rule, f"{standing.state}: {standing.code}"))
        meta = {
            errors.META: {"rule": standing.rule, "event": call.call_id.hex()},
            held_texts.KEY: held_texts.data(standing, may_repeat=may_repeat),
        }
        await way.whole(200, errors.JSON, mcp.denied_call(_request(call), text, meta=meta), [])

    async def same(self, call: Call, state: TaskState, way: ReplyPort) -> None:
        """The call ran, here or elsewhere: its client gets the recorded answer, under the id of its own message."""
        if state.message is not None:
            body = mcp.with_id(state.message, call.request_id)
        else:
            body = jsonrpc.result(_request(call).id, held_tasks.outcome(state))
        masked = call.policy.masker.mask(body, call.keep)
        await self._recorder.answered(call, masked)
        await way.whole(200, errors.JSON, masked.value, [])

    async def withdrawn(self, call: Call, standing: Standing, way: ReplyPort) -> None:
        """The client took its call back, and expects no answer."""
        await self._recorder.denied(call, Hold(standing.rule, f"cancelled: {standing.code}"))
        if way.is_streaming:
            await way.close()
        else:
            await way.whole(202, b"", b"", [])

    async def task(self, call: Call, standing: Standing, task_id: str, now: float, reply: ReplyPort) -> None:
        """The client gets a task, and asks for it when it likes."""
        masked = call.policy.masker.mask(held_tasks.created(call, standing, task_id, now), call.keep)
        await self._recorder.frame(call, masked, kind="result")
        await reply.whole(200, errors.JSON, masked.value, [])

    async def come_again(self, call: Call, standing: Standing, state: str, way: ReplyPort) -> None:
        """The client sends the same call once more, with `state`: the next leg of its waiting."""
        body = jsonrpc.result(_request(call).id, {"resultType": "input_required", "requestState": state})
        masked = call.policy.masker.mask(body, call.keep | {state})
        await self._recorder.frame(call, masked, kind="result")
        await self._recorder.denied(call, Hold(standing.rule, f"comes again: {standing.code}"))
        await way.whole(200, errors.JSON, masked.value, [])

    async def send_to(self, call: Call, standing: Standing, asked: str, way: ReplyPort) -> None:
        """The client is sent to the page of the request, to follow it there."""
        params: dict[str, Any] = {
            "mode": "url",
            "elicitationId": asked,
            "url": standing.url,
            "message": held_texts.waiting(standing),
        }
        body = mcp.encode({"jsonrpc": "2.0", "id": asked, "method": "elicitation/create", "params": params})
        masked = call.policy.masker.mask(body, call.keep | {asked})
        await self._recorder.frame(call, masked, kind="request")
        await way.write(sse.encode(sse.ServerEvent(masked.value, b"message")))


def _request(call: Call) -> mcp.Request:
    assert isinstance(call.message, mcp.Request)  # noqa: S101 - only requests are held
    return call.message
