import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.headers import RESPONSE_ALLOWED, HeaderRefused, decode_value, outbound, read, relayed, require_json

USUAL = [
    (b"host", b"gateway.example"),
    (b"accept", b"application/json, text/event-stream"),
    (b"content-type", b"application/json"),
    (b"content-length", b"200"),
    (b"authorization", b"Bearer abc"),
    (b"mcp-protocol-version", b"2026-07-28"),
    (b"mcp-method", b"tools/call"),
    (b"mcp-name", b"get_order"),
]


def refusal_of(raw, **limits):
    with pytest.raises(HeaderRefused) as refused:
        read(raw, **limits)
    return refused.value


def test_usual_headers_are_read_as_they_came():
    assert read(USUAL) == dict(USUAL)


@pytest.mark.parametrize(
    "name",
    [
        b"authorization",
        b"host",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"origin",
        b"last-event-id",
        b"mcp-session-id",
        b"mcp-protocol-version",
        b"mcp-method",
        b"mcp-name",
        b"mcp-param-region",
        b"mcp-anything",
    ],
)
@pytest.mark.parametrize("second", [b"same", b"other", b""])
def test_a_header_that_may_occur_once_is_refused_twice(name, second):
    refused = refusal_of([(name, b"same"), (b"accept", b"*/*"), (name, second)])
    assert (refused.code, refused.status) == ("header_duplicated", 400)
    assert refused.rpc_code == (-32020 if name.startswith(b"mcp-") else -32600)


def test_lists_that_are_repeated_are_joined_in_order():
    raw = [(b"accept", b"application/json"), (b"x-a", b"1"), (b"accept", b"text/event-stream"), (b"x-a", b"2")]
    assert read(raw) == {b"accept": b"application/json, text/event-stream", b"x-a": b"1, 2"}


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b", b"\r\nx-evil: 1", b"a\r\n b", b"a\n"])
def test_line_breaks_and_nul_in_a_value_are_refused(value):
    refused = refusal_of([*USUAL, (b"x-note", value)])
    assert (refused.code, refused.status) == ("header_value_invalid", 400)


@pytest.mark.parametrize(
    "name", [b"", b"a b", b"a:", b"a\n", b"\xc3\xa9", b"Host", b"a(b)", b"a/b", b"\0", b"a\t", b"[a]"]
)
def test_a_name_that_is_no_lower_case_token_is_refused(name):
    assert refusal_of([*USUAL, (name, b"1")]).code == "header_name_invalid"


def test_names_with_an_underscore_never_count():
    assert read([*USUAL, (b"mcp_session_id", b"evil"), (b"content_length", b"1")]) == dict(USUAL)


def test_length_and_transfer_encoding_together_are_refused():
    assert refusal_of([*USUAL, (b"transfer-encoding", b"chunked")]).code == "header_length_ambiguous"


def test_white_space_around_a_value_is_no_part_of_it():
    assert read([(b"mcp-name", b" \tname\t ")]) == {b"mcp-name": b"name"}


def test_too_many_headers_and_too_large_ones_have_their_own_status():
    many = [(b"x-%d" % n, b"1") for n in range(101)]
    assert (refusal_of(many).code, refusal_of(many).status) == ("headers_too_many", 431)
    assert read(many, count=101)
    large = [(b"x", b"a" * 65535)]
    assert read(large)
    large[0] = (b"x", b"a" * 65536)
    assert (refusal_of(large).code, refusal_of(large).status) == ("headers_too_large", 431)


TOKENS = st.text(st.sampled_from("abz-09."), min_size=1, max_size=8).map(str.encode)
VALUES = st.binary(max_size=12)


@given(st.lists(st.tuples(TOKENS | st.sampled_from([b"host", b"mcp-name", b"accept"]), VALUES), max_size=8))
def test_what_is_read_is_what_was_sent_and_nothing_else(raw):
    try:
        headers = read(raw)
    except HeaderRefused:
        return
    assert set(headers) == {name for name, _ in raw}
    for name in (b"host", b"mcp-name"):
        assert sum(sent == name for sent, _ in raw) <= 1
    assert not any(byte in b"".join(headers.values()) for byte in b"\r\n\0")


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"',
        b"application/json ; charset=utf8",
    ],
)
def test_plain_json_is_the_content_type_that_is_read(content_type):
    require_json({b"content-type": content_type})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b""},
        {b"content-type": b"text/plain"},
        {b"content-type": b"application/json; charset=utf-16"},
        {b"content-type": b"application/json; charset=utf-8; charset=utf-16"},
        {b"content-type": b"application/json, text/plain"},
        {b"content-type": b"application/json-rpc"},
        {b"content-type": b"multipart/form-data; boundary=x"},
        {b"content-type": b"application/x-www-form-urlencoded"},
        {b"content-type": b"application/jsonx"},
        {b"content-type": b"application/json; boundary=x"},
        {b"content-type": b"application/json", b"content-encoding": b"gzip"},
        {b"content-type": b"application/json", b"content-encoding": b"br"},
        {b"content-type": b"application/json", b"content-encoding": b"zstd"},
        {b"content-type": b"application/json", b"content-encoding": b"gzip, gzip"},
        {b"content-type": b"application/json", b"content-encoding": b"identity, gzip"},
    ],
)
def test_any_other_content_type_or_encoding_is_refused(headers):
    with pytest.raises(HeaderRefused) as refused:
        require_json(headers)
    assert refused.value.status == 415


