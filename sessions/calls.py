"""From events to calls: what the record says about each call, for people to read. Pure.

A record may be cut off, come from an older gateway, or be written by an attacker with a database password. So nothing
here fails on an event: what cannot be read is said to be unreadable, and what is not known is shown by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import zstandard

OPENINGS = ("gateway:call:intent", "gateway:call:denied", "gateway:call:answered", "client:message:relayed")
"""The names of events that begin a call; each call has exactly one of them."""

OUTCOMES = {
    f"gateway:call:{state}": state
    for state in ("completed", "upstream_error", "not_sent", "aborted_by_client", "outcome_unknown")
}
"""The names of events that end a call, and the state that each leaves it in."""

CLOSINGS = frozenset({*OUTCOMES, "gateway:call:denied", "gateway:call:answered", "client:message:relayed"})
"""The names of events after which a call has no more."""

OPEN = "open"
"""State of a call that was sent, or may have been, and has no outcome yet."""

MARKERS = ("denied", "held", "masked", "error", "slow")
"""What is marked on the timeline."""

TROUBLES = frozenset({"upstream_error", "not_sent", "aborted_by_client", "outcome_unknown"})
"""States that are neither good nor a refusal."""

SLOW_US = 1_000_000
"""A call that takes this many microseconds is marked as slow."""

WAITING = frozenset(
    {"held", "opened", "requested", "joined", "shown", "seen", "viewed", "notified", "reminded", "waiting"}
)
"""Last parts of the names of approval events that decide nothing."""

APPROVAL = "approval:"
"""How the names of events about the approval of a held call begin."""

MESSAGE_BYTES = 64 * 1024 * 1024
"""Longest payload that is unpacked for reading; the data path keeps its own, smaller limits."""

CALL_BYTES = 32 * 1024 * 1024
"""Of one call so many bytes of messages are unpacked; a record that was made to be huge must not take all memory."""

TOO_MUCH = "(not unpacked: this call has more messages than fit in here; each can be saved by itself)"

UNREADABLE = "(the recorded message cannot be unpacked)"

_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it is stored, without its payload's compression being undone.

    `position` grows along the session and says where to go on reading. `payload_bytes` is the stored size of the
    payload, also when the payload itself was not read.
    """

    seq: int
    at: datetime
    call_id: UUID | None
    name: str
    body: str
    payload: bytes | None = None
    hash: bytes = b""
    position: int = 0
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One message that went to the client, or was withheld from it; `text` is as it was sent, masked."""

    at: datetime
    kind: str
    text: str | None
    hits: dict[str, int]
    reason: str = ""

    @property
    def is_withheld(self) -> bool:
        """Whether the client never got it; its content is not kept either."""
        return self.kind == "withheld"


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a call, by its place in the chain."""

    seq: int
    at: datetime
    name: str
    hash: str


