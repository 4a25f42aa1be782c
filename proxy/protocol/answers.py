"""Answers that the gateway makes itself, and the few rewritings of what others said.

Rewriting keeps every byte it has no business with: members that are not looked at stay raw, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from . import jsonrpc
from .json_strict import JsonRefused, Limits, Reserved, fold, loads
from .jsonrpc import AnswerInvalid
from .messages import CAPABILITIES_KEY, Era, Request
from .methods import MethodClass

_LONGEST_TTL_MS: Final = 60_000
"""Milliseconds a client may keep a list that was filtered for it: a grant that ends is gone by then."""


def denied_call(request: Request, text: str, *, meta: Mapping[str, Any]) -> bytes:
    """Return the denial of a request by policy, to be sent with HTTP 200.

    A tool call gets a result with `isError` that a model can read, because clients drop their whole session on an HTTP
    error; everything else gets our own JSON-RPC code.

    Args:
        request: what is denied.
        text: says that it is denied, by which rule and what to do; no pattern, no secret.
        meta: keys under our own prefix, such as the id of the decision.
    """
    if request.method != "tools/call":
        return jsonrpc.error(request.id, jsonrpc.POLICY_DENIED, text, dict(meta) or None)
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    if meta:
        result["_meta"] = dict(meta)
    if request.era is Era.MODERN:
        result["resultType"] = "complete"
    return jsonrpc.result(request.id, result)


_UNKNOWN: Final[Mapping[str | None, str]] = MappingProxyType(
    {"tool": "Unknown tool", "prompt": "Unknown prompt", "resource": "Resource not found", None: "Invalid params"}
)


def unknown_name(request: Request) -> bytes:
    """Return the answer for something that is hidden from the caller: the same as if it did not exist.

    Source: MCP server/resources, "Error Handling": -32602 since 2026-07-28, -32002 before.
    """
    code = jsonrpc.INVALID_PARAMS
    if request.method_class is MethodClass.RESOURCE and request.era is Era.LEGACY:
        code = jsonrpc.RESOURCE_NOT_FOUND
    return jsonrpc.error(request.id, code, _UNKNOWN[request.kind])


# Method of a list -> (member of the result that holds the entries, member of an entry that policy decides on).
_LISTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "prompts/list": ("prompts", "name"),
        "resources/list": ("resources", "uri"),
        "resources/templates/list": ("resourceTemplates", "uriTemplate"),
        "tools/list": ("tools", "name"),
    }
)
_Members = dict[str, msgspec.Raw]
_read_members = msgspec.json.Decoder(_Members).decode
_read_entries = msgspec.json.Decoder(list[_Members]).decode
_read_raw_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_definition = msgspec.json.Decoder(dict[str, Any]).decode
_read_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_MESSAGE: Final = Reserved(frozenset({"jsonrpc", "id", "method", "params", "result", "error"}))
_RESULTS: Final = {
    method: Reserved(frozenset({entries, "nextCursor", "resultType", "cacheScope", "ttlMs"}))
    for method, (entries, _) in _LISTS.items()
}
_ENTRIES: Final = {method: Reserved(frozenset({key})) for method, (_, key) in _LISTS.items()}


def filter_list(data: bytes, method: str, keep: Callable[[str], bool], *, era: Era) -> tuple[bytes, int]:
    """Drop the entries of a list result that the caller may not see.

    The message, the result and every entry are always written anew, so that nothing can hide behind a second member of
    the same name. An entry without a readable name is dropped. The cursor stays, on an emptied page too. In the modern
    era the result becomes private to the caller and short-lived.

    Args:
        data: one answer of the upstream; an error passes unchanged.
        method: one of the four list methods.
        keep: says whether the caller may see this name (tools, prompts), URI or URI template.
        era: of the request.

    Returns:
        The message and the number of entries dropped.

    Raises:
        AnswerInvalid: not a list result.
    """
    entries_key, name_key = _LISTS[method]
    try:
        message = _read_members(data)
        _MESSAGE.refuse_variants(message)
        if "result" not in message:
            if "error" not in message:
                raise AnswerInvalid("neither result nor error")
            return _encode(message), 0
        result = _read_members(message["result"])
        _RESULTS[method].refuse_variants(result)
        if entries_key in result:
            entries = _read_entries(result[entries_key])
        elif "resultType" in result and _read_text(result["resultType"]) != "complete":
            return _encode(message | {"result": result}), 0
        else:
            raise AnswerInvalid("a list result without its list")
    except (msgspec.MsgspecError, RecursionError, JsonRefused, UnicodeDecodeError):
        raise AnswerInvalid("not a list result") from None
    reserved = _ENTRIES[method]
    kept = [entry for entry in entries if _is_kept(entry, name_key, reserved, keep)]
    changed: dict[str, Any] = {**message, "result": {**result, entries_key: kept}}
    if era is Era.MODERN:
        _make_private(changed["result"])
    return _encode(changed), len(entries) - len(kept)


_LIST_MEMBERS: Final = {fold(entries): method for method, (entries, _) in _LISTS.items()}


def with_id(data: bytes, id: str | int | None) -> bytes:
    """Return an answer with another id, for a call that ran in the words of an earlier, equal one.

    Raises:
        AnswerInvalid: it is no object.
    """
    try:
        message = _read_members(data)
        _MESSAGE.refuse_variants(message)
    except (msgspec.MsgspecError, RecursionError, JsonRefused, UnicodeDecodeError):
        raise AnswerInvalid("not a message") from None
    return _encode({**message, "id": id})


def with_extension(data: bytes, name: str) -> bytes:
    """Return an answer to server/discover that offers one extension more; an error passes unchanged.

    Raises:
        AnswerInvalid: it is no answer to it.
    """
    try:
        message = _read_members(data)
        _MESSAGE.refuse_variants(message)
        if "result" not in message:
            return data
        result = _read_members(message["result"])
        capabilities: dict[str, Any] = msgspec.json.decode(result.get("capabilities", b"{}"), type=dict[str, Any])
        given = capabilities.get("extensions")
        offered: dict[str, Any] = {name: {}}
        if isinstance(given, dict):
            offered.update(given)
    except (msgspec.MsgspecError, RecursionError, JsonRefused, UnicodeDecodeError):
        raise AnswerInvalid("not an answer to server/discover") from None
    changed: dict[str, Any] = {**result, "capabilities": {**capabilities, "extensions": offered}}
    return _encode({**message, "result": changed})


def id_of(data: bytes) -> str | int | None:
    """Return the id of a message that was read strictly before."""
    found: dict[str, Any] = msgspec.json.decode(data)
    value = found.get("id")
    return value if isinstance(value, str | int) else None


def list_method(data: bytes) -> str | None:
    """Return the list method whose result `data` looks like, None when it is none.

    On a stream that a client resumes, a result comes without its request, so that only its members tell what it is.

    Raises:
        AnswerInvalid: it could be two of them, or cannot be read.
    """
    try:
        message = _read_members(data)
        members = _read_members(message["result"]) if "result" in message else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise AnswerInvalid("not a result") from None
    found = {_LIST_MEMBERS[folded] for name in members if (folded := fold(name)) in _LIST_MEMBERS}
    if len(found) > 1:
        raise AnswerInvalid("several lists in one result")
    return next(iter(found), None)


def listed_tools(data: bytes) -> dict[str, tuple[bytes, dict[str, Any]]] | None:
    """Return the tools that an answer to tools/list defines, by name: the bytes of each, and what they say.

    A name that stands twice is left out altogether, since nobody can tell which of the two a call would reach; so is
    what has no readable name.

    Returns:
        None when the message is no result with a list.

    Raises:
        AnswerInvalid: it is not JSON that can be read in one way.
    """
    try:
        message = _read_members(data)
        result = _read_members(message["result"]) if "result" in message else {}
        if "tools" not in result:
            return None
        entries = _read_raw_entries(result["tools"])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise AnswerInvalid("not a list result") from None
    found: dict[str, tuple[bytes, dict[str, Any]]] = {}
    twice: set[str] = set()
    for raw in entries:
        try:
            definition = _read_definition(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            continue
        name = definition.get("name")
        if not isinstance(name, str):
            continue
        if name in found:
            twice.add(name)
        found[name] = (bytes(raw), definition)
    return {name: entry for name, entry in found.items() if name not in twice}


def _is_kept(entry: _Members, key: str, reserved: Reserved, keep: Callable[[str], bool]) -> bool:
    """Tell whether an entry is shown; one whose name two clients could read differently is not."""
    try:
        reserved.refuse_variants(entry)
        name = _read_text(entry[key])
    except (KeyError, msgspec.MsgspecError, JsonRefused, UnicodeDecodeError):
        return False
    return keep(name)


def _make_private(result: dict[str, Any]) -> None:
    """Forbid sharing a filtered list between callers, and cap how long it is fresh (2026-07-28, "Caching")."""
    result["cacheScope"] = "private"
    if "ttlMs" in result:
        try:
            lifetime = msgspec.json.decode(result["ttlMs"], type=int)
        except (msgspec.MsgspecError, ValueError):
            lifetime = -1
        if not 0 <= lifetime <= _LONGEST_TTL_MS:
            result["ttlMs"] = _LONGEST_TTL_MS if lifetime > 0 else 0


def strip_capabilities(tree: dict[str, Any], forbidden: frozenset[str]) -> dict[str, Any] | None:
    """Return a copy of a request without the client capabilities that policy forbids; None if nothing changes.

    Looks at `params.capabilities` of an initialize request and at the client capabilities in `_meta` of any request. A
    spelling that a lenient reader takes for a forbidden one goes too.
    """
    params = tree.get("params")
    if not isinstance(params, dict) or not forbidden:
        return None
    changes: dict[str, Any] = {}
    if tree.get("method") == "initialize" and (left := _without(params.get("capabilities"), forbidden)) is not None:
        changes["capabilities"] = left
    meta = params.get("_meta")
    if isinstance(meta, dict) and (left := _without(meta.get(CAPABILITIES_KEY), forbidden)) is not None:
        changes["_meta"] = meta | {CAPABILITIES_KEY: left}
    return tree | {"params": params | changes} if changes else None


def _without(capabilities: object, forbidden: frozenset[str]) -> dict[str, Any] | None:
    if not isinstance(capabilities, dict):
        return None
    folded = frozenset(map(fold, forbidden))
    left = {key: value for key, value in capabilities.items() if fold(key) not in folded}
    return left if len(left) < len(capabilities) else None


_INPUT_REQUESTS: Final = Reserved(frozenset({"inputRequests"}))


def input_request_kinds(data: bytes) -> frozenset[str]:
    """Return the methods that a message of the upstream asks of the client in `inputRequests`; mostly none.

    Finds them in the result itself (an InputRequiredResult, or a task that waits for input), in `result.task` and in
    the params of a task notification.

    Raises:
        AnswerInvalid: input is asked for in a way that can be read in two ways, or not at all.

    Source: MCP 2026-07-28, "Multi Round-Trip Requests"; SEP-2663.
    """
    # A key can be spelt with escapes, so only a message without any is settled by this look.
    if b"nputRequests" not in data and b"\\u" not in data:
        return frozenset()
    try:
        message = _read_members(data)
        found = [kind for holder in ("result", "params") for kind in _kinds(message.get(holder), "task")]
    except (msgspec.MsgspecError, RecursionError, JsonRefused, UnicodeDecodeError):
        raise AnswerInvalid("input is asked for in an unreadable way") from None
    return frozenset(found)


def _kinds(holder: msgspec.Raw | None, nested: str = "") -> list[str]:
    """Read the methods of the `inputRequests` map of an object, and of the object in its member `nested`."""
    if holder is None or bytes(memoryview(holder)[:1]) != b"{":
        return []
    members = _read_members(holder)
    _INPUT_REQUESTS.refuse_variants(members)
    found = _kinds(members.get(nested)) if nested else []
    if "inputRequests" in members:
        # Each of them is a decision, so from here on the reading is strict: no second map of the same name.
        raw = bytes(holder)
        tree = loads(raw, Limits(bytes=len(raw)))
        requests = tree.get("inputRequests") if isinstance(tree, dict) else None
        if requests is not None and not isinstance(requests, dict):
            raise AnswerInvalid("input requests that are not an object")
        for request in (requests or {}).values():
            method = request.get("method") if isinstance(request, dict) else None
            if not isinstance(method, str):
                raise AnswerInvalid("an input request without a method")
            found.append(method)
    return found
