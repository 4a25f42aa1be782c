"""The order of effects of one call, and nothing else.

    decide -> record the intent -> send -> for each message: judge, mask, record, pass on -> record the outcome

An intent is durable before the first byte leaves. An answer, and a request to the client, is durable before the client
gets it; a notification is at the database by then (ADR 0016). Whatever goes wrong after the intent ends in exactly one
outcome.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable

from accounts.revocations import CONNECTION_LOCKED
from policies.engine import explain, rules
from policies.engine.masking import MaskFailed
from policies.engine.verdicts import Allow, Deny, Hold, Verdict
from proxy import changes, errors, held_texts
from proxy.catalogue import UNKNOWN_TOOL, refusal
from proxy.held_reply import HeldReply
from proxy.ports import (
    Abort,
    Answer,
    Call,
    ClientGone,
    ClientStalled,
    Ports,
    RecordUnavailable,
    ReplyPort,
    Resolved,
    State,
    UpstreamFailed,
)
from proxy.protocol import headers as header_rules
from proxy.protocol import mcp, sse
from proxy.protocol.jsonrpc import AnswerInvalid
from proxy.refusals import refuse_upstream_request
from proxy.relay import InputRefused, Passed, judge
from proxy.session_refs import negotiated

EVENT_STREAM = b"text/event-stream"
_SESSION_ID = b"mcp-session-id"
_OF_HELD = frozenset(
    {"tasks/get", "tasks/cancel", "tasks/update", "notifications/cancelled", "response", "session/stream"}
)
"""What may be about a held call, and then never reaches the upstream."""
_NEVER_RELAYED = frozenset(
    {b"content-type", b"content-length", b"transfer-encoding", b"date", b"server", b"connection"}
)
"""What almost every answer carries and the client gets from us."""


async def run(call: Call, ports: Ports, reply: ReplyPort) -> None:
    """Take one call from the verdict to its outcome."""
    try:
        if call.method in _OF_HELD and await ports.approvals.serve(call, reply):
            return
        verdict = await _decided(call, ports)
    except RecordUnavailable:
        await _fail(call, "record_unavailable", reply)
        return
    if isinstance(verdict, Hold):
        resolved = await _resolved(verdict, call, ports, reply)
        if resolved is None:
            return
        verdict, reply = resolved.verdict, resolved.reply
        if call.cut and isinstance(verdict, Allow):
            await ports.approvals.release(call)
            verdict = Deny(call.cut, held_texts.LOST_ACCESS)
    await carry_out(call, verdict, ports, reply)


async def carry_out(call: Call, verdict: Verdict, ports: Ports, reply: ReplyPort) -> None:
    """Take one call from a verdict that stands to its outcome."""
    if isinstance(verdict, Deny | Hold):
        await _refuse(call, verdict, ports, reply)
        return
    ports.probe("decided")
    if not await _is_intended(call, verdict, ports):
        await _fail(call, "record_unavailable", reply)
        return
    ports.probe("intent_durable")

    def connected(abort: Abort) -> None:
        call.sent_us = time.time_ns() // 1000
        call.abort = abort
        if call.cut:
            abort(UpstreamFailed(call.cut, was_sent=False))
        ports.probe("connected")
        reply.watch(lambda: abort(ClientGone()))

    try:
        answer = await ports.upstream.send(call, connected)
        ports.probe("head_received")
        try:
            await _relay(call, answer, ports, reply)
        except BaseException as problem:
            answer.abort(UpstreamFailed(type(problem).__name__, was_sent=True))
            raise
        answer.close()
        if call.route.records_history and call.kind is not None:
            ports.history.answered(call)
    except (UpstreamFailed, RecordUnavailable, ClientGone, MaskFailed, AnswerInvalid, InputRefused) as problem:
        await _end_badly(call, problem, ports, reply)
    except BaseException:
        # Nothing that is not foreseen, not even the end of the process, may leave an intent without an outcome.
        if not call.is_concluded:
            ports.recorder.settle(call, State.OUTCOME_UNKNOWN, call.cut or "gateway_error")
        raise


async def _decided(call: Call, ports: Ports) -> Verdict:
    """Return the verdict of policy, and note what rules that are only observed would have done."""
    unreviewed = refusal(call)
    if unreviewed is not None:
        # Whoever may not know of the tool at all learns nothing of its review either.
        verdict = rules.decision(call.policy, call.identity, call.asked, call.facts(time.time())).verdict
        return verdict if isinstance(verdict, Deny) else unreviewed
    if call.route.records_history and call.kind is not None:
        decision = await ports.history.decide(call)
    else:
        decision = rules.decision(call.policy, call.identity, call.asked, call.facts(time.time()))
    call.observed = decision.observed
    return decision.verdict


async def _resolved(hold: Hold, call: Call, ports: Ports, reply: ReplyPort) -> Resolved | None:
    """Wait for the decision on a held call; None when there is nothing more to do."""
    try:
        return await ports.approvals.resolve(hold, call, reply)
    except RecordUnavailable:
        await _fail(call, "record_unavailable", HeldReply(reply, call) if reply.is_streaming else reply)
    except MaskFailed:
        return Resolved(Deny(hold.rule, "its arguments cannot be shown to an approver"), reply)
    except ClientGone:
        # What waits for a human outlives its client, but this call is over.
        with contextlib.suppress(RecordUnavailable, MaskFailed):
            await ports.recorder.denied(call, Hold(hold.rule, "client_gone"))
        raise
    return None


async def _is_intended(call: Call, verdict: Verdict, ports: Ports) -> bool:
    """Make the intent durable; False when that is not possible, and then nothing may leave."""
    try:
        durable = ports.recorder.intent(call, verdict)
        with contextlib.suppress(Exception):
            # What goes wrong here goes wrong again when the call is sent, and gets its outcome there.
            ports.upstream.prepare(call)
        await durable
    except RecordUnavailable as error:
        if error.maybe_recorded:
            ports.recorder.settle(call, State.NOT_SENT, "record_unavailable")
        else:
            await ports.approvals.release(call)
        return False
    except MaskFailed:
        await ports.approvals.release(call)
        return False
    return True


async def _refuse(call: Call, verdict: Deny | Hold, ports: Ports, reply: ReplyPort) -> None:
    """Record the denial, then tell the client in a form that keeps its session."""
    try:
        await ports.recorder.denied(call, verdict)
    except (RecordUnavailable, MaskFailed):
        await _fail(call, "record_unavailable", reply)
        return
    text = explain.sentence(verdict, call.asked)
    status, body = errors.denied(call, verdict.rule, text, is_hidden=verdict in (rules.NO_RULE, UNKNOWN_TOOL))
    await reply.whole(status, errors.JSON, body, [(b"allow", b"POST")] if status == 405 else [])


async def _fail(call: Call, kind: str, reply: ReplyPort) -> None:
    status, body = errors.failed(call, kind)
    await reply.whole(status, errors.JSON, body, [(b"retry-after", b"5")] if status == 503 else [])


async def _relay(call: Call, answer: Answer, ports: Ports, reply: ReplyPort) -> None:
    """Pass the upstream's answer on, whichever of its three shapes it has."""
    status, headers = answer.status, answer.headers
    if status in {401, 403}:
        await _relay_refused_credential(call, answer, ports, reply)
        return
    if 300 <= status < 400 or headers.get(b"content-encoding", b"identity").strip().lower() not in {b"identity", b""}:
        raise AnswerInvalid
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if status == 200 and content_type == EVENT_STREAM:
        await _relay_stream(call, answer, ports, reply)
    elif status == 200 and isinstance(call.message, mcp.Request):
        if content_type != errors.JSON:
            raise AnswerInvalid
        await _relay_message(call, answer, ports, reply)
    else:
        await _relay_other(call, answer, content_type, ports, reply)