@dataclass(frozen=True, slots=True)
class Approval:
    """What became of a held call at one moment: `action` is the last part of the event's name, `facts` its body."""

    at: datetime
    action: str
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a rule that is only observed would have done."""

    rule: str
    verdict: str
    why: str


@dataclass(slots=True)
class CallView:
    """Everything the record says about one call. Times are microseconds; None means that the record does not say."""

    id: UUID
    at: datetime
    method: str = ""
    name: str = ""
    request_id: str = ""
    verb: str = ""
    verdict: str = ""
    rule: str = ""
    reason: str = ""
    state: str = OPEN
    outcome_reason: str = ""
    status: int | None = None
    request: str | None = None
    messages: list[Message] = field(default_factory=list)
    hits: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    policy_version: int | None = None
    credential_version: int | None = None
    outbound_sha256: str = ""
    outbound_bytes: int | None = None
    bytes: int | None = None
    received_at: datetime | None = None
    ended_at: datetime | None = None
    waiting_us: int | None = None
    upstream_us: int | None = None
    total_us: int | None = None
    steps: list[Step] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    observed: list[Observed] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    position: int = 0
    last_position: int = 0
    opened_at_position: int = 0
    payload_bytes: int = 0
    unpacked: int = 0

    @property
    def title(self) -> str:
        """What was called: the tool, prompt or resource, else the method."""
        return self.name or self.method or "unknown call"

    @property
    def finishing_us(self) -> int | None:
        """What is left of the total after waiting and the upstream: masking and recording the answer."""
        if self.total_us is None or self.waiting_us is None or self.upstream_us is None:
            return None
        return max(0, self.total_us - self.waiting_us - self.upstream_us)

    @property
    def hits_count(self) -> int:
        """How many values were masked."""
        return sum(self.hits.values())

    @property
    def begins_at(self) -> datetime:
        """When the request was received, as far as the record says; else its first event."""
        return self.received_at if self.received_at is not None and self.received_at <= self.at else self.at

    @property
    def ends_at(self) -> datetime:
        """When the last that is known of it happened."""
        return max([self.begins_at, self.ended_at or self.at, *(step.at for step in self.steps[-1:])])

    @property
    def held_us(self) -> int | None:
        """How long it waited for a decision of somebody; None when it was not held."""
        if self.approvals:
            decided = next((step.at for step in self.approvals if step.action not in WAITING), None)
            return max(0, _microseconds((decided or self.ends_at) - self.approvals[0].at))
        return self.waiting_us or 0 if self.verdict == "hold" else None

    @property
    def markers(self) -> list[str]:
        """What makes the call worth a look: of `MARKERS`, in their order."""
        found = {
            "denied": self.state == "denied" and self.verdict != "hold",
            "held": self.held_us is not None,
            "masked": bool(self.hits),
            "error": self.state in TROUBLES or any(message.is_withheld for message in self.messages),
            "slow": (self.total_us or 0) >= SLOW_US,
        }
        return [name for name in MARKERS if found[name]]


def fold(events: Iterable[Entry]) -> list[CallView]:
    """Return the calls of `events`, in the order in which they began; events without a call are left out."""
    calls: dict[UUID, CallView] = {}
    for event in events:
        if event.call_id is None:
            continue
        call = calls.get(event.call_id)
        if call is None:
            call = calls[event.call_id] = CallView(event.call_id, event.at, position=event.position)
        _apply(call, event)
    return list(calls.values())


def is_message(event: Entry) -> bool:
    """Tell whether the event is one of the messages of its call, as `CallView.messages` counts them."""
    is_last = event.name in OUTCOMES and (event.payload is not None or event.payload_bytes > 0)
    return is_last or event.name in {"upstream:message:relayed", "upstream:message:withheld"}


def payload_text(payload: bytes | None) -> str | None:
    """Return the recorded message as text; bytes that are not UTF-8 are shown escaped."""
    if payload is None:
        return None
    if payload.startswith(_ZSTD):
        try:
            # The bound counts only for frames that do not say their size; one that says too much is not unpacked.
            if zstandard.frame_content_size(payload) > MESSAGE_BYTES:
                return UNREADABLE
            payload = zstandard.ZstdDecompressor().decompress(payload, max_output_size=MESSAGE_BYTES)
        except zstandard.ZstdError:
            return UNREADABLE
    return payload.decode("utf-8", "backslashreplace")


def body_of(event: Entry) -> dict[str, Any]:
    """Return the members of an event's body; none when it is not a JSON object."""
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _apply(call: CallView, event: Entry) -> None:
    body = body_of(event)
    call.steps.append(Step(event.seq, event.at, event.name, event.hash.hex()))
    call.last_position = max(call.last_position, event.position)
    call.payload_bytes += event.payload_bytes
    if event.name.startswith(APPROVAL):
        call.approvals.append(Approval(event.at, event.name.rpartition(":")[2], _facts(body)))
    elif event.name in OPENINGS:
        _open(call, event, body)
    elif event.name == "upstream:message:relayed":
        call.messages.append(_message(call, event, body))
        _count(call, body)
        call.dropped += _number(body.get("dropped")) or 0
    elif event.name == "upstream:message:withheld":
        call.messages.append(Message(event.at, "withheld", None, {}, _text(body.get("reason"))))
    elif event.name in OUTCOMES:
        _close(call, event, body)


