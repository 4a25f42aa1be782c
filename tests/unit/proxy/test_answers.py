import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.json_strict import loads
from proxy.protocol.jsonrpc import AnswerInvalid
from proxy.protocol.mcp import (
    Era,
    Request,
    denied_call,
    encode,
    filter_list,
    input_request_kinds,
    strip_capabilities,
    unknown_name,
)

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def request(method="tools/call", era=Era.LEGACY, kind=None):
    return Request("r1", method, {}, era, "2025-11-25", "secret_name", kind)


def test_a_denied_tool_call_is_a_result_that_a_model_can_read():
    denied = json.loads(denied_call(request(), "denied by policy R", meta={"com.wardgate/decision": "d1"}))
    assert denied == {
        "jsonrpc": "2.0",
        "id": "r1",
        "result": {
            "content": [{"type": "text", "text": "denied by policy R"}],
            "isError": True,
            "_meta": {"com.wardgate/decision": "d1"},
        },
    }


def test_a_denied_tool_call_of_the_modern_era_is_complete():
    denied = json.loads(denied_call(request(era=Era.MODERN), "no", meta={}))
    assert denied["result"] == {"content": [{"type": "text", "text": "no"}], "isError": True, "resultType": "complete"}


@pytest.mark.parametrize("method", ["prompts/get", "resources/read", "completion/complete", "tasks/get"])
def test_any_other_denied_request_is_an_error_with_our_own_code(method):
    denied = json.loads(denied_call(request(method), "denied", meta={"com.wardgate/decision": "d1"}))
    assert denied["error"] == {"code": 40301, "message": "denied", "data": {"com.wardgate/decision": "d1"}}
    assert "data" not in json.loads(denied_call(request(method), "denied", meta={}))["error"]


@pytest.mark.parametrize(
    ("method", "kind", "era", "code", "message"),
    [
        ("tools/call", "tool", Era.LEGACY, -32602, "Unknown tool"),
        ("tools/call", "tool", Era.MODERN, -32602, "Unknown tool"),
        ("prompts/get", "prompt", Era.LEGACY, -32602, "Unknown prompt"),
        ("resources/read", "resource", Era.LEGACY, -32002, "Resource not found"),
        ("resources/subscribe", "resource", Era.LEGACY, -32002, "Resource not found"),
        ("resources/read", "resource", Era.MODERN, -32602, "Resource not found"),
        ("completion/complete", "resource", Era.LEGACY, -32602, "Resource not found"),
        ("completion/complete", "prompt", Era.MODERN, -32602, "Unknown prompt"),
        ("tasks/get", None, Era.MODERN, -32602, "Invalid params"),
    ],
)
def test_what_is_hidden_is_answered_as_if_it_did_not_exist_and_never_named(method, kind, era, code, message):
    answer = unknown_name(request(method, era, kind))
    assert json.loads(answer)["error"] == {"code": code, "message": message}
    assert b"secret_name" not in answer


# Lists.

LISTS = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
]


def listing(entries: str, rest: str = "") -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"result":{"tools":' + entries.encode() + rest.encode() + b"}}"


def keep_ok(name: str) -> bool:
    return name.startswith("ok")


@pytest.mark.parametrize(("method", "member", "key"), LISTS)
def test_entries_that_are_not_kept_are_dropped_from_every_list(method, member, key):
    entries = [{key: "ok1", "x": 1}, {key: "no"}, {"y": {}, key: "ok2"}]
    data = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {member: entries, "nextCursor": "c", "z": None}}).encode()
    out, dropped = filter_list(data, method, keep_ok, era=Era.LEGACY)
    assert dropped == 1
    assert json.loads(out) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {member: [entries[0], entries[2]], "nextCursor": "c", "z": None},
    }


def test_what_is_kept_keeps_every_byte_and_its_order():
    entry = '{"zeta":1.50,"name":"ok","inputSchema":{"b": 1E5 ,"a":"\\u00e9\\/"},"_meta":{"x":12345678901234567890123}}'
    out, _ = filter_list(listing(f"[{entry}]", ',"nextCursor":"\\u0063"'), "tools/list", keep_ok, era=Era.LEGACY)
    assert out == listing(f"[{entry}]", ',"nextCursor":"\\u0063"')


