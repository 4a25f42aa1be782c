"""The MCP messages of both eras: what a client's POST is, or why it is refused.

`classify` is a ladder: the first rung that fails wins, and each refusal has the status and the JSON-RPC code that the
official Python server (2.3) gives for the same input, because a dual-era client reads the era from them.

1. Shape. One JSON object that is a request, a notification or (legacy) a response; no member beyond those.
2. Era. `MCP-Protocol-Version` decides: one of the legacy revisions, and anything else is modern. Without the header it
   is a legacy request, unless the body says that it is a modern one, which is then refused.
3. Modern: `_meta` is complete, then header and body agree on version, method and name (-32020), then the version is one
   that exists (-32022). Legacy: headers that are there must not lie.
4. Method. Each revision has an allow-list; unknown is 404 in the modern era and 200 in the legacy one (-32601).
5. Params. The members that policy decides on have the right type; a tool's name has no surprises in it.

Policy is decided on what this module returns and on nothing else; the bytes that are forwarded are those it was read
from, or `encode` of the changed tree.

Source: MCP 2026-07-28, basic/index and Streamable HTTP ("Server Validation"); earlier revisions for the legacy era.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .answers import (
    denied_call,
    filter_list,
    id_of,
    input_request_kinds,
    list_method,
    listed_tools,
    strip_capabilities,
    unknown_name,
    with_extension,
    with_id,
)
from .headers import PARAM_PREFIX, HeaderRefused, decode_value
from .json_strict import JsonRefused, Reserved, encode
from .jsonrpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    RequestId,
)
from .messages import (
    ASSUMED_VERSION,
    BATCH_VERSION,
    CAPABILITIES_KEY,
    LEGACY_VERSIONS,
    MODERN_VERSION,
    SUPPORTED,
    VERSION_KEY,
    Batch,
    Era,
    Kind,
    Notification,
    ProtocolRefused,
    Request,
    Response,
    client_capabilities,
    refusal,
)
from .methods import CLASSES, METHODS, NAME_MEMBERS, SERVER_REQUEST_CAPABILITY, MethodClass, Methods

__all__ = [
    "CLASSES",
    "LEGACY_VERSIONS",
    "METHODS",
    "MODERN_VERSION",
    "SERVER_REQUEST_CAPABILITY",
    "SUPPORTED",
    "Batch",
    "Era",
    "MethodClass",
    "Methods",
    "Notification",
    "ProtocolRefused",
    "Request",
    "Response",
    "classify",
    "client_capabilities",
    "denied_call",
    "encode",
    "filter_list",
    "id_of",
    "input_request_kinds",
    "list_method",
    "listed_tools",
    "param_headers",
    "refusal",
    "strip_capabilities",
    "unknown_name",
    "with_extension",
    "with_id",
]

_VERSION_HEADER: Final = b"mcp-protocol-version"
_METHOD_HEADER: Final = b"mcp-method"
_NAME_HEADER: Final = b"mcp-name"

_MESSAGE: Final = Reserved(frozenset({"jsonrpc", "id", "method", "params", "result", "error"}))
_CALL_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_RESULT_MEMBERS: Final = frozenset({"jsonrpc", "id", "result"})
_ERROR_MEMBERS: Final = frozenset({"jsonrpc", "id", "error"})
_PARAMS: Final = Reserved(
    frozenset(
        {
            "_meta",
            "argument",
            "arguments",
            "capabilities",
            "clientInfo",
            "context",
            "cursor",
            "inputResponses",
            "level",
            "name",
            "notifications",
            "progressToken",
            "protocolVersion",
            "ref",
            "requestId",
            "requestState",
            "task",
            "taskId",
            "uri",
        }
    )
)
_META: Final = Reserved(
    frozenset(
        {
            VERSION_KEY,
            CAPABILITIES_KEY,
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/logLevel",
            "io.modelcontextprotocol/related-task",
            "io.modelcontextprotocol/subscriptionId",
            "progressToken",
        }
    ),
    prefix="io.modelcontextprotocol/",
)
_REF: Final = Reserved(frozenset({"name", "type", "uri"}))

_TOOL_NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")
_ID_CHARACTERS: Final = 128
_LARGEST_ID: Final = 10**_ID_CHARACTERS
_BATCH_ELEMENTS: Final = 50
_NO_PARAMS: Final[dict[str, Any]] = {}


def classify(
    tree: object,
    headers: Mapping[bytes, bytes],
    *,
    negotiated: str | None = None,
    batch_elements: int = _BATCH_ELEMENTS,
) -> Request | Notification | Response | Batch:
    """Return what the body of a POST is.

    Args:
        tree: from `json_strict.loads`.
        headers: from `headers.read`.
        negotiated: the revision of the legacy session that the request belongs to, if it is known. It counts more than
            the header, which some clients never change.
        batch_elements: most messages of a 2025-03-26 array.

    Raises:
        ProtocolRefused: nothing may be forwarded.
    """
    header = headers.get(_VERSION_HEADER)
    version = None if header is None else header.decode("latin-1")
    if isinstance(tree, list):
        return Batch(_batch(tree, headers, version, negotiated, batch_elements))
    if version is None or version in LEGACY_VERSIONS:
        return _legacy(tree, headers, version, negotiated)
    return _modern(tree, headers, version)


def param_headers(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """Return the `Mcp-Param-*` headers as (name without the prefix, lower-case; decoded value).

    Whether they agree with the arguments can only be said with the tool's schema (`x-mcp-header`); whoever holds the
    pinned definition compares them.

    Raises:
        HeaderRefused: a value that is not properly encoded.
    """
    return tuple(
        (name[len(PARAM_PREFIX) :].decode("ascii"), decode_value(value))
        for name, value in headers.items()
        if name.startswith(PARAM_PREFIX)
    )


def _batch(
    elements: list[Any], headers: Mapping[bytes, bytes], version: str | None, negotiated: str | None, most: int
) -> tuple[Request | Notification | Response, ...]:
    """Read an array, all of it or nothing."""
    if negotiated != BATCH_VERSION or version not in (None, BATCH_VERSION):
        raise ProtocolRefused(400, INVALID_REQUEST, "batch_not_negotiated", "Batches are not supported")
    if not 1 <= len(elements) <= most:
        raise ProtocolRefused(400, INVALID_REQUEST, "batch_size", "The batch is empty or too large")
    try:
        items = tuple(_legacy(element, headers, version, negotiated) for element in elements)
    except ProtocolRefused as error:
        # Half a batch is never forwarded, and a batch is never dropped without a word.
        raise ProtocolRefused(400, error.code, error.reason, str(error), id=error.id) from None
    ids = [item.id for item in items if isinstance(item, Request)]
    if len(set(ids)) != len(ids):
        raise ProtocolRefused(400, INVALID_REQUEST, "batch_duplicate_id", "Two requests of the batch have the same id")
    if any(isinstance(item, Request) and item.method == "initialize" for item in items):
        raise ProtocolRefused(400, INVALID_REQUEST, "batch_initialize", "initialize must not be part of a batch")
    return items


def _legacy(
    tree: object, headers: Mapping[bytes, bytes], header: str | None, negotiated: str | None
) -> Request | Notification | Response:
    """Read one message of the session era. Its server answers -32602 to a message of the wrong shape."""
    message, method, id = _shape(tree, INVALID_PARAMS)
    params, meta = _params(message, id, 200)
    if VERSION_KEY in meta and meta[VERSION_KEY] != header:
        raise _mismatch("version_header_mismatch", "MCP-Protocol-Version", id)
    version = _legacy_version(method, params, header, negotiated)
    if method is None:
        return Response(message["id"], "error" in message, Era.LEGACY, version)
    if _METHOD_HEADER in headers and headers[_METHOD_HEADER].decode("latin-1") != method:
        raise _mismatch("method_header_mismatch", "Mcp-Method", id)
    if id is None:
        return _notification(method, params, Era.LEGACY, version)
    if method not in METHODS[version].client_requests:
        raise ProtocolRefused(200, METHOD_NOT_FOUND, "unknown_method", "Method not found", id=id)
    _compare_name(headers, method, params, id, required=False)
    _refuse_stray_name(headers, method, params, id)
    return _request(id, method, params, meta, Era.LEGACY, version)


def _legacy_version(method: str | None, params: dict[str, Any], header: str | None, negotiated: str | None) -> str:
    if negotiated in LEGACY_VERSIONS:
        return negotiated
    if method == "initialize":
        requested = params.get("protocolVersion")
        return requested if requested in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
    return header or ASSUMED_VERSION


def _modern(tree: object, headers: Mapping[bytes, bytes], header: str) -> Request | Notification:
    """Read one self-contained message."""
    message, method, id = _shape(tree, INVALID_REQUEST)
    if method is None:
        raise ProtocolRefused(400, INVALID_REQUEST, "response_not_allowed", "Responses cannot be posted")
    params, meta = _params(message, id, 400)
    if id is None:
        return _modern_notification(method, params, meta, header)
    missing = [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]
    if missing:
        text = f"params._meta is missing the required key(s): {', '.join(missing)}"
        raise ProtocolRefused(400, INVALID_PARAMS, "meta_missing", text, id=id)
    if meta[VERSION_KEY] != header:
        raise _mismatch("version_header_mismatch", "MCP-Protocol-Version", id)
    if _METHOD_HEADER not in headers or headers[_METHOD_HEADER].decode("latin-1") != method:
        raise _mismatch("method_header_mismatch", "Mcp-Method", id)
    is_known = method in METHODS[MODERN_VERSION].client_requests
    if is_known:
        _compare_name(headers, method, params, id, required=True)
    if header != MODERN_VERSION:
        raise _unsupported(header, id)
    _check_param_headers(headers, id)
    if not is_known:
        raise ProtocolRefused(404, METHOD_NOT_FOUND, "unknown_method", "Method not found", id=id)
    _refuse_stray_name(headers, method, params, id)
    if not isinstance(meta[CAPABILITIES_KEY], dict):
        raise _invalid_params(Era.MODERN, id)
    return _request(id, method, params, meta, Era.MODERN, MODERN_VERSION)


def _modern_notification(method: str, params: dict[str, Any], meta: dict[str, Any], header: str) -> Notification:
    """Read a notification; the revision asks for no headers but the version's."""
    if meta.get(VERSION_KEY, header) != header:
        raise _mismatch("version_header_mismatch", "MCP-Protocol-Version", None)
    if header != MODERN_VERSION:
        raise _unsupported(header, None)
    return _notification(method, params, Era.MODERN, MODERN_VERSION)


