"""JSON-RPC 2.0: the codes we use, answers as bytes, and the cheap reading of one message from an upstream."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from .json_strict import JsonRefused, Limits, Reserved, encode, loads

RequestId: TypeAlias = str | int

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SESSION_NOT_FOUND: Final = -32001
RESOURCE_NOT_FOUND: Final = -32002
"""Legacy revisions only; 2026-07-28 says INVALID_PARAMS for an unknown resource."""
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

# Our own codes lie outside the range that JSON-RPC reserves, as the specification asks (basic/index, "Error Codes").
POLICY_DENIED: Final = 40301
APPROVAL_DENIED: Final = 40302
LIMIT_EXCEEDED: Final = 42901
UPSTREAM_UNAVAILABLE: Final = 50201
RECORD_UNAVAILABLE: Final = 50301
UPSTREAM_TIMEOUT: Final = 50401


def error(id: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """Return an error answer as compact JSON; `data` is left out when it is None."""
    body: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return encode({"jsonrpc": "2.0", "id": id, "error": body})


def result(id: RequestId, result: dict[str, Any]) -> bytes:
    """Return a result answer as compact JSON."""
    return encode({"jsonrpc": "2.0", "id": id, "result": result})


SESSION_NOT_FOUND_BODY: Final = error(None, SESSION_NOT_FOUND, "Session not found")
"""The body of the 404 for a session that ended, never existed or belongs to somebody else."""


class AnswerInvalid(ValueError):
    """A message from an upstream that is not one JSON-RPC message. Never relayed; says nothing of the content."""

    code = "upstream_message_invalid"


Kind: TypeAlias = Literal["result", "error", "request", "notification"]


class Answer(msgspec.Struct, frozen=True):
    """The envelope of one message from an upstream.

    `id` is None for notifications, and for errors whose request could not be read. `body` is the untouched JSON of
    `result`, `error` or `params`; None when a request or notification has no params.
    """

    kind: Kind
    id: RequestId | None
    method: str | None
    body: msgspec.Raw | None


class _Envelope(msgspec.Struct):
    jsonrpc: str
    id: int | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: msgspec.Raw | UnsetType = UNSET
    result: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_RESERVED: Final = Reserved(frozenset({"jsonrpc", "id", "method", "params", "result", "error"}))


def read_answer(data: bytes) -> Answer:
    """Read the envelope of one message from an upstream; what it carries stays as it came.

    Raises:
        AnswerInvalid: not JSON, not exactly one of request, notification, result or error, or a member that two
            parsers could read differently (twice, or in another spelling). A lone surrogate anywhere is not JSON
            either, as in a string that was cut in the middle of an emoji.
    """
    try:
        envelope = _read_envelope(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise AnswerInvalid("not a JSON-RPC message") from None
    if envelope.jsonrpc != "2.0":
        raise AnswerInvalid("not JSON-RPC 2.0")
    answer, compact = _classify(envelope)
    # No spelling of the message is shorter than the compact one, so at that length nothing can be hidden behind it.
    if compact != len(data):
        _refuse_hidden_members(data, answer)
    return answer


def _classify(envelope: _Envelope) -> tuple[Answer, int]:
    """Return the answer and the length of its compact spelling; anything that is two kinds, or none, is invalid."""
    result, error, params, method = envelope.result, envelope.error, envelope.params, envelope.method
    id = None if isinstance(envelope.id, UnsetType) else envelope.id
    # A text that needs escapes is longer than this, which only means a second look.
    size = len(id) + 2 if isinstance(id, str) else len(str(id))
    if isinstance(result, msgspec.Raw):
        if error is not UNSET or params is not UNSET or method is not UNSET or id is None:
            raise AnswerInvalid("neither request nor answer")
        _require_object(result)
        return Answer("result", id, None, result), size + _RESULT_FRAME + len(result)
    size = 0 if envelope.id is UNSET else size + _ID_FRAME
    if isinstance(error, msgspec.Raw):
        if params is not UNSET or method is not UNSET:
            raise AnswerInvalid("neither request nor answer")
        _require_object(error)
        return Answer("error", id, None, error), size + _ERROR_FRAME + len(error)
    if not isinstance(method, str) or (id is None and envelope.id is not UNSET):
        raise AnswerInvalid("neither request nor answer")
    kind: Kind = "notification" if id is None else "request"
    size += _METHOD_FRAME + len(method)
    if not isinstance(params, msgspec.Raw):
        return Answer(kind, id, method, None), size
    _require_object(params)
    return Answer(kind, id, method, params), size + _PARAMS_FRAME + len(params)


def _require_object(body: msgspec.Raw) -> None:
    if memoryview(body)[0] != 0x7B:
        raise AnswerInvalid("a body that is not an object")


# What the compact message weighs besides its values.
_RESULT_FRAME: Final = len('{"jsonrpc":"2.0","id":,"result":}')
_ERROR_FRAME: Final = len('{"jsonrpc":"2.0","error":}')
_METHOD_FRAME: Final = len('{"jsonrpc":"2.0","method":""}')
_ID_FRAME: Final = len(',"id":')
_PARAMS_FRAME: Final = len(',"params":')


def _refuse_hidden_members(data: bytes, answer: Answer) -> None:
    """Refuse a second member of the same name and variants of the protocol's names, without reading the body again."""
    skeleton = data
    if answer.body is not None:
        # Cut the body out wherever these bytes stand last: every other member, and each of its names, is still there.
        start = data.rfind(answer.body)
        skeleton = data[:start] + b"0" + data[start + len(answer.body) :]
    try:
        tree = loads(skeleton, Limits(bytes=len(skeleton)))
        if isinstance(tree, dict):
            _RESERVED.refuse_variants(tree)
    except JsonRefused:
        raise AnswerInvalid("a member can be read in two ways") from None
