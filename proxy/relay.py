"""What becomes of one message from the upstream: passed on masked, or withheld. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from policies.engine.masking import Masked
from policies.engine.rules import Kind, visible
from policies.engine.verdicts import Effect
from proxy.ports import Call
from proxy.protocol import jsonrpc, mcp
from proxy.protocol.methods import METHODS
from proxy.vehicles import TASKS

_LISTED: dict[str, Kind] = {
    "tools/list": "tool",
    "prompts/list": "prompt",
    "resources/list": "resource",
    "resources/templates/list": "resource",
}


class Passed(NamedTuple):
    """The message goes to the client as `masked.value`; `is_final` when it answers the call."""

    masked: Masked
    kind: jsonrpc.Kind
    id: jsonrpc.RequestId | None
    is_final: bool
    dropped: int = 0


class Withheld(NamedTuple):
    """The message stays here. `refuse_id` is the upstream's request that gets a refusal in its place."""

    reason: str
    refuse_id: jsonrpc.RequestId | None = None


class InputRefused(Exception):
    """The upstream's answer asks for input that the connection does not allow."""


def judge(call: Call, data: bytes, *, now: float) -> Passed | Withheld:
    """Decide on one message of the upstream that came in answer to `call`.

    Raises:
        AnswerInvalid: it is not one valid JSON-RPC message.
        MaskFailed: it cannot be masked.
        InputRefused: it answers the call, and asks for what the connection does not allow.
    """
    message = jsonrpc.read_answer(data)
    if message.kind == "request":
        refused = _refused_request(call, message)
        if refused is not None:
            return refused
    elif message.kind == "notification":
        if message.method not in METHODS[call.ref.version].server_notifications:
            return Withheld("notification_unknown")
    elif call.verb == b"POST" and not _is_same_id(
        message.id, call.request_id if call.wire_id is None else call.wire_id
    ):
        return Withheld("answer_to_another_request")
    if call.wire_id is not None:
        if message.kind == "notification" and message.method == "notifications/progress":
            return Withheld("progress_of_another_request")
        if message.kind in {"result", "error"}:
            data = mcp.with_id(data, call.request_id)
    dropped = 0
    if message.kind == "result":
        data, dropped = _checked_result(call, data, now)
    masked = call.policy.masker.mask(data, call.keep)
    return Passed(masked, message.kind, message.id, message.kind in {"result", "error"}, dropped)


def _is_same_id(answer_id: jsonrpc.RequestId | None, request_id: jsonrpc.RequestId | None) -> bool:
    """Compare ids by value and type: 1 and "1" are two ids."""
    return type(answer_id) is type(request_id) and answer_id == request_id


def _refused_request(call: Call, message: jsonrpc.Answer) -> Withheld | None:
    """Return why a request of the upstream to the client is withheld, None when it may pass."""
    if message.method not in METHODS[call.ref.version].server_requests:
        return Withheld("request_unknown", message.id)
    capability = mcp.SERVER_REQUEST_CAPABILITY.get(message.method or "")
    if capability in call.route.forbidden_capabilities:
        return Withheld(f"{capability}_not_allowed", message.id)
    return None


def _checked_result(call: Call, data: bytes, now: float) -> tuple[bytes, int]:
    """Filter a list and refuse input requests that the connection does not allow."""
    method = mcp.list_method(data) if call.verb == b"GET" else call.method
    kind = _LISTED.get(method or "")
    if method is not None and kind is not None:
        return mcp.filter_list(data, method, _keeper(call, kind, now), era=call.ref.era)
    if call.method == "server/discover" and any(rule.effect is Effect.HOLD for rule in call.policy.rules):
        # A call that is held is given to the client as a task, so that it has to hear of tasks.
        return mcp.with_extension(data, TASKS), 0
    if call.has_era_modern:
        asked = {mcp.SERVER_REQUEST_CAPABILITY.get(method) for method in mcp.input_request_kinds(data)}
        if None in asked or asked & call.route.forbidden_capabilities:
            raise InputRefused
    return data, 0


def _keeper(call: Call, kind: Kind, now: float) -> Callable[[str], bool]:
    facts = call.facts(now)
    shown = call.shown if kind == "tool" else None
    if shown is not None:
        return lambda name: name in shown and visible(call.policy, call.identity, kind, name, now=now, facts=facts)
    return lambda name: visible(call.policy, call.identity, kind, name, now=now, facts=facts)