async def _compare(call: Call, data: bytes, ports: Ports) -> None:
    """Compare the tools that a message lists with those that were reviewed; a resumed stream may bring any list."""
    if call.route.pins_tools and (call.method == "tools/list" or call.verb == b"GET"):
        await ports.catalogue.look(call, data)


async def _relay_message(call: Call, answer: Answer, ports: Ports, reply: ReplyPort) -> None:
    """One JSON message is the whole answer."""
    body = await answer.whole(ports.limits.message_bytes)
    call.answered_us = time.time_ns() // 1000
    await _compare(call, body, ports)
    judged = judge(call, body, now=time.time())
    if not isinstance(judged, Passed) or not judged.is_final:
        raise AnswerInvalid
    ports.probe("answer_received")
    await _record_final(call, judged, ports)
    ports.probe("outcome_durable")
    await reply.whole(200, errors.JSON, judged.masked.value, _relayed(call, answer))


async def _relay_other(call: Call, answer: Answer, content_type: bytes, ports: Ports, reply: ReplyPort) -> None:
    """An accepted notification, the end of a session, or the upstream's own HTTP error: the status stays."""
    status, body = answer.status, await answer.whole(ports.limits.message_bytes)
    call.answered_us = time.time_ns() // 1000
    masker = call.policy.masker
    if content_type == errors.JSON and body:
        try:
            masked = masker.mask(body, call.keep)
        except MaskFailed:
            masked, content_type = masker.mask_text(body), b"text/plain"
    else:
        masked, content_type = masker.mask_text(body), b"text/plain; charset=utf-8"
    state = State.COMPLETED if status < 400 else State.UPSTREAM_ERROR
    await ports.recorder.outcome(call, state, masked=masked if body else None, status=status)
    ports.probe("outcome_durable")
    if status < 400 and not isinstance(call.message, mcp.Request):
        await reply.whole(status, b"", b"", _relayed(call, answer))
    elif status < 400:
        # A request is answered with a message and 200; anything else from the upstream is no answer.
        await _fail(call, "answer_invalid", reply)
    else:
        await reply.whole(status, content_type, masked.value, _relayed(call, answer))