def test_an_emptied_page_keeps_its_cursor():
    out, dropped = filter_list(listing('[{"name":"no"}]', ',"nextCursor":"c"'), "tools/list", keep_ok, era=Era.LEGACY)
    assert (json.loads(out)["result"], dropped) == ({"tools": [], "nextCursor": "c"}, 1)


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        ("0", 0),
        ("60000", 60000),
        ("60001", 60000),
        ("300000", 60000),
        ("1" + "0" * 40, 60000),
        ("-1", 0),
        ('"x"', 0),
        ("1.5", 0),
        ("null", 0),
        ("true", 0),
    ],
)
def test_a_modern_list_becomes_private_and_short_lived(lifetime, expected):
    data = listing('[{"name":"ok"}]', f',"cacheScope":"public","resultType":"complete","ttlMs":{lifetime}')
    result = json.loads(filter_list(data, "tools/list", keep_ok, era=Era.MODERN)[0])["result"]
    assert result == {"tools": [{"name": "ok"}], "cacheScope": "private", "resultType": "complete", "ttlMs": expected}


def test_a_modern_list_without_hints_is_private_all_the_same():
    result = json.loads(filter_list(listing("[]"), "tools/list", keep_ok, era=Era.MODERN)[0])["result"]
    assert result == {"tools": [], "cacheScope": "private"}


def test_a_legacy_list_gets_no_hints():
    assert filter_list(listing("[]"), "tools/list", keep_ok, era=Era.LEGACY) == (listing("[]"), 0)


@pytest.mark.parametrize(
    "entry",
    [
        "{}",
        '{"name":1}',
        '{"name":null}',
        '{"title":"ok"}',
        '{"name":"ok","Name":"no"}',
        '{"name":"ok","NAME":"ok"}',
        '{"name":"ok","name":"no"}',
    ],
)
def test_an_entry_without_one_readable_name_is_dropped(entry):
    out, dropped = filter_list(listing(f"[{entry}]"), "tools/list", keep_ok, era=Era.LEGACY)
    assert (json.loads(out)["result"]["tools"], dropped) == ([], 1)


def test_nothing_hides_behind_a_second_member_of_the_same_name():
    data = listing('[{"name":"no"}]', ',"tools":[{"name":"no","name":"ok"}]')
    out, _ = filter_list(data, "tools/list", keep_ok, era=Era.LEGACY)
    assert out == listing('[{"name":"ok"}]')
    data = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"no"}]},"result":{"tools":[]}}'
    assert filter_list(data, "tools/list", keep_ok, era=Era.LEGACY)[0] == listing("[]")


def test_an_error_and_an_unfinished_result_pass():
    error = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}'
    assert filter_list(error, "tools/list", keep_ok, era=Era.MODERN) == (error, 0)
    unfinished = b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"s"}}'
    assert filter_list(unfinished, "tools/list", keep_ok, era=Era.MODERN) == (unfinished, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","id":1,"result":null}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"resultType":7}}',
        b'{"jsonrpc":"2.0","id":1,"Result":{},"result":{"tools":[]}}',
        listing("{}"),
        listing("null"),
        listing("[1]"),
        listing("[null]"),
        listing('["ok"]'),
        listing("[]", ',"Tools":[{"name":"no"}]'),
        listing("[]", ',"toolſ":[{"name":"no"}]'),
        listing("[" + "[" * 100_000),
        listing('[{"name":"\\ud800"}]'),
    ],
)
def test_what_is_no_list_is_refused(data):
    with pytest.raises(AnswerInvalid):
        filter_list(data, "tools/list", keep_ok, era=Era.LEGACY)


NAMES = st.sampled_from(["ok", "ok2", "no", "nö", ""])


@given(st.lists(st.dictionaries(st.sampled_from(["name", "title", "x", "Name"]), NAMES | st.integers()), max_size=6))
def test_a_name_that_is_not_kept_is_never_in_the_list(entries):
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": entries}}).encode()
    out, dropped = filter_list(data, "tools/list", keep_ok, era=Era.LEGACY)
    kept = json.loads(out)["result"]["tools"]
    assert kept == [entry for entry in entries if str(entry.get("name")).startswith("ok") and "Name" not in entry]
    assert dropped == len(entries) - len(kept)


# Capabilities.


