import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol import jsonrpc
from proxy.protocol.jsonrpc import AnswerInvalid, read_answer


def test_answers_are_compact_json():
    assert jsonrpc.error(1, -32601, "Method not found") == (
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}'
    )
    assert jsonrpc.error(None, -32700, "Parse error", {"a": 1}) == (
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error","data":{"a":1}}}'
    )
    assert jsonrpc.result("é", {"ok": True}) == '{"jsonrpc":"2.0","id":"é","result":{"ok":true}}'.encode()


def test_a_lost_session_has_the_body_that_clients_know():
    assert json.loads(jsonrpc.SESSION_NOT_FOUND_BODY) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32001, "message": "Session not found"},
    }


def test_our_own_codes_are_outside_the_range_that_json_rpc_reserves():
    ours = [jsonrpc.POLICY_DENIED, jsonrpc.APPROVAL_DENIED, jsonrpc.LIMIT_EXCEEDED, jsonrpc.UPSTREAM_UNAVAILABLE]
    ours += [jsonrpc.RECORD_UNAVAILABLE, jsonrpc.UPSTREAM_TIMEOUT]
    assert all(not -32768 <= code <= -32000 for code in ours)
    assert len(set(ours)) == len(ours)


@pytest.mark.parametrize(
    ("data", "kind", "id", "method", "body"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":[1]}}', "result", 1, None, b'{"a":[1]}'),
        (b'{"jsonrpc":"2.0","id":"1","result":{}}', "result", "1", None, b"{}"),
        (b'{"result": {} , "id" :-5, "jsonrpc":"2.0"}', "result", -5, None, b"{}"),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 30 + b',"result":{}}', "result", int("9" * 30), None, b"{}"),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"extra":{"a":{}}}', "result", 1, None, b"{}"),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}', "error", 1, None, b'{"code":1}'),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":1}}', "error", None, None, b'{"code":1}'),
        (b'{"jsonrpc":"2.0","error":{"code":1}}', "error", None, None, b'{"code":1}'),
        (b'{"jsonrpc":"2.0","id":3,"method":"ping"}', "request", 3, "ping", None),
        (b'{"jsonrpc":"2.0","id":3,"method":"roots/list","params":{}}', "request", 3, "roots/list", b"{}"),
        (b'{"jsonrpc":"2.0","method":"notifications/x"}', "notification", None, "notifications/x", None),
        ('{"jsonrpc":"2.0","method":"é","params":{"a":"ü"}}'.encode(), "notification", None, "é", '{"a":"ü"}'.encode()),
        (b'\n{"jsonrpc":"2.0","\\u0069d":1,"result":{}}\n', "result", 1, None, b"{}"),
        # The body again inside of another member, and inside of a string.
        (b'{"jsonrpc":"2.0","id":1,"result":{},"x":"{}"}', "result", 1, None, b"{}"),
    ],
)
def test_each_kind_of_message_is_told_apart(data, kind, id, method, body):
    answer = read_answer(data)
    assert (answer.kind, answer.id, answer.method) == (kind, id, method)
    assert (None if answer.body is None else bytes(answer.body)) == body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
        b'"text"',
        b"<html>",
        b"{}",
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        b'{"jsonrpc":2.0,"id":1,"result":{}}',
        b'{"id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":1.0,"result":{}}',
        b'{"jsonrpc":"2.0","id":1e2,"result":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
        b'{"jsonrpc":"2.0","id":[1],"result":{}}',
        b'{"jsonrpc":"2.0","id":{},"result":{}}',
        b'{"jsonrpc":"2.0","id":"\\ud800","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":null}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","id":1,"result":"x"}',
        b'{"jsonrpc":"2.0","id":1,"error":"x"}',
        b'{"jsonrpc":"2.0","id":1,"error":null}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":{},"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"error":{},"params":{}}',
        b'{"jsonrpc":"2.0","id":null,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":null}',
        b'{"jsonrpc":"2.0","id":1,"method":["x"]}',
        b'{"jsonrpc":"2.0","method":"x","params":[]}',
        b'{"jsonrpc":"2.0","method":"x","params":null}',
        b'{"jsonrpc":"2.0","id":1,"result":{}} {}',
        b'{"jsonrpc":"2.0","id":1,"result":{}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":"\xff","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        # A member that hides behind another one.
        b'{"jsonrpc":"2.0","id":1,"id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":2,"id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"x":1},"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"\\u0072esult":{"x":1},"result":{}}',
        b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","method":"a","method":"b"}',
        b'{"jsonrpc":"2.0","method":"b","params":{"a":1},"params":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"a":1},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"x":1,"x":2}',
        # A member in a spelling that a lenient reader takes for the protocol's.
        b'{"jsonrpc":"2.0","id":1,"result":{},"Result":{"x":1}}',
        b'{"jsonrpc":"2.0","id":1,"ID":2,"result":{}}',
        '{"jsonrpc":"2.0","id":1,"result":{},"reſult":{}}'.encode(),
        b'{"jsonrpc":"2.0","method":"x","Params":{}}',
    ],
)
def test_anything_else_is_no_message(data):
    with pytest.raises(AnswerInvalid):
        read_answer(data)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
BODY = st.dictionaries(TEXT, st.integers() | TEXT | st.lists(st.integers(), max_size=3), max_size=4)
MESSAGES = st.builds(
    lambda id, method, body, kind: {
        "result": {"jsonrpc": "2.0", "id": id, "result": body},
        "error": {"jsonrpc": "2.0", "id": id, "error": body},
        "request": {"jsonrpc": "2.0", "id": id, "method": method, "params": body},
        "notification": {"jsonrpc": "2.0", "method": method, "params": body},
    }[kind],
    st.integers() | TEXT,
    TEXT,
    BODY,
    st.sampled_from(["result", "error", "request", "notification"]),
)
SPELLINGS = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}])


@given(MESSAGES, SPELLINGS, st.booleans())
def test_any_valid_message_is_read_whatever_its_spelling(message, spelling, ascii_only):
    answer = read_answer(json.dumps(message, ensure_ascii=ascii_only, **spelling).encode())
    assert answer.id == message.get("id")
    assert answer.method == message.get("method")
    assert answer.body is not None
    assert json.loads(bytes(answer.body)) == message.get(
        {"result": "result", "error": "error"}.get(answer.kind, "params")
    )


@given(MESSAGES, MESSAGES, SPELLINGS)
def test_two_messages_in_one_object_are_never_read_as_one(first, second, spelling):
    one, other = (json.dumps(message, **spelling)[1:-1] for message in (first, second))
    with pytest.raises(AnswerInvalid):
        read_answer(f"{{{one},{other}}}".encode())
