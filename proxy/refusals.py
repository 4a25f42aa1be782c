"""The answer to a request of the upstream that the client never sees: otherwise the upstream would wait for ever."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from policies.engine.masking import MaskFailed
from policies.engine.verdicts import Deny
from proxy.ports import Call, Ports, RecordUnavailable, State, UpstreamFailed
from proxy.protocol import jsonrpc

_ANSWER_BYTES = 64 * 1024
_VERDICT = Deny("connection", "the connection does not allow this request of the upstream")


def refuse_upstream_request(call: Call, request_id: jsonrpc.RequestId, ports: Ports) -> None:
    """Tell the upstream, in the background, that its request `request_id` is refused.

    The refusal is a message to the upstream like any other: it has an intent and an outcome of its own.
    """
    body = jsonrpc.error(request_id, jsonrpc.METHOD_NOT_FOUND, "Refused by the gateway")
    headers = [pair for pair in call.headers if pair[0] not in {b"last-event-id", b"content-type"}]
    refusal = replace(
        call,
        call_id=os.urandom(16),
        message=None,
        verb=b"POST",
        method="gateway/refusal",
        name=None,
        kind=None,
        outbound=body,
        headers=[*headers, (b"content-type", b"application/json")],
        received_us=time.time_ns() // 1000,
        sent_us=0,
        answered_us=0,
        messages=0,
        bytes_out=0,
        hits={},
        has_resumable_stream=False,
        is_concluded=False,
    )
    ports.spawn(_send(refusal, ports))


async def _send(refusal: Call, ports: Ports) -> None:
    try:
        await ports.recorder.intent(refusal, _VERDICT)
    except (RecordUnavailable, MaskFailed):
        return
    try:
        answer = await ports.upstream.send(refusal, lambda abort: None)
        try:
            await answer.whole(_ANSWER_BYTES)
        finally:
            answer.close()
    except UpstreamFailed as error:
        state = State.OUTCOME_UNKNOWN if error.was_sent else State.NOT_SENT
        ports.recorder.settle(refusal, state, error.reason)
    else:
        await ports.recorder.outcome(refusal, State.COMPLETED, status=answer.status)