async def _relay_refused_credential(call: Call, answer: Answer, ports: Ports, reply: ReplyPort) -> None:
    """The upstream refused OUR credential: a 401 from it would send the client to log in again, in vain."""
    await ports.recorder.outcome(call, State.UPSTREAM_ERROR, status=answer.status, reason="upstream_credential")
    await _fail(call, "upstream_credential", reply)


async def _relay_stream(call: Call, answer: Answer, ports: Ports, reply: ReplyPort) -> None:
    """Pass an event stream on, event by event, each recorded before it is released."""
    limits, decoder, started = ports.limits, sse.EventStreamDecoder(ports.limits.message_bytes), time.monotonic()
    is_handshake = call.seal is not None
    total, held = 0, b""
    call.is_streaming = True
    if not is_handshake:
        await reply.open_stream(_relayed(call, answer))
        call.nudge = answer.nudge
    while True:
        # The modern era wants the upstream's acknowledgement before anything else.
        while call.notices and (call.messages or not call.has_era_modern):
            await _tell(call, ports, reply)
        left = call.identity.expires_at - time.time()
        piece = await answer.piece(max(0.01, min(limits.keepalive_seconds, left)))
        if piece is None:
            break
        if left <= 0:
            raise UpstreamFailed("token_expired", was_sent=True)
        if not piece:
            if not is_handshake:
                await reply.write(sse.KEEP_ALIVE)
            continue
        total += len(piece)
        if total > limits.stream_bytes or time.monotonic() - started > limits.stream_seconds:
            raise UpstreamFailed("stream_too_long", was_sent=True)
        try:
            events = decoder.feed(piece)
        except ValueError:
            raise AnswerInvalid from None
        call.has_resumable_stream = call.has_resumable_stream or any(event.id for event in events)
        out, has_ended = await _pass_events(call, events, ports)
        if is_handshake:
            # The session id in the head is sealed with the version that the answer negotiates, so the head waits.
            held += out
            if not has_ended:
                continue
            await reply.open_stream(_relayed(call, answer))
            out = held
        if out:
            await reply.write(out)
            ports.probe("message_released")
        if has_ended:
            await reply.close()
            return
    await _end_of_stream(call, ports, reply)


async def _tell(call: Call, ports: Ports, reply: ReplyPort) -> None:
    """Tell the client which lists look different since policy has changed; recorded first, as everything it gets."""
    out: list[bytes] = []
    durable: list[Awaitable[None]] = []
    while call.notices:
        masked = call.policy.masker.mask(changes.message(call, call.notices.pop()), call.keep)
        out.append(sse.encode(sse.ServerEvent(masked.value, b"message")))
        durable.append(ports.recorder.frame(call, masked, kind="notification", is_last=not call.notices))
    for waiting in durable:
        await waiting
    await reply.write(b"".join(out))


async def _pass_events(call: Call, events: list[sse.ServerEvent], ports: Ports) -> tuple[bytes, bool]:
    """Judge, mask and record the events of one piece; return what may be sent, and whether that ends the call."""
    out: list[bytes] = []
    durable: list[Awaitable[None]] = []
    now = time.time()
    call.answered_us = int(now * 1_000_000)
    has_ended = False
    for event in events:
        if not event.data:
            out.append(sse.encode(event))
            continue
        await _compare(call, event.data, ports)
        judged = judge(call, event.data, now=now)
        if not isinstance(judged, Passed):
            durable.append(ports.recorder.withheld(call, judged.reason))
            if judged.refuse_id is not None:
                refuse_upstream_request(call, judged.refuse_id, ports)
            continue
        out.append(sse.encode(sse.ServerEvent(judged.masked.value, event.event, event.id, event.retry)))
        if not judged.is_final:
            is_last = event is events[-1]
            durable.append(ports.recorder.frame(call, judged.masked, kind=judged.kind, is_last=is_last))
        elif call.verb == b"POST":
            durable.append(_record_final(call, judged, ports))
            has_ended = True
            break
        else:
            resumed = ports.resumes.take(call.ref.session, judged.id)
            if resumed is None:
                durable.append(ports.recorder.frame(call, judged.masked, kind=judged.kind))
            else:
                durable.append(_record_final(resumed, judged, ports))
    for waiting in durable:
        await waiting
    return b"".join(out), has_ended


