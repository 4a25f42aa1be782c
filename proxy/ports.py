"""What an exchange needs from the world, as Protocols, and the values that pass between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from accounts.addresses import Upstream
from accounts.tokens import Identity
from connections.definitions import Pinned
from connections.vault import Secret
from policies.engine.facts import Facts, History
from policies.engine.masking import Masked
from policies.engine.rules import Call as Asked
from policies.engine.rules import ConnectionPolicy, Decision, Kind, Observed
from policies.engine.verdicts import Allow, Deny, Hold, Verdict
from proxy.protocol import mcp

Abort = Callable[[Exception], None]


_NO_ARGUMENTS: Mapping[str, Any] = {}


class State(StrEnum):
    """How a call ended. Every allowed call reaches exactly one of these (SECURITY section 3)."""

    COMPLETED = "completed"
    UPSTREAM_ERROR = "upstream_error"
    NOT_SENT = "not_sent"
    ABORTED_BY_CLIENT = "aborted_by_client"
    OUTCOME_UNKNOWN = "outcome_unknown"


@dataclass(frozen=True, slots=True)
class Route:
    """One connection, compiled: where it goes, with what credential, under which policy. Immutable.

    `refusal` is why nothing may pass (a policy that does not compile, a credential that does not open), or None. With a
    refusal, `policy` only tells who may know of the connection. `records_history` is whether any rule of the gateway
    looks at what a caller did before; `taints` and `tool_taints` are the labels that calls leave behind. `catalogue`
    has the tools of a connection that pins them.
    """

    connection_id: UUID
    connection_key: str
    slug: str
    name: str
    resource: str
    upstream: Upstream | None
    allowed_networks: tuple[str, ...]
    timeout_seconds: int
    forbidden_capabilities: frozenset[str]
    policy: ConnectionPolicy | None
    credential: tuple[bytes, Secret] | None
    credential_version: int
    policy_version: int
    refusal: str | None = None
    records_history: bool = False
    taints: tuple[str, ...] = ()
    tool_taints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pins_tools: bool = False
    catalogue: Mapping[str, Pinned] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionRef:
    """The session that a call belongs to: our own id, and the upstream's session id in the legacy era.

    `client` is the name and version that the client gave itself on `initialize`, `opens_urls` whether it said there
    that it can be sent to an address.
    """

    session: bytes
    era: mcp.Era
    version: str
    upstream_id: str | None = None
    client: tuple[str, str] = ("", "")
    opens_urls: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One message on its way to the upstream: who, where, what, and the exact bytes that will leave."""

    call_id: bytes
    identity: Identity
    route: Route
    policy: ConnectionPolicy
    ref: SessionRef
    message: mcp.Request | mcp.Notification | mcp.Response | None
    verb: bytes
    method: str
    name: str | None
    kind: str | None
    outbound: bytes
    headers: list[tuple[bytes, bytes]]
    received_us: int
    seal: Callable[[str, str], bytes] | None = None
    keep: frozenset[str] = frozenset()
    request: bytes = field(default=b"", repr=False)
    sent_us: int = 0
    answered_us: int = 0
    messages: int = 0
    bytes_out: int = 0
    hits: dict[str, int] = field(default_factory=dict)
    has_resumable_stream: bool = False
    is_concluded: bool = False
    is_streaming: bool = False
    abort: Abort | None = None
    """Ends the call from outside: set while it waits for something that can be woken."""
    cut: str = ""
    """Why it was ended from outside (`proxy.live`)."""
    address: str = ""
    client: tuple[str, str] = ("", "")
    agent: str = ""
    accepts_stream: bool = False
    patience: float | None = None
    """For how many seconds the client says that it waits for an approval (`X-Approval-Wait`)."""
    claim: bytes | None = None
    """The use of an approval that the intent consumes (16 bytes)."""
    approval: str = ""
    """The code of the request that was approved."""
    continues: str = ""
    """The `requestState` of ours with which the client comes back to a held call; it is not in `outbound`."""
    wire_id: str | int | None = None
    """The id in `outbound`, where that is another call's: what was approved is sent as it was approved."""
    shown: frozenset[str] | None = None
    """Of a listing: the tools whose definitions are reviewed; None where the connection does not pin them."""
    observed: tuple[Observed, ...] = ()
    """What rules that are only observed would have done."""
    nudge: Callable[[], None] | None = None
    """Wakes the stream of the call, so that it looks at `notices`; None while there is no stream."""
    notices: set[Kind] = field(default_factory=set)
    """Kinds of lists of whose change the client has to be told."""
    told_by: Route | None = None
    """The route under which the lists were last looked at for that; None means `route`."""

    @property
    def asked(self) -> Asked:
        """What is called, as policy sees it."""
        return Asked(self.method, self.kind, self.name)  # type: ignore[arg-type]

    def facts(self, now: float, history: History | None = None) -> Facts:
        """Return the circumstances of the call, as policy sees them, at `now` (epoch seconds)."""
        message = self.message
        arguments: Mapping[str, Any] = {}
        if isinstance(message, mcp.Request):
            params = message.params
            found = params.get("arguments", _NO_ARGUMENTS) if self.kind in {"tool", "prompt"} else params
            arguments = found if isinstance(found, dict) else _NO_ARGUMENTS
            answers = params.get("inputResponses")
            if isinstance(answers, dict):
                return Facts(now, self.address, *self.client, arguments, history, answers)
        return Facts(now, self.address, self.client[0], self.client[1], arguments, history)

    @property
    def program(self) -> tuple[str, str]:
        """Name and version that the client gives itself, here or when its session began."""
        return self.client if self.client[0] else self.ref.client

    @property
    def awaited_id(self) -> str | int | None:
        """The id that the upstream's answer carries."""
        return self.request_id if self.wire_id is None else self.wire_id

    @property
    def request_id(self) -> str | int | None:
        """The JSON-RPC id, when the message is a request."""
        return self.message.id if isinstance(self.message, mcp.Request) else None

    @property
    def has_era_modern(self) -> bool:
        """Whether the client speaks 2026-07-28."""
        return self.ref.era is mcp.Era.MODERN

    def count(self, masked: Masked) -> None:
        """Add one message that goes to the client to the call's totals."""
        self.messages += 1
        self.bytes_out += len(masked.value)
        for name, number in masked.hits.items():
            self.hits[name] = self.hits.get(name, 0) + number