def _notification(method: str, params: dict[str, Any], era: Era, version: str) -> Notification:
    if method not in METHODS[version].client_notifications:
        # Nobody reads an error about a notification: it is dropped, as the official server does.
        raise ProtocolRefused(202, METHOD_NOT_FOUND, "unknown_notification", "Method not found")
    return Notification(method, params, era, version)


def _shape(tree: object, code: int) -> tuple[dict[str, Any], str | None, RequestId | None]:
    """Return (message, method, id); method is None for a response, id for a notification.

    Args:
        tree: one parsed message.
        code: JSON-RPC code of a wrong shape.
    """
    if not isinstance(tree, dict) or tree.get("jsonrpc") != "2.0":
        raise _malformed(code)
    members = tree.keys()
    if not members <= _CALL_MEMBERS and members not in (_RESULT_MEMBERS, _ERROR_MEMBERS):
        try:
            _MESSAGE.refuse_variants(tree)
        except JsonRefused as error:
            raise ProtocolRefused(400, code, error.code, str(error)) from None
        raise _malformed(code)
    id = None
    if "id" in tree:
        id = tree["id"]
        # bool is an int to Python and to nobody else; 1.0 is an integer to JavaScript only.
        if isinstance(id, str):
            if len(id) > _ID_CHARACTERS:
                raise _malformed(code)
        elif not isinstance(id, int) or isinstance(id, bool) or not -_LARGEST_ID < id < _LARGEST_ID:
            raise _malformed(code)
    if "method" in tree:
        method = tree["method"]
        if not isinstance(method, str):
            raise _malformed(code)
        return tree, method, id
    if id is None or not isinstance(tree.get("result", tree.get("error")), dict):
        raise _malformed(code)
    return tree, None, id


