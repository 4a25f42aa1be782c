import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, InboundLadderRejection, classify_inbound_request
from mcp_types.jsonrpc import JSONRPCRequest, jsonrpc_message_adapter
from pydantic import ValidationError

from proxy.protocol import headers as wire
from proxy.protocol.json_strict import JsonRefused, loads
from proxy.protocol.mcp import (
    LEGACY_VERSIONS,
    METHODS,
    MODERN_VERSION,
    Batch,
    Era,
    Notification,
    ProtocolRefused,
    Request,
    Response,
    classify,
    param_headers,
)

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
MODERN_METHODS = METHODS[MODERN_VERSION].client_requests
ABSENT: Any = object()


def call(method="tools/call", params=None, id: Any = 1, **members):
    """A legacy request."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params, **members}
    return {
        key: value for key, value in message.items() if value is not ABSENT and (key != "params" or params is not None)
    }


def modern(method="tools/call", params=None, *, meta=None, id: Any = 1):
    """A modern request with everything it needs."""
    envelope = {VERSION: MODERN_VERSION, CAPABILITIES: {}} | (meta or {})
    envelope = {key: value for key, value in envelope.items() if value is not ABSENT}
    return call(method, {**(params or {}), "_meta": envelope}, id=id)


def modern_headers(method="tools/call", name=ABSENT, **other):
    headers = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": method, "mcp-name": name, **other}
    return {
        key.replace("_", "-").encode(): value.encode("latin-1") for key, value in headers.items() if value is not ABSENT
    }


LEGACY_HEADERS = {b"mcp-protocol-version": b"2025-11-25"}


def refusal_of(tree, headers=LEGACY_HEADERS, **kwargs):
    with pytest.raises(ProtocolRefused) as refused:
        classify(tree, headers, **kwargs)
    return refused.value


def verdict_of(tree, headers=LEGACY_HEADERS, **kwargs):
    refused = refusal_of(tree, headers, **kwargs)
    return refused.status, refused.code, refused.reason


# Shape.

MALFORMED = [
    None,
    True,
    1,
    "text",
    {},
    call(jsonrpc="1.0"),
    call(jsonrpc=2.0),
    call(jsonrpc="2.0 "),
    call(jsonrpc=ABSENT),
    call(id=None),
    call(id=True),
    call(id=1.0),
    call(id=[1]),
    call(id={}),
    call(id="i" * 129),
    call(id=10**128),
    call(id=-(10**128)),
    call(method=None),
    call(method=1),
    call(method=["tools/call"]),
    call(params=[]),
    call(params="x"),
    {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": None},
    call(result={}),
    call(error={}),
    call(extra=1),
    call("ping", **{"auth": "x"}),
    {"jsonrpc": "2.0", "id": 1},
    {"jsonrpc": "2.0", "id": 1, "params": {}},
    {"jsonrpc": "2.0", "params": {}},
    {"jsonrpc": "2.0", "result": {}},
    {"jsonrpc": "2.0", "id": None, "result": {}},
    {"jsonrpc": "2.0", "id": 1, "result": None},
    {"jsonrpc": "2.0", "id": 1, "result": []},
    {"jsonrpc": "2.0", "id": 1, "error": "x"},
    {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
    {"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}},
]


@pytest.mark.parametrize("tree", MALFORMED, ids=repr)
def test_a_message_of_the_wrong_shape_is_refused_in_both_eras(tree):
    assert verdict_of(tree) == (400, -32602, "message_malformed")
    assert verdict_of(tree, modern_headers()) == (400, -32600, "message_malformed")


@pytest.mark.parametrize("key", ["ID", "Method", "PARAMS", "methoD", "paramſ", "jsonRPC", "Result", "meth\0od", "ｉｄ"])
def test_a_variant_of_a_protocol_key_at_message_level_is_refused_with_its_own_reason(key):
    assert refusal_of(call("ping", **{key: 1})).reason == "json_reserved_key_variant"


@pytest.mark.parametrize("id", [0, -1, 2**53 + 1, 10**128 - 1, "", "1", "i" * 128, "é"])
def test_ids_keep_their_type_and_value(id):
    request = classify(call("ping", id=id), LEGACY_HEADERS)
    assert isinstance(request, Request)
    assert request.id == id and type(request.id) is type(id)


@pytest.mark.parametrize(
    "key",
    ["Name", "NAME", "nameſ".replace("ſ", "\u200b"), "Arguments", "argumentſ", "URI", "tas\u212a", "Cursor", "_Meta",
     "_META", "RequestState", "inputresponses", "TaskId", "progresstoken", "ProtocolVersion", "ｎａｍｅ"],
)  # fmt: skip
def test_a_variant_of_a_protocol_key_in_the_params_is_refused(key):
    verdict = verdict_of(call(params={"name": "a", key: "b"}))
    assert verdict == (400, -32600, "json_reserved_key_variant")


@pytest.mark.parametrize(
    "key", ["ProgressToken", "PROGRESSTOKEN", VERSION.upper(), CAPABILITIES.lower(), "IO.modelcontextprotocol/x"]
)
def test_a_variant_of_a_protocol_key_in_the_meta_is_refused(key):
    assert refusal_of(call(params={"name": "a", "_meta": {key: 1}})).reason == "json_reserved_key_variant"
    assert refusal_of(modern(meta={key: 1}), modern_headers()).reason == "json_reserved_key_variant"


def test_a_variant_in_a_reference_is_refused():
    ref = {"type": "ref/prompt", "name": "a", "Name": "b"}
    assert refusal_of(call("completion/complete", {"ref": ref})).reason == "json_reserved_key_variant"


def test_arguments_and_foreign_meta_may_have_any_keys():
    params = {
        "name": "a",
        "arguments": {"Name": 1, "METHOD": 2, "params": 3, "ID": 4},
        "_meta": {"com.example/x": 1, "traceparent": "x", "io.modelcontextprotocol/new": 1},
        "futureMember": {"Name": 1},
    }
    request = classify(call(params=params), LEGACY_HEADERS)
    assert isinstance(request, Request)
    assert request.params is params and request.arguments == params["arguments"]


# Names.


@pytest.mark.parametrize(
    ("method", "params", "name", "kind", "task_id"),
    [
        ("tools/call", {"name": "get_order", "arguments": {"id": 1}}, "get_order", "tool", None),
        ("tools/call", {"name": "a.b/c-d_E9"}, "a.b/c-d_E9", "tool", None),
        ("tools/call", {"name": "n" * 128, "arguments": None}, "n" * 128, "tool", None),
        ("prompts/get", {"name": "Ein Prompt, 名前"}, "Ein Prompt, 名前", "prompt", None),
        ("resources/read", {"uri": "file:///a b"}, "file:///a b", "resource", None),
        ("resources/subscribe", {"uri": "x:1"}, "x:1", "resource", None),
        ("resources/unsubscribe", {"uri": "x:1"}, "x:1", "resource", None),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p", "uri": "u"}}, "p", "prompt", None),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "u{x}"}}, "u{x}", "resource", None),
        ("tasks/get", {"taskId": "t1"}, None, None, "t1"),
        ("tasks/result", {"taskId": "t1"}, None, None, "t1"),
        ("tasks/cancel", {"taskId": "t1"}, None, None, "t1"),
        ("tasks/list", {"cursor": "c"}, None, None, None),
        ("tools/list", {}, None, None, None),
        ("ping", None, None, None, None),
        ("logging/setLevel", {"level": "info"}, None, None, None),
    ],
)
def test_what_policy_decides_on_is_read_from_the_body(method, params, name, kind, task_id):
    request = classify(call(method, params), LEGACY_HEADERS)
    assert isinstance(request, Request)
    assert (request.method, request.name, request.kind, request.task_id) == (method, name, kind, task_id)
    assert (request.era, request.version) == (Era.LEGACY, "2025-11-25")


BAD_TOOL_NAMES = [
    "", "n" * 129, "a b", "a\n", "a\0", "ａ", "get_order ", " get_order", "gеt_order", "get\u200b_order",
    "get_order\u202e", "a%2fb", "a,b", "a:b", "a\\b", "a\tb", "a\x1b[0m", "café", "a;b",
    "a'b", 'a"b', "a<b", "a@b", "a#b", "a?b", "a+b", "a=b",
    "٣",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_TOOL_NAMES)
def test_a_tool_name_with_a_surprise_in_it_is_an_unknown_tool(name):
    refused = refusal_of(call(params={"name": name}))
    assert (refused.status, refused.code, refused.reason) == (200, -32602, "unknown_tool")
    assert str(refused) == "Unknown tool" and refused.id == 1
    encoded = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
    assert verdict_of(modern(params={"name": name}), modern_headers(name=encoded)) == (200, -32602, "unknown_tool")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", None),
        ("tools/call", {}),
        ("tools/call", {"name": None}),
        ("tools/call", {"name": 1}),
        ("tools/call", {"name": ["a"]}),
        ("tools/call", {"name": "a", "arguments": []}),
        ("tools/call", {"name": "a", "arguments": "{}"}),
        ("prompts/get", {"name": {}}),
        ("prompts/get", {"name": "a", "arguments": [1]}),
        ("resources/read", {"name": "a"}),
        ("resources/read", {"uri": 1}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": "ref/prompt"}),
        ("completion/complete", {"ref": {"type": "ref/tool", "name": "a"}}),
        ("completion/complete", {"ref": {"name": "a"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "uri": "a"}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": None}}),
        ("tasks/get", {"taskId": 1}),
        ("tasks/get", {}),
    ],
)
def test_a_request_that_does_not_say_what_it_names_is_refused(method, params):
    assert verdict_of(call(method, params)) == (200, -32602, "params_invalid")
    named = next((v for v in (params or {}).values() if isinstance(v, str)), ABSENT)
    name = named if method in ("tools/call", "prompts/get") else ABSENT
    assert verdict_of(modern(method, params), modern_headers(method, name))[:2] in [(400, -32602), (400, -32020)]


@pytest.mark.parametrize("meta", [None, [], "x", 1])
def test_meta_has_to_be_an_object(meta):
    assert verdict_of(call(params={"name": "a", "_meta": meta})) == (200, -32602, "meta_invalid")
    assert verdict_of(call(params={"name": "a", "_meta": meta}), modern_headers()) == (400, -32602, "meta_invalid")


# Eras and versions.


@pytest.mark.parametrize("header", LEGACY_VERSIONS)
def test_a_legacy_header_makes_a_legacy_request_of_that_version(header):
    request = classify(call("ping"), {b"mcp-protocol-version": header.encode()})
    assert isinstance(request, Request)
    assert (request.era, request.version) == (Era.LEGACY, header)


def test_without_a_header_it_is_the_version_that_had_none():
    request = classify(call("ping"), {})
    assert isinstance(request, Request)
    assert request.version == "2025-03-26"


def test_what_the_session_negotiated_counts_more_than_the_header():
    request = classify(call("tasks/list"), {b"mcp-protocol-version": b"2024-11-05"}, negotiated="2025-11-25")
    assert isinstance(request, Request)
    assert request.version == "2025-11-25"


@pytest.mark.parametrize(
    ("requested", "version"),
    [
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        (7, "2025-11-25"),
        ([], "2025-11-25"),
    ],
)
def test_initialize_has_the_version_it_asks_for_or_the_newest(requested, version):
    request = classify(call("initialize", {"protocolVersion": requested, "capabilities": {}}), {})
    assert isinstance(request, Request)
    assert (request.method, request.version) == ("initialize", version)


def test_a_complete_modern_request_is_read():
    request = classify(modern(params={"name": "get_order"}), modern_headers(name="get_order"))
    assert isinstance(request, Request)
    assert (request.era, request.version, request.name) == (Era.MODERN, MODERN_VERSION, "get_order")
    assert request.meta == {VERSION: MODERN_VERSION, CAPABILITIES: {}}


def test_a_modern_body_without_its_header_or_under_a_legacy_one_is_refused():
    for headers in ({}, LEGACY_HEADERS, {b"mcp-method": b"tools/call"}):
        refused = refusal_of(modern(params={"name": "a"}), headers)
        assert (refused.status, refused.code, refused.id) == (400, -32020, 1)
        assert refusal_of(modern("notifications/cancelled", id=ABSENT), headers).code == -32020


def test_a_legacy_body_under_a_modern_header_lacks_its_meta():
    assert verdict_of(call("tools/list", {}), modern_headers("tools/list")) == (400, -32602, "meta_missing")
    assert verdict_of(call("initialize", {"protocolVersion": "2025-11-25"}), modern_headers("initialize"))[1] == -32602


@pytest.mark.parametrize("version", ["1900-01-01", "2026-07-29", "9999-99-99", "", "latest"])
def test_a_version_that_does_not_exist_is_answered_with_those_that_do(version):
    refused = refusal_of(
        modern("tools/list", meta={VERSION: version}),
        modern_headers("tools/list") | {b"mcp-protocol-version": version.encode()},
    )
    assert (refused.status, refused.code, refused.id) == (400, -32022, 1)
    assert refused.data == {"supported": [MODERN_VERSION], "requested": version}


@pytest.mark.parametrize("missing", [VERSION, CAPABILITIES])
def test_a_modern_request_needs_its_envelope(missing):
    refused = refusal_of(modern("tools/list", meta={missing: ABSENT}), modern_headers("tools/list"))
    assert (refused.status, refused.code) == (400, -32602)
    assert missing in str(refused)


def test_capabilities_have_to_be_an_object():
    assert verdict_of(modern("tools/list", meta={CAPABILITIES: []}), modern_headers("tools/list")) == (
        400,
        -32602,
        "params_invalid",
    )


# Headers against body.

NAMED = [
    ("tools/call", {"name": "get_order"}, "get_order"),
    ("prompts/get", {"name": "Prüfung"}, "Prüfung"),
    ("resources/read", {"uri": "file:///a b"}, "file:///a b"),
    ("tasks/get", {"taskId": "t-1"}, "t-1"),
    ("tasks/update", {"taskId": "t-1"}, "t-1"),
    ("tasks/cancel", {"taskId": "t-1"}, "t-1"),
]


@pytest.mark.parametrize(("method", "params", "name"), NAMED)
def test_a_routing_name_is_required_and_has_to_agree(method, params, name):
    encoded = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
    assert isinstance(classify(modern(method, params), modern_headers(method, encoded)), Request)
    assert verdict_of(modern(method, params), modern_headers(method)) == (400, -32020, "name_header_mismatch")
    for lie in ("other", name.upper() + "X", name + "x", "", f"=?base64?{base64.b64encode(b'other').decode()}?="):
        assert verdict_of(modern(method, params), modern_headers(method, lie)) == (400, -32020, "name_header_mismatch")
    assert refusal_of(modern(method, params), modern_headers(method, "=?base64?%%?=")).code == -32020


@pytest.mark.parametrize("lie", [ABSENT, "", "tools/list", "TOOLS/CALL", "tools/call ", "=?base64?dG9vbHMvY2FsbA==?="])
def test_a_routing_method_is_required_and_has_to_agree(lie):
    headers = modern_headers(lie, name="a")
    assert verdict_of(modern(params={"name": "a"}), headers) == (400, -32020, "method_header_mismatch")


def test_a_legacy_request_may_not_lie_either():
    body = call(params={"name": "a"})
    assert isinstance(classify(body, LEGACY_HEADERS), Request)
    assert isinstance(classify(body, LEGACY_HEADERS | {b"mcp-method": b"tools/call", b"mcp-name": b"a"}), Request)
    assert verdict_of(body, LEGACY_HEADERS | {b"mcp-name": b"b"}) == (400, -32020, "name_header_mismatch")
    assert verdict_of(body, LEGACY_HEADERS | {b"mcp-method": b"ping"}) == (400, -32020, "method_header_mismatch")
    assert verdict_of(call("notifications/initialized", id=ABSENT), LEGACY_HEADERS | {b"mcp-method": b"x"})[1] == -32020


def test_a_routing_name_for_a_method_without_a_name_is_a_lie():
    assert refusal_of(modern("tools/list"), modern_headers("tools/list", "a")).code == -32020
    assert refusal_of(call("ping"), LEGACY_HEADERS | {b"mcp-name": b"a"}).code == -32020
    body = call("resources/subscribe", {"uri": "x:1"})
    assert isinstance(classify(body, LEGACY_HEADERS | {b"mcp-name": b"x:1"}), Request)


def test_param_headers_are_decoded_and_a_broken_one_is_refused():
    headers = modern_headers(name="a", mcp_param_region="eu", mcp_param_text="=?base64?SGVsbG8=?=")
    assert isinstance(classify(modern(params={"name": "a"}), headers), Request)
    assert param_headers(headers) == (("region", "eu"), ("text", "Hello"))
    headers[b"mcp-param-text"] = b"=?base64?SGVsbG8?="
    assert verdict_of(modern(params={"name": "a"}), headers) == (400, -32020, "header_encoding_invalid")


# Methods.


@pytest.mark.parametrize(
    "method", ["tools/Call", "tools/call ", "TOOLS/CALL", "x", "", "rpc.discover", "tools\\call", "tools//call"]
)
def test_an_unknown_method_is_refused_with_the_status_of_its_era(method):
    assert verdict_of(call(method, {})) == (200, -32601, "unknown_method")
    assert verdict_of(modern(method), modern_headers(method)) == (404, -32601, "unknown_method")


@pytest.mark.parametrize("version", METHODS)
def test_each_version_knows_its_own_methods_and_no_others(version):
    every = {method for table in METHODS.values() for method in table.client_requests}
    params = {"name": "a", "uri": "u", "taskId": "t", "ref": {"type": "ref/prompt", "name": "a"}}
    for method in every:
        known = method in METHODS[version].client_requests
        if version == MODERN_VERSION:
            named = {"resources/read": "u", "tools/call": "a", "prompts/get": "a"}.get(method, ABSENT)
            name = "t" if method.startswith("tasks/") else named
            tree, headers = modern(method, params), modern_headers(method, name)
        else:
            tree, headers = call(method, params), {b"mcp-protocol-version": version.encode()}
        if known:
            assert isinstance(classify(tree, headers), Request)
        else:
            assert refusal_of(tree, headers).code == -32601


def test_a_server_method_is_not_one_for_clients():
    for method in ("sampling/createMessage", "elicitation/create", "roots/list"):
        assert refusal_of(call(method, {})).code == -32601


def test_notifications_are_read_and_unknown_ones_dropped():
    notification = classify(call("notifications/cancelled", {"requestId": 1}, id=ABSENT), LEGACY_HEADERS)
    assert notification == Notification("notifications/cancelled", {"requestId": 1}, Era.LEGACY, "2025-11-25")
    assert isinstance(classify(call("notifications/cancelled", id=ABSENT), modern_headers(ABSENT)), Notification)
    for method in ("notifications/x", "tools/call", "notifications/message", ""):
        assert verdict_of(call(method, {}, id=ABSENT)) == (202, -32601, "unknown_notification")
    assert verdict_of(call("notifications/initialized", id=ABSENT), modern_headers())[0] == 202
    assert refusal_of(call("notifications/cancelled", id=ABSENT), {b"mcp-protocol-version": b"1"}).code == -32022


def test_an_answer_may_be_posted_in_the_legacy_era_only():
    answer = {"jsonrpc": "2.0", "id": "s1", "result": {}}
    assert classify(answer, LEGACY_HEADERS) == Response("s1", False, Era.LEGACY, "2025-11-25")
    assert classify({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}, {}) == Response(
        1, True, Era.LEGACY, "2025-03-26"
    )
    assert verdict_of(answer, modern_headers()) == (400, -32600, "response_not_allowed")


# Batches.


def test_a_batch_is_read_where_it_was_negotiated():
    trees = [call("ping"), call("notifications/initialized", id=ABSENT), {"jsonrpc": "2.0", "id": 1, "result": {}}]
    batch = classify(trees, {}, negotiated="2025-03-26")
    assert isinstance(batch, Batch)
    assert [type(item) for item in batch.items] == [Request, Notification, Response]


@pytest.mark.parametrize(
    "negotiated", [None, *(version for version in LEGACY_VERSIONS if version != "2025-03-26"), MODERN_VERSION]
)
@pytest.mark.parametrize("headers", [{}, LEGACY_HEADERS, {b"mcp-protocol-version": b"2025-03-26"}, modern_headers()])
def test_a_batch_is_refused_everywhere_else(negotiated, headers):
    assert verdict_of([call("ping")], headers, negotiated=negotiated) == (400, -32600, "batch_not_negotiated")


@pytest.mark.parametrize("headers", [LEGACY_HEADERS, modern_headers()])
def test_a_batch_under_another_header_is_refused(headers):
    assert refusal_of([call("ping")], headers, negotiated="2025-03-26").reason == "batch_not_negotiated"


@pytest.mark.parametrize(
    ("trees", "reason"),
    [
        ([], "batch_size"),
        ([call("ping", id=n) for n in range(51)], "batch_size"),
        ([call("ping"), call("tools/list")], "batch_duplicate_id"),
        ([call("initialize", {"protocolVersion": "2025-03-26"})], "batch_initialize"),
        ([call("ping"), 1], "message_malformed"),
        ([[call("ping")]], "message_malformed"),
        ([call("ping"), call("nope", id=2)], "unknown_method"),
        ([call("ping"), call("notifications/nope", id=ABSENT)], "unknown_notification"),
        ([call("ping"), call(params={"name": "a b"}, id=2)], "unknown_tool"),
        ([call("ping"), modern("tools/list", id=2)], "version_header_mismatch"),
    ],
)
def test_one_bad_element_refuses_the_whole_batch_aloud(trees, reason):
    refused = refusal_of(trees, {}, negotiated="2025-03-26")
    assert (refused.status, refused.reason) == (400, reason)


def test_the_size_of_a_batch_is_exact():
    trees = [call("ping", id=n) for n in range(50)]
    batch = classify(trees, {}, negotiated="2025-03-26")
    assert isinstance(batch, Batch) and len(batch.items) == 50
    assert refusal_of(trees, {}, negotiated="2025-03-26", batch_elements=49).reason == "batch_size"


# The official server as an oracle.

NAMES = st.sampled_from([ABSENT, "a", "b", "", "=?base64?YQ==?=", "=?base64?YQ?=", "é"])
METHOD_NAMES = st.sampled_from(
    ["tools/call", "tools/list", "prompts/get", "resources/read", "server/discover", "ping", "x"]
)
VERSIONS = st.sampled_from([ABSENT, MODERN_VERSION, "2025-11-25", "1900-01-01", "", None, 1, "2026-07-28 "])


@given(
    METHOD_NAMES,
    METHOD_NAMES | st.just(ABSENT),
    st.sampled_from([MODERN_VERSION, "1900-01-01", "2027-01-01"]),
    VERSIONS,
    st.sampled_from([ABSENT, {}, {"sampling": {}}, None, []]),
    st.dictionaries(st.sampled_from(["name", "uri", "arguments", "cursor"]), st.sampled_from(["a", "b", 1, None, {}])),
    NAMES,
    st.sampled_from([ABSENT, None, "x"]),
)
@example("tools/call", "tools/call", "1900-01-01", "1900-01-01", {}, {}, "=?base64?YQ?=", ABSENT)
@example("tools/list", "tools/list", "1900-01-01", "1900-01-01", {}, {}, "a", ABSENT)
def test_a_modern_request_gets_the_verdict_of_the_official_server(
    method, method_header, version_header, version, capabilities, params, name_header, odd_meta
):
    tree = modern(method, params, meta={VERSION: version, CAPABILITIES: capabilities})
    if odd_meta is not ABSENT:
        tree["params"]["_meta"] = odd_meta
    headers = modern_headers(method_header, name_header) | {b"mcp-protocol-version": version_header.encode()}
    text_headers = {key.decode(): value.decode("latin-1") for key, value in headers.items()}
    official = classify_inbound_request(tree, headers=text_headers)
    try:
        ours = classify(tree, headers)
    except ProtocolRefused as refused:
        if isinstance(official, InboundLadderRejection):
            assert (refused.code, refused.status) == (official.code, ERROR_CODE_HTTP_STATUS[official.code])
            assert refused.data == official.data
        elif refused.reason == "name_header_mismatch":
            # Ours alone: a name in the header for a method that has none.
            assert name_header is not ABSENT and method not in ("tools/call", "prompts/get", "resources/read")
        else:
            # What the official ladder leaves to its dispatch, which answers with these codes and statuses.
            assert (refused.status, refused.code) in {(404, -32601), (400, -32602), (200, -32602), (400, -32020)}
    else:
        assert not isinstance(official, InboundLadderRejection)
        assert isinstance(ours, Request)


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2]),
        "id": st.sampled_from([1, "a", None, True, 1.5, [], 2**70]),
        "method": st.sampled_from(["ping", "tools/list", 1, None]),
        "params": st.sampled_from([{}, {"cursor": "x"}, None, [], "x"]),
        "result": st.sampled_from([{}, {"a": 1}, None, []]),
        "error": st.sampled_from([{"code": 1, "message": "x"}, {}, None]),
        "Method": st.just("tools/call"),
    },
)


@given(MEMBERS)
def test_nothing_is_read_as_a_request_that_the_official_server_reads_otherwise(tree):
    try:
        ours = classify(tree, LEGACY_HEADERS)
    except ProtocolRefused:
        return
    if isinstance(ours, Response) and ours.is_error and tree["error"] == {}:
        return  # The official model wants a code and a message; the answer is the upstream's to judge.
    official = jsonrpc_message_adapter.validate_python(tree)
    assert isinstance(official, JSONRPCRequest) == isinstance(ours, Request)
    if isinstance(ours, Request):
        assert (official.id, official.method) == (ours.id, ours.method)


def test_the_official_server_refuses_what_has_the_wrong_shape_too():
    # Two of ours go further: unknown members and null params, which its models ignore.
    lenient = []
    for tree in MALFORMED:
        try:
            jsonrpc_message_adapter.validate_python(tree)
        except ValidationError:
            continue
        lenient.append(tree)
    assert len(lenient) < len(MALFORMED) / 2


# Other readers of the same bytes.


def go_reading(body: bytes, key: str, default: Any = None) -> Any:
    """The member `key` of an object as Go's encoding/json finds it: the last one that folds to it."""

    def folded(pairs):
        return [(name.replace("\u017f", "s").replace("\u212a", "k").lower(), value) for name, value in pairs]

    pairs = json.loads(body, object_pairs_hook=folded)
    return (
        next((value for name, value in reversed(pairs) if name == key), default) if isinstance(pairs, list) else default
    )