def _record_final(call: Call, judged: Passed, ports: Ports) -> Awaitable[None]:
    """Record the message that answers the call, and with it the outcome."""
    if call.method == "initialize" and judged.kind == "result":
        call.ref = negotiated(call.ref, judged.masked.value)
    state = State.COMPLETED if judged.kind == "result" else State.UPSTREAM_ERROR
    return ports.recorder.outcome(
        call, state, masked=judged.masked, kind=judged.kind, status=200, dropped=judged.dropped
    )


async def _end_of_stream(call: Call, ports: Ports, reply: ReplyPort) -> None:
    """The upstream ended the stream without an answer to the call."""
    if not isinstance(call.message, mcp.Request):
        await ports.recorder.outcome(call, State.COMPLETED, status=200)
        await reply.close()
    elif call.has_resumable_stream and not call.has_era_modern:
        ports.resumes.wait(call)
        await reply.close()
    else:
        raise UpstreamFailed("stream_ended", was_sent=True)


def _relayed(call: Call, answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return the headers for the client: the upstream's that may pass, its session id sealed."""
    if answer.headers.keys() <= _NEVER_RELAYED:
        return []
    headers = [
        pair for pair in header_rules.relayed(answer.headers.items()) if pair[0] not in {_SESSION_ID, b"content-type"}
    ]
    upstream_id = answer.headers.get(_SESSION_ID)
    if upstream_id is not None and call.seal is not None:
        headers.append((_SESSION_ID, call.seal(upstream_id.decode("latin-1"), call.ref.version)))
    return headers


async def _end_badly(call: Call, problem: Exception, ports: Ports, reply: ReplyPort) -> None:
    """Settle a call that was intended and did not end well, and tell the client once."""
    state, reason, kind = _judgement(call, problem)
    if isinstance(problem, ClientGone):
        if call.is_concluded:
            raise problem
        if not call.has_era_modern and call.has_resumable_stream:
            ports.resumes.wait(call)
        else:
            ports.recorder.settle(call, state, reason)
        raise problem
    if isinstance(problem, RecordUnavailable):
        # An outcome that was taken into a batch will be written; a second one must not follow it.
        if not (problem.maybe_recorded and call.is_concluded):
            ports.recorder.settle(call, state, reason)
    else:
        try:
            await ports.recorder.outcome(call, state, reason=reason)
        except RecordUnavailable as error:
            if not error.maybe_recorded:
                ports.recorder.settle(call, state, reason)
    ports.probe("outcome_durable")
    if not isinstance(call.message, mcp.Request) and reply.is_streaming:
        await reply.close()
        return
    status, body = errors.failed(call, kind)
    if reply.is_streaming:
        await reply.write(sse.encode(sse.ServerEvent(body, b"message")))
        await reply.close()
    else:
        await reply.whole(status, errors.JSON, body, [(b"retry-after", b"5")] if status == 503 else [])


def _judgement(call: Call, problem: Exception) -> tuple[State, str, str]:
    """Return state, recorded reason and failure kind for what went wrong after the intent."""
    match problem:
        case UpstreamFailed(was_sent=False) if call.cut:
            return State.NOT_SENT, call.cut, "cut_unsent"
        case UpstreamFailed() if call.cut:
            # What is told of a locked connection is for calls that were not sent.
            return State.OUTCOME_UNKNOWN, call.cut, "access_ended" if call.cut == CONNECTION_LOCKED else call.cut
        case UpstreamFailed(was_sent=False, reason=reason):
            return State.NOT_SENT, reason, "not_sent"
        case UpstreamFailed(reason="timeout"):
            return State.OUTCOME_UNKNOWN, "timeout", "timeout"
        case UpstreamFailed(reason="token_expired"):
            return State.OUTCOME_UNKNOWN, "token_expired", "token_expired"
        case UpstreamFailed(reason=reason):
            return State.OUTCOME_UNKNOWN, reason, "outcome_unknown"
        case ClientStalled():
            return State.ABORTED_BY_CLIENT, "client_stalled", "outcome_unknown"
        case ClientGone():
            return State.ABORTED_BY_CLIENT, "client_gone", "outcome_unknown"
        case MaskFailed():
            return State.UPSTREAM_ERROR, "mask_failed", "mask_failed"
        case InputRefused():
            return State.UPSTREAM_ERROR, "input_refused", "input_refused"
        case AnswerInvalid():
            return State.UPSTREAM_ERROR, "answer_invalid", "answer_invalid"
        case _:
            return State.OUTCOME_UNKNOWN, "record_failed", "record_failed"
