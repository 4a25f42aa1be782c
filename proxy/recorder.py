"""The record of calls: what each event says. `journal` makes them durable.

Event names are `source:subject:action`. A call's events are one `gateway:call:intent` or `gateway:call:denied`, then
`upstream:message:relayed` for each message before the last, then one outcome `gateway:call:<state>` that carries the
last message. Payloads are masked messages, as the client got them; the request's payload is masked the same way, and
`outbound_sha256` is over the exact bytes that the upstream sees.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from hashlib import sha256

import orjson
import zstandard

from policies.engine.masking import Masked
from policies.engine.verdicts import Deny, Hold, Verdict
from proxy.callers import Callers
from proxy.held import Standing
from proxy.journal import Journal
from proxy.ports import Call, State
from sessions import chain

logger = logging.getLogger(__name__)

COMPRESS_BYTES = 2048
"""Smaller payloads are stored as they are: PostgreSQL keeps them in the row anyway."""
_REFUSALS = 1000
_ZSTD = b"\x28\xb5\x2f\xfd"
_MOST_UNPACKED = 64 * 1024 * 1024
_COMPRESSOR = zstandard.ZstdCompressor(level=1)


def packed(payload: bytes) -> bytes:
    """Return the payload as it is stored: a zstd frame when it is long, which no JSON text starts like."""
    return payload if len(payload) < COMPRESS_BYTES else _COMPRESSOR.compress(payload)


def unpacked(payload: bytes) -> bytes:
    """Return a payload as it was recorded."""
    if not payload.startswith(_ZSTD):
        return payload
    return zstandard.ZstdDecompressor().decompress(payload, max_output_size=_MOST_UNPACKED)


def _add_policy(body: dict[str, object], call: Call, verdict: Verdict) -> None:
    """Add what of the call decided, and what rules that are only observed would have done."""
    if verdict.attributes:
        body["attributes"] = verdict.attributes
    if call.observed:
        body["observed"] = [{"rule": seen.rule, "verdict": seen.effect, "why": seen.why} for seen in call.observed]


def _plain(request_id: str | int | None) -> str | int | None:
    """Return the id as orjson can write it: an integer beyond 64 bits as its digits."""
    return str(request_id) if isinstance(request_id, int) and request_id.bit_length() > 63 else request_id


def _let_go(durable: Awaitable[None]) -> None:
    """Nobody waits for this event: what goes wrong with it is known to whoever waits for the next one."""
    if isinstance(durable, asyncio.Future):
        durable.add_done_callback(lambda done: done.cancelled() or done.exception())


class Recorder:
    """Writes a call's events through the journal.

    Args:
        refuse_seconds: how long a new call waits for its record before it is refused.
        withhold_seconds: how long an answer waits for its record before the call ends with an error.
        notifications_wait: whether a notification, too, waits until it is durable (ADR 0016).
    """

    def __init__(
        self, journal: Journal, *, refuse_seconds: float, withhold_seconds: float, notifications_wait: bool = False
    ) -> None:
        self._journal, self._notifications_wait = journal, notifications_wait
        self._callers = Callers()
        self.refuse_seconds, self._withhold_seconds = refuse_seconds, withhold_seconds
        self._refusals: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], int] = {}

    @property
    def is_up(self) -> bool:
        """Whether events can be written right now."""
        return self._journal.is_up and not self._journal.is_fenced

    def denied(self, call: Call, verdict: Deny | Hold) -> Awaitable[None]:
        """Record a refusal by policy; the upstream sees nothing of this call."""
        return self._judged(call, "gateway:call:denied", verdict, {"reason": verdict.reason})

    def intent(self, call: Call, verdict: Verdict) -> Awaitable[None]:
        """Record that exactly these bytes are about to leave, for whom and under which policy and credential."""
        facts: dict[str, object] = {
            "credential_version": call.route.credential_version,
            "outbound_sha256": sha256(call.outbound).hexdigest(),
            "outbound_bytes": len(call.outbound),
            "verb": call.verb.decode(),
        }
        if call.approval:
            facts["approval"] = call.approval
        return self._judged(call, "gateway:call:intent", verdict, facts, opens=True)

    def held(self, call: Call, hold: Hold, standing: Standing, vehicle: str) -> Awaitable[None]:
        """Record that the call waits for a human; the upstream sees nothing of it meanwhile."""
        facts: dict[str, object] = {
            "reason": hold.reason,
            "approval": standing.code,
            "expires_at": standing.expires_at,
            "vehicle": vehicle,
        }
        return self._judged(call, "approval:request:held", hold, facts)

    def decided(self, call: Call, standing: Standing) -> None:
        """Record what became of the request of a held call; the event that follows waits for it."""
        body: dict[str, object] = {"approval": standing.code, "rule": standing.rule}
        if standing.decided_by:
            body["decided_by"] = standing.decided_by
        if standing.reason:
            body["reason"] = standing.reason
        _let_go(self._append(call, f"approval:request:{standing.state}", body, None, None))

    def noted(self, call: Call, standing: Standing, what: str, reason: str) -> None:
        """Record what the client of a held call did: it left, came back, or answered what it was asked."""
        body: dict[str, object] = {"approval": standing.code, "reason": reason}
        _let_go(self._append(call, f"approval:client:{what}", body, None, None))

    def answered(self, call: Call, masked: Masked) -> Awaitable[None]:
        """Record what the gateway itself answers, such as where a held call stands."""
        body: dict[str, object] = {
            "method": call.method,
            "id": _plain(call.request_id),
            "received_us": call.received_us,
            "subject": call.identity.subject,
        }
        self._name_caller(call, body)
        return self._append(call, "gateway:call:answered", body, packed(masked.value), self.refuse_seconds)

    def frame(
        self, call: Call, masked: Masked, *, kind: str, dropped: int = 0, is_last: bool = True
    ) -> Awaitable[None]:
        """Record a message that is about to go to the client, before it does.

        A request, which the client acts upon, waits until it is durable; a notification until the database has it.
        """
        call.count(masked)
        body = {"kind": kind, "hits": dict(masked.hits), "n": call.messages}
        if dropped:
            body["dropped"] = dropped
        return self._append(
            call,
            "upstream:message:relayed",
            body,
            packed(masked.value),
            self._withhold_seconds,
            is_last=is_last,
            is_handed_over=kind == "notification" and not self._notifications_wait,
        )

    def withheld(self, call: Call, reason: str) -> Awaitable[None]:
        """Record that a message of the upstream was not passed on; its content is not kept."""
        return self._append(call, "upstream:message:withheld", {"reason": reason}, None, self._withhold_seconds)

    def outcome(
        self,
        call: Call,
        state: State,
        *,
        masked: Masked | None = None,
        kind: str = "",
        status: int = 0,
        reason: str = "",
        dropped: int = 0,
    ) -> Awaitable[None]:
        """Record how the call ended, and its last message before the client gets it."""
        if masked is not None:
            call.count(masked)
        body = self._outcome_body(call, kind=kind, status=status, reason=reason)
        if masked is not None and masked.hits:
            body["last_hits"] = dict(masked.hits)
        if dropped:
            body["dropped"] = dropped
        call.is_concluded = True
        payload = None if masked is None else packed(masked.value)
        return self._append(
            call, f"gateway:call:{state}", body, payload, self._withhold_seconds, closes=True, is_last=True
        )

    def settle(self, call: Call, state: State, reason: str) -> None:
        """Record how the call ended whenever the record can be written again; nobody waits."""
        call.is_concluded = True
        body = self._outcome_body(call, kind="", status=0, reason=reason)
        self._append(call, f"gateway:call:{state}", body, None, None, closes=True)

    def session_started(self, session: bytes, body: dict[str, object]) -> Awaitable[None]:
        """Record the begin of a session; it precedes every event of it."""
        return self._journal.append(
            "gateway:session:started",
            session=session,
            call=chain.NOTHING,
            body=orjson.dumps(body),
            patience=self.refuse_seconds,
            opens=False,
        )

    def session_ended(self, session: bytes, reason: str) -> None:
        """Record the end of a session; nobody waits."""
        self._journal.append(
            "gateway:session:ended",
            session=session,
            call=chain.NOTHING,
            body=orjson.dumps({"reason": reason}),
            patience=None,
        )

    def refused(self, code: str, address: str, slug: str, about: tuple[tuple[str, str], ...] = ()) -> None:
        """Count a request that was refused before it was a call; `about` names the caller where that is known.

        Counts become one event a second for each (code, address, connection), so that a flood cannot fill the record;
        past a thousand of them in one second the rest is counted under an empty address.
        """
        key = (code, address, slug, about)
        if key not in self._refusals and len(self._refusals) >= _REFUSALS:
            key = (code, "", "", ())
        self._refusals[key] = self._refusals.get(key, 0) + 1

    def flush_refusals(self) -> None:
        """Append what `refused` counted; called once a second, and once more at the end."""
        counted, self._refusals = self._refusals, {}
        for (code, address, slug, about), count in counted.items():
            body = {"code": code, "address": address, "connection": slug, "count": count, **dict(about)}
            self._journal.append(
                "gateway:request:refused",
                session=chain.NOTHING,
                call=chain.NOTHING,
                body=orjson.dumps(body),
                patience=None,
            )

    async def keep_flushing(self) -> None:
        """Flush the counted refusals every second, for as long as the task lives."""
        while True:
            await asyncio.sleep(1)
            self.flush_refusals()

    def _judged(
        self, call: Call, name: str, verdict: Verdict, facts: dict[str, object], *, opens: bool = False
    ) -> Awaitable[None]:
        """Append an event about a call that policy has judged: what was asked, the verdict, and `facts`."""
        body: dict[str, object] = {
            "method": call.method,
            "name": call.name,
            "id": _plain(call.request_id),
            "verdict": verdict.effect,
            "rule": verdict.rule,
            "policy_version": call.route.policy_version,
            "received_us": call.received_us,
            "subject": call.identity.subject,
            **facts,
        }
        _add_policy(body, call, verdict)
        payload = self._request(call, body)
        self._name_caller(call, body)
        return self._append(call, name, body, payload, self.refuse_seconds, opens=opens)

    def _append(
        self,
        call: Call,
        name: str,
        body: dict[str, object],
        payload: bytes | None,
        patience: float | None,
        *,
        opens: bool = False,
        closes: bool = False,
        is_last: bool = False,
        is_handed_over: bool = False,
    ) -> Awaitable[None]:
        return self._journal.append(
            name,
            session=call.ref.session,
            call=call.call_id,
            body=orjson.dumps(body),
            payload=payload,
            patience=patience,
            opens=opens,
            closes=closes,
            # Whoever began or ended a call waits for that before anything else.
            is_last=is_last or opens or closes,
            claim=call.claim if opens else None,
            is_handed_over=is_handed_over,
        )

    def _request(self, call: Call, body: dict[str, object]) -> bytes | None:
        """Return the request as the record shows it, masked like an answer; what was masked is counted in `body`."""
        if not call.outbound:
            return None
        masked = call.policy.masker.mask(call.outbound)
        if masked.hits:
            body["request_hits"] = dict(masked.hits)
        return packed(masked.value)

    def _name_caller(self, call: Call, body: dict[str, object]) -> None:
        """Name the caller in `body`, having written before what policy knows of whoever is new to the session."""
        session, identity = call.ref.session, call.identity
        tag = self._callers.known(session, identity, call.address)
        if tag is None:
            tag, unknown = self._callers.enter(session, identity, call.address)
            if unknown is not None:
                # In one chain with the opening that follows: whoever waits for that one waits for this one, too.
                self._journal.append(
                    "gateway:session:caller", session=session, call=chain.NOTHING, body=unknown, patience=None
                )
        body["caller"] = tag

    def _outcome_body(self, call: Call, *, kind: str, status: int, reason: str) -> dict[str, object]:
        body: dict[str, object] = {
            "messages": call.messages,
            "bytes": call.bytes_out,
            "hits": call.hits,
            "total_us": time.time_ns() // 1000 - call.received_us,
        }
        if call.sent_us and call.answered_us:
            body["upstream_us"] = call.answered_us - call.sent_us
        if kind:
            body["kind"] = kind
        if status:
            body["status"] = status
        if reason:
            body["reason"] = reason
        return body