KEYS = st.sampled_from(["name", "Name", "NAME", "arguments", "uri", "URI", "nam\\u0065", "n\u017fame", "x", "_meta"])
PAIRS = st.lists(st.tuples(KEYS, st.sampled_from(['"a"', '"b"', "{}", "1", '{"name":"z"}'])), max_size=4)
TOP = st.sampled_from(
    ["method", "Method", "METHOD", "m\\u0065thod", "params", "Params", "param\u017f", "id", "ID", "jsonrpc"]
)


@given(
    st.lists(st.tuples(TOP, st.sampled_from(['"tools/call"', '"tools/list"', '"resources/read"', "1"])), max_size=2),
    PAIRS,
    st.booleans(),
)
def test_every_reader_of_an_accepted_message_finds_the_same_method_and_name(extra, pairs, first):
    params = "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
    members = ['"jsonrpc":"2.0"', '"id":1', '"method":"tools/call"', f'"params":{params}']
    odd = [f'"{key}":{value}' for key, value in extra]
    body = ("{" + ",".join(odd + members if first else members + odd) + "}").encode()
    try:
        ours = classify(loads(body), LEGACY_HEADERS)
    except (JsonRefused, ProtocolRefused):
        return
    assert isinstance(ours, Request)
    for reader in (json.loads, orjson.loads):
        read = reader(body)
        assert (read["method"], read["params"].get("name"), read["id"]) == (ours.method, ours.name, ours.id)
    assert go_reading(body, "method") == ours.method
    assert dict(go_reading(body, "params")).get("name") == ours.name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), st.text(max_size=10), st.booleans())
def test_a_name_is_forwarded_only_where_header_and_body_say_the_same(name, header, encode):
    raw = f"=?base64?{base64.b64encode(header.encode('utf-8', 'replace')).decode()}?=".encode()
    if not encode:
        raw = header.encode("utf-8", "replace")
    try:
        headers = wire.read([*modern_headers("prompts/get").items(), (b"mcp-name", raw)])
        request = classify(modern("prompts/get", {"name": name}), headers)
    except (wire.HeaderRefused, ProtocolRefused):
        return
    assert isinstance(request, Request)
    assert wire.decode_value(dict(wire.outbound(headers))[b"mcp-name"]) == request.name == name