def test_forbidden_capabilities_leave_an_initialize_request():
    tree = loads(
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"z":1.50,"capabilities":'
        b'{"sampling":{},"roots":{"listChanged":true},"Elicitation":{}},"clientInfo":{"name":"x"}}}'
    )
    changed = strip_capabilities(tree, frozenset({"sampling", "elicitation"}))
    assert encode(changed) == (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"z":1.50,"capabilities":'
        b'{"roots":{"listChanged":true}},"clientInfo":{"name":"x"}}}'
    )
    assert "sampling" in tree["params"]["capabilities"]


def test_forbidden_capabilities_leave_every_modern_request():
    tree = {"method": "tools/call", "params": {"_meta": {"a": 1, CAPABILITIES: {"sampling": {}, "x": 1}}, "name": "t"}}
    changed = strip_capabilities(tree, frozenset({"sampling"}))
    assert changed == {"method": "tools/call", "params": {"_meta": {"a": 1, CAPABILITIES: {"x": 1}}, "name": "t"}}
    assert list(changed["params"]) == ["_meta", "name"]
    assert tree["params"]["_meta"][CAPABILITIES] == {"sampling": {}, "x": 1}


@pytest.mark.parametrize(
    "tree",
    [
        {"method": "initialize", "params": {"capabilities": {"roots": {}}}},
        {"method": "initialize", "params": {"capabilities": None}},
        {"method": "initialize", "params": {}},
        {"method": "initialize"},
        {"method": "tools/call", "params": {"capabilities": {"sampling": {}}}},
        {"method": "tools/call", "params": {"_meta": {}}},
        {"method": "tools/call", "params": {"_meta": {CAPABILITIES: []}}},
    ],
)
def test_nothing_changes_where_nothing_is_forbidden(tree):
    assert strip_capabilities(tree, frozenset({"sampling"})) is None


def test_nothing_changes_when_everything_is_allowed():
    tree = {"method": "initialize", "params": {"capabilities": {"sampling": {}}}}
    assert strip_capabilities(tree, frozenset()) is None


# Input that an upstream asks for.


def message(result: str, holder: str = "result") -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"{holder}":{result}}}'.encode()


ELICIT = '{"method":"elicitation/create","params":{}}'
SAMPLE = '{"method":"sampling/createMessage"}'


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (message("{}"), set()),
        (message('{"content":[{"text":"inputRequests"}]}'), set()),
        (message('{"content":[{"text":"\\u00e9"}]}'), set()),
        (message('{"inputRequests":{}}'), set()),
        (message('{"inputRequests":null}'), set()),
        (message(f'{{"inputRequests":{{"a":{ELICIT}}}}}'), {"elicitation/create"}),
        (
            message(f'{{"inputRequests":{{"a":{ELICIT},"b":{SAMPLE}}}}}'),
            {"elicitation/create", "sampling/createMessage"},
        ),
        (message(f'{{"input\\u0052equests":{{"a":{ELICIT}}}}}'), {"elicitation/create"}),
        (message(f'{{"task":{{"inputRequests":{{"a":{SAMPLE}}}}}}}'), {"sampling/createMessage"}),
        (message(f'{{"inputRequests":{{"a":{ELICIT}}}}}', "params"), {"elicitation/create"}),
        (message('"inputRequests"', "method"), set()),
        (message('{"structuredContent":{"inputRequests":{"a":1}}}'), set()),
    ],
)
def test_the_kinds_of_input_that_an_upstream_asks_for_are_found(data, kinds):
    assert input_request_kinds(data) == kinds


@pytest.mark.parametrize(
    "data",
    [
        b"inputRequests",
        b'["inputRequests"]',
        message('{"inputRequests":[]}'),
        message('{"inputRequests":"x"}'),
        message('{"inputRequests":{"a":1}}'),
        message('{"inputRequests":{"a":{}}}'),
        message('{"inputRequests":{"a":{"method":1}}}'),
        message(f'{{"InputRequests":{{"a":{ELICIT}}}}}'),
        message(f'{{"inputRequests":{{"a":{SAMPLE}}},"inputRequests":{{}}}}'),
        message(f'{{"inputRequests":{{"a":{SAMPLE},"a":{ELICIT}}}}}'),
        message('{"inputRequests":{"a":{"method":"roots/list","method":"sampling/createMessage"}}}'),
    ],
)
def test_input_that_can_be_read_in_two_ways_is_refused(data):
    with pytest.raises(AnswerInvalid):
        input_request_kinds(data)