class UpstreamFailed(Exception):
    """The upstream gave no usable answer. `was_sent` is False only when not one byte can have left."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        super().__init__(reason)
        self.reason, self.was_sent = reason, was_sent


class RecordUnavailable(Exception):
    """An event could not be made durable in time. `maybe_recorded` tells that it will yet be written."""

    def __init__(self, *, maybe_recorded: bool) -> None:
        super().__init__("the record cannot be written")
        self.maybe_recorded = maybe_recorded


class ClientGone(Exception):
    """The client closed the exchange; in the modern era that is the cancellation."""


class Answer(Protocol):
    """An upstream's HTTP answer: its head, then its body, whole or piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Headers by lower-case name; of a repeated one, the last."""

    async def whole(self, limit: int) -> bytes:
        """Return the body; raises UpstreamFailed when it is cut off or longer than `limit` bytes."""

    async def piece(self, idle_seconds: float) -> bytes | None:
        """Return the next bytes, b"" after `idle_seconds` without any, None at the proper end."""

    def nudge(self) -> None:
        """Make a `piece` that waits return b"" now."""

    def close(self) -> None:
        """Finish: give the connection back when it is clean, close it otherwise. May be called twice."""

    def abort(self, reason: Exception) -> None:
        """Wake whoever waits with `reason` and close the connection."""


class ClientStalled(ClientGone):
    """The client does not read what it asked for; its connection is given up."""