def _params(message: dict[str, Any], id: RequestId | None, status: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (params, params._meta), both without a key that only looks like one of the protocol's."""
    if "params" not in message:
        return _NO_PARAMS, _NO_PARAMS
    params = message["params"]
    if not isinstance(params, dict):
        raise _malformed(INVALID_REQUEST if status == 400 else INVALID_PARAMS)
    meta = params.get("_meta", _NO_PARAMS)
    if not isinstance(meta, dict):
        raise ProtocolRefused(status, INVALID_PARAMS, "meta_invalid", "params._meta must be an object", id=id)
    try:
        _PARAMS.refuse_variants(params)
        _META.refuse_variants(meta)
    except JsonRefused as error:
        raise ProtocolRefused(400, INVALID_REQUEST, error.code, str(error), id=id) from None
    return params, meta


def _compare_name(
    headers: Mapping[bytes, bytes], method: str, params: dict[str, Any], id: RequestId, *, required: bool
) -> None:
    """Refuse an `Mcp-Name` that says something else than the body, and a missing one where it is `required`.

    Where the body does not name what it should, that is the better thing to say, and the params are refused for it.
    """
    member = NAME_MEMBERS.get(method)
    named = None if member is None else params.get(member)
    if named is None:
        return
    header = headers.get(_NAME_HEADER)
    if header is None:
        if required:
            raise _mismatch("name_header_mismatch", "Mcp-Name", id)
        return
    if _decoded(header, id) != named:
        raise _mismatch("name_header_mismatch", "Mcp-Name", id)


def _refuse_stray_name(headers: Mapping[bytes, bytes], method: str, params: dict[str, Any], id: RequestId) -> None:
    """Refuse an `Mcp-Name` for a method that has none; a URI may be repeated all the same."""
    if method in NAME_MEMBERS or _NAME_HEADER not in headers:
        return
    named = params.get("uri") if CLASSES[method] is MethodClass.RESOURCE else None
    if _decoded(headers[_NAME_HEADER], id) != named:
        raise _mismatch("name_header_mismatch", "Mcp-Name", id)


def _decoded(header: bytes, id: RequestId) -> str:
    try:
        return decode_value(header)
    except HeaderRefused as error:
        raise ProtocolRefused(400, HEADER_MISMATCH, error.code, str(error), id=id) from None


def _check_param_headers(headers: Mapping[bytes, bytes], id: RequestId) -> None:
    try:
        param_headers(headers)
    except HeaderRefused as error:
        raise ProtocolRefused(400, HEADER_MISMATCH, error.code, str(error), id=id) from None


def _request(
    id: RequestId, method: str, params: dict[str, Any], meta: dict[str, Any], era: Era, version: str
) -> Request:
    """Find what the request names; the method is known."""
    match CLASSES[method]:
        case MethodClass.TOOL:
            name = _text(params, "name", era, id)
            if not isinstance(params.get("arguments", _NO_PARAMS), dict | None):
                raise _invalid_params(era, id)
            if not _TOOL_NAME.fullmatch(name):
                raise ProtocolRefused(200, INVALID_PARAMS, "unknown_tool", "Unknown tool", id=id)
            return Request(id, method, params, era, version, name, "tool", meta)
        case MethodClass.PROMPT:
            if not isinstance(params.get("arguments", _NO_PARAMS), dict | None):
                raise _invalid_params(era, id)
            return Request(id, method, params, era, version, _text(params, "name", era, id), "prompt", meta)
        case MethodClass.RESOURCE:
            return Request(id, method, params, era, version, _text(params, "uri", era, id), "resource", meta)
        case MethodClass.COMPLETION:
            name, kind = _reference(params, era, id)
            return Request(id, method, params, era, version, name, kind, meta)
        case MethodClass.TASK if method in NAME_MEMBERS:
            task_id = _text(params, "taskId", era, id)
            return Request(id, method, params, era, version, meta=meta, task_id=task_id)
    return Request(id, method, params, era, version, meta=meta)


def _reference(params: dict[str, Any], era: Era, id: RequestId) -> tuple[str, Kind]:
    """Return what a completion is asked for."""
    ref = params.get("ref")
    if not isinstance(ref, dict):
        raise _invalid_params(era, id)
    try:
        _REF.refuse_variants(ref)
    except JsonRefused as error:
        raise ProtocolRefused(400, INVALID_REQUEST, error.code, str(error), id=id) from None
    if ref.get("type") == "ref/prompt":
        return _text(ref, "name", era, id), "prompt"
    if ref.get("type") == "ref/resource":
        return _text(ref, "uri", era, id), "resource"
    raise _invalid_params(era, id)


def _text(members: dict[str, Any], key: str, era: Era, id: RequestId) -> str:
    value = members.get(key)
    if not isinstance(value, str):
        raise _invalid_params(era, id)
    return value


def _malformed(code: int) -> ProtocolRefused:
    text = "Body must be a single JSON-RPC request or notification object"
    return ProtocolRefused(400, code, "message_malformed", text)


def _mismatch(reason: str, header: str, id: RequestId | None) -> ProtocolRefused:
    return ProtocolRefused(400, HEADER_MISMATCH, reason, f"{header} header does not match the request body", id=id)


def _unsupported(requested: str, id: RequestId | None) -> ProtocolRefused:
    data = {"supported": [MODERN_VERSION], "requested": requested}
    text = "Unsupported protocol version"
    return ProtocolRefused(400, UNSUPPORTED_VERSION, "version_unsupported", text, id=id, data=data)


def _invalid_params(era: Era, id: RequestId) -> ProtocolRefused:
    status = 400 if era is Era.MODERN else 200
    return ProtocolRefused(status, INVALID_PARAMS, "params_invalid", "Invalid request parameters", id=id)