def _open(call: CallView, event: Entry, body: dict[str, Any]) -> None:
    call.at, call.opened_at_position = event.at, event.position
    call.method, call.name = _text(body.get("method")), _text(body.get("name"))
    call.request_id, call.verb = _text(body.get("id")), _text(body.get("verb"))
    call.verdict, call.rule, call.reason = (_text(body.get(key)) for key in ("verdict", "rule", "reason"))
    call.policy_version = _number(body.get("policy_version"))
    call.credential_version = _number(body.get("credential_version"))
    call.outbound_sha256 = _text(body.get("outbound_sha256"))
    call.outbound_bytes = _number(body.get("outbound_bytes"))
    call.request = payload_text(event.payload)
    attributes, observed = body.get("attributes"), body.get("observed")
    call.attributes = [_text(each) for each in attributes] if isinstance(attributes, list) else []
    call.observed = [
        Observed(*(_text(seen.get(key)) for key in ("rule", "verdict", "why")))
        for seen in (observed if isinstance(observed, list) else [])
        if isinstance(seen, dict)
    ]
    call.received_at = _moment(body.get("received_us"))
    if call.received_at is not None:
        call.waiting_us = max(0, _microseconds(event.at - call.received_at))
    if event.name == "gateway:call:denied":
        call.state, call.ended_at, call.total_us = "denied", event.at, call.waiting_us
    elif event.name == "gateway:call:answered":
        # What is kept is the answer of the gateway itself.
        call.request, call.state, call.ended_at, call.total_us = None, "completed", event.at, call.waiting_us
        call.messages.append(Message(event.at, "result", payload_text(event.payload), {}))
    elif event.name == "client:message:relayed":
        call.state = "relayed"


def _close(call: CallView, event: Entry, body: dict[str, Any]) -> None:
    call.state, call.ended_at = OUTCOMES[event.name], event.at
    call.outcome_reason = _text(body.get("reason"))
    call.status, call.bytes = _number(body.get("status")), _number(body.get("bytes"))
    call.total_us = _number(body.get("total_us"))
    call.upstream_us = _number(body.get("upstream_us"))
    if call.upstream_us is None and call.verdict:
        call.upstream_us = max(0, _microseconds(event.at - call.at))
    call.dropped += _number(body.get("dropped")) or 0
    if event.payload is not None or event.payload_bytes:
        call.messages.append(_message(call, event, body))
    # The outcome counts the whole call, its last message and all earlier ones.
    total = _counts(body.get("hits"))
    if total:
        call.hits = total


def _message(call: CallView, event: Entry, body: dict[str, Any]) -> Message:
    hits = _counts(body.get("last_hits") if event.name in OUTCOMES else body.get("hits"))
    text = TOO_MUCH if event.payload is not None and call.unpacked > CALL_BYTES else payload_text(event.payload)
    call.unpacked += len(text or "")
    return Message(event.at, _text(body.get("kind")) or "message", text, hits)


def _count(call: CallView, body: dict[str, Any]) -> None:
    for pattern, count in _counts(body.get("hits")).items():
        call.hits[pattern] = call.hits.get(pattern, 0) + count


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(key): count for key, count in value.items() if _number(count)}


def _facts(body: dict[str, Any]) -> dict[str, str]:
    return {str(key).replace("_", " "): _text(value) for key, value in body.items()}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _moment(microseconds: object) -> datetime | None:
    number = _number(microseconds)
    try:
        return None if number is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=number)
    except OverflowError:
        return None


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