class UpstreamPort(Protocol):
    """Sends a call."""

    def prepare(self, call: Call) -> None:
        """Do what can be done before the call may leave; not a byte leaves."""

    async def send(self, call: Call, on_connected: Callable[[Abort], None]) -> Answer:
        """Send the call's exact bytes and return the answer's head; raises UpstreamFailed.

        `on_connected` gets the function that ends the exchange from outside, before the first byte leaves.
        """


class CataloguePort(Protocol):
    """What is known of the tools of connections."""

    async def look(self, call: Call, data: bytes) -> None:
        """Note in `call.shown` which of the tools that `data` lists may be shown; raises RecordUnavailable."""


class HistoryPort(Protocol):
    """What callers did before, for rules that ask."""

    async def decide(self, call: Call) -> Decision:
        """Return the decision on `call`, made with its caller's history, and add the call to that history.

        Raises:
            RecordUnavailable: the history cannot be read or written; nothing may pass.
        """

    def answered(self, call: Call) -> None:
        """Add what the answer to `call` held to its caller's history."""


class RecorderPort(Protocol):
    """The record. Each awaitable is done when the event is durable, and raises RecordUnavailable when it is not."""

    def denied(self, call: Call, verdict: Deny | Hold) -> Awaitable[None]:
        """Record a refusal by policy."""

    def intent(self, call: Call, verdict: Verdict) -> Awaitable[None]:
        """Record that the call's exact bytes are about to leave."""

    def frame(
        self, call: Call, masked: Masked, *, kind: str, dropped: int = 0, is_last: bool = True
    ) -> Awaitable[None]:
        """Record a message that is about to go to the client, as it will be sent; `is_last` before the caller waits."""

    def withheld(self, call: Call, reason: str) -> Awaitable[None]:
        """Record that a message of the upstream was not passed on."""

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
        """Record how the call ended, with its final message if there is one."""

    def settle(self, call: Call, state: State, reason: str) -> None:
        """Record how the call ended as soon as that is possible; nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What becomes of a held call whose client still waits: the verdict, and the way back to it."""

    verdict: Allow | Deny
    reply: ReplyPort


class ApprovalsPort(Protocol):
    """Resolves held calls."""

    async def resolve(self, hold: Hold, call: Call, reply: ReplyPort) -> Resolved | None:
        """Return the final verdict, None when the client has its answer already; silence is a denial.

        Raises:
            RecordUnavailable: it cannot be recorded, or not be known.
            ClientGone: the client has left.
        """

    async def release(self, call: Call) -> None:
        """Give back the claim of a call whose intent was not written."""

    async def serve(self, call: Call, reply: ReplyPort) -> bool:
        """Answer what is about a held call; False when `call` is not, and goes its way."""


class ReplyPort(Protocol):
    """The way back to the client."""

    @property
    def is_streaming(self) -> bool:
        """Whether the head of an event stream is out."""

    async def whole(self, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a complete answer."""

    async def open_stream(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an event stream."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the stream; waits while the client does not read."""

    async def close(self) -> None:
        """End the stream."""

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` once when the client leaves before the reply is complete."""


class ResumesPort(Protocol):
    """Open calls whose stream ended before their answer (legacy era)."""

    def wait(self, call: Call) -> None:
        """Keep the call open until its answer comes on another stream, or for a time."""

    def take(self, session: bytes, request_id: str | int | None) -> Call | None:
        """Return the open call that an answer belongs to."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one exchange; bytes and seconds."""

    message_bytes: int
    stream_bytes: int
    stream_seconds: float
    keepalive_seconds: float


def no_probe(label: str) -> None:
    """Do nothing: the tests put a probe here that stops the process at a labelled step."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that an exchange can do to the world."""

    recorder: RecorderPort
    upstream: UpstreamPort
    approvals: ApprovalsPort
    history: HistoryPort
    catalogue: CataloguePort
    resumes: ResumesPort
    limits: Limits
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    probe: Callable[[str], None] = no_probe