def test_identity_is_no_encoding():
    require_json({b"content-type": b"application/json", b"content-encoding": b"Identity"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # The examples of the specification.
        (b"us-west1", "us-west1"),
        (b"=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
        (b"=?base64?IHBhZGRlZCA=?=", " padded "),
        (b"=?base64?bGluZTEKbGluZTI=?=", "line1\nline2"),
        (b"=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
        (b"=?base64??=", ""),
        # Not the sentinel: the markers are case-sensitive and have to be complete.
        (b"=?BASE64?SGk=?=", "=?BASE64?SGk=?="),
        (b"=?base64?SGk=", "=?base64?SGk="),
        (b"=?base64?=", "=?base64?="),
        (b"SGk=?=", "SGk=?="),
        (b"", ""),
        (b"a\tb", "a\tb"),
        (b"caf\xe9", "café"),
    ],
)
def test_a_value_is_decoded_as_the_specification_says(value, text):
    assert decode_value(value) == text


@pytest.mark.parametrize(
    "value",
    [
        b"=?base64?SGk?=",  # no padding
        b"=?base64?SGk==?=",  # too much padding
        b"=?base64?SG k=?=",
        b"=?base64?SGk=\n?=",
        b"=?base64?S-_k?=",  # the other alphabet
        b"=?base64?SGl=?=",  # trailing bits that are not zero
        b"=?base64?/w==?=",  # not UTF-8
        b"=?base64?7aCA?=",  # a surrogate
        b"=?base64?SGk=SGk=?=",
        b"a\x01b",
        b"\x7f",
        b"a\x1bb",
    ],
)
def test_a_value_with_two_spellings_or_controls_is_refused(value):
    with pytest.raises(HeaderRefused) as refused:
        decode_value(value)
    assert (refused.value.status, refused.value.rpc_code) == (400, -32020)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_sentinel(text):
    assert decode_value(b"=?base64?" + base64.b64encode(text.encode()) + b"?=") == text


def test_only_listed_headers_leave_towards_the_upstream():
    secret = b"canary"
    blocked = (
        b"authorization cookie proxy-authorization x-api-key x-forwarded-for forwarded origin host referer x-real-ip "
        b"connection te upgrade via baggage mcp-session-id content-length content-encoding transfer-encoding "
        b"user-agent expect sec-fetch-site x-mcp-name mcp-paramx dnt date accept-encoding accept-language trailer"
    )
    headers = dict.fromkeys(blocked.split(), secret)
    passing = {
        b"accept": b"application/json, text/event-stream",
        b"mcp-protocol-version": b"2026-07-28",
        b"mcp-method": b"tools/call",
        b"mcp-name": b"n",
        b"mcp-param-region": b"eu",
        b"last-event-id": b"7",
        b"traceparent": b"00-x",
        b"tracestate": b"a=b",
    }
    out = outbound(headers | passing)
    assert all(value != secret for _, value in out)
    assert dict(out) == passing | {b"content-type": b"application/json", b"accept-encoding": b"identity"}
    assert len(out) == len(dict(out))


def test_a_request_without_body_has_no_content_type():
    assert outbound({b"accept": b"text/event-stream"}, has_body=False) == [
        (b"accept", b"text/event-stream"),
        (b"accept-encoding", b"identity"),
    ]


def test_only_listed_headers_of_an_answer_reach_the_client():
    raw = [
        (b"Content-Type", b"application/json"),
        (b"set-cookie", b"a=b"),
        (b"Location", b"http://evil"),
        (b"Mcp-Session-Id", b"s1"),
        (b"mcp-session-id", b"s2"),
        (b"cache-control", b"no-cache\r\nx: y"),
        (b"retry-after", b"3"),
        (b"content-encoding", b"gzip"),
        (b"www-authenticate", b"Bearer"),
    ]
    assert relayed(raw) == [(b"content-type", b"application/json"), (b"mcp-session-id", b"s1"), (b"retry-after", b"3")]
    assert all(name == name.lower() for name in RESPONSE_ALLOWED)
