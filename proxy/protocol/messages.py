"""What a client's POST can be, as values, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from . import jsonrpc
from .headers import HeaderRefused
from .json_strict import JsonRefused
from .jsonrpc import RequestId
from .methods import CLASSES, MethodClass

MODERN_VERSION: Final = "2026-07-28"
LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
SUPPORTED: Final = (*LEGACY_VERSIONS, MODERN_VERSION)
ASSUMED_VERSION: Final = "2025-03-26"
"""The revision of a legacy request without a version header (Streamable HTTP, "Protocol Version Header")."""
BATCH_VERSION: Final = "2025-03-26"
"""The only revision with JSON-RPC arrays."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"


class Era(StrEnum):
    """Sessions and `initialize` (legacy), or one self-contained request per POST (modern)."""

    LEGACY = "legacy"
    MODERN = "modern"


Kind: TypeAlias = Literal["tool", "prompt", "resource"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that expects an answer.

    `name` is what policy decides on: a tool's or prompt's name or a resource's URI, as `kind` says; both are None for
    methods that name nothing. `params` and `meta` are the parsed tree itself, not copies: do not change them.
    """

    id: RequestId
    method: str
    params: dict[str, Any]
    era: Era
    version: str
    name: str | None = None
    kind: Kind | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    task_id: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of a tools/call or prompts/get; empty when absent or null."""
        return self.params.get("arguments") or {}

    @property
    def method_class(self) -> MethodClass:
        """What policy does with this method."""
        return CLASSES[self.method]


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that expects no answer."""

    method: str
    params: dict[str, Any]
    era: Era
    version: str


@dataclass(frozen=True, slots=True)
class Response:
    """The client's answer to a request of the upstream; legacy only."""

    id: RequestId
    is_error: bool
    era: Era
    version: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Several messages in one POST, in order; 2025-03-26 only. Each one needs its own decision and record."""

    items: tuple[Request | Notification | Response, ...]


class ProtocolRefused(ValueError):
    """A message that is not forwarded, and how to say so.

    Attributes:
        status: HTTP status. 202 means an empty answer: a notification that is dropped.
        code: JSON-RPC error code.
        reason: stable code for records and metrics.
        id: id of the request, None when it could not be read.
        data: the error's `data`, or None.
    """

    def __init__(
        self,
        status: int,
        code: int,
        reason: str,
        message: str = "Invalid request",
        *,
        id: RequestId | None = None,
        data: object = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason
        self.id = id
        self.data = data

    @property
    def body(self) -> bytes:
        """The JSON-RPC error, empty for a dropped notification."""
        return b"" if self.status == 202 else jsonrpc.error(self.id, self.code, str(self), self.data)


def refusal(error: JsonRefused | HeaderRefused) -> ProtocolRefused:
    """Return the refusal of a request whose body or headers could not be read."""
    if isinstance(error, HeaderRefused):
        return ProtocolRefused(error.status, error.rpc_code, error.code, str(error))
    return ProtocolRefused(400, jsonrpc.PARSE_ERROR, error.code, str(error))


def client_capabilities(request: Request) -> Mapping[str, Any]:
    """Return what the client says it can do: in `_meta` (modern), on `initialize` (legacy), else nothing."""
    if request.era is Era.MODERN:
        capabilities = request.meta.get(CAPABILITIES_KEY)
    else:
        capabilities = request.params.get("capabilities") if request.method == "initialize" else None
    return capabilities if isinstance(capabilities, dict) else {}
