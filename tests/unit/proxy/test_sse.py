from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.sse import KEEP_ALIVE, EventStreamDecoder, ServerEvent, StreamInvalid, StreamTooLarge, encode


def decode(*chunks: bytes, limit: int = 8 * 1024 * 1024) -> list[ServerEvent]:
    decoder = EventStreamDecoder(limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def reference(stream: bytes) -> list[ServerEvent]:
    """The algorithm of the WHATWG, line by line and without any haste."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = text.split(b"\n")[:-1]  # The last line is not ended.
    events, data, event, id, retry = [], None, b"", None, None
    for line in lines:
        if not line:
            if data is not None or id is not None or retry is not None:
                events.append(ServerEvent(None if data is None else data[:-1], event, id, retry))
            data, event, id, retry = None, b"", None, None
            continue
        if line.startswith(b":"):
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            data = (data or b"") + value + b"\n"
        elif name == b"event":
            event = value
        elif name == b"id" and b"\0" not in value:
            id = value
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            retry = int(value)
    return events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [ServerEvent(b"a")]),
        (b"data: a\r\n\r\n", [ServerEvent(b"a")]),
        (b"data: a\r\r", [ServerEvent(b"a")]),
        (b"data: a\n\r", [ServerEvent(b"a")]),
        (b"data: a\r\n\n", [ServerEvent(b"a")]),
        (b"data:a\n\n", [ServerEvent(b"a")]),
        (b"data:  a\n\n", [ServerEvent(b" a")]),
        (b"data: a\ndata: b\n\n", [ServerEvent(b"a\nb")]),
        (b"data\ndata\n\n", [ServerEvent(b"\n")]),
        (b"data\n\n", [ServerEvent(b"")]),
        (b"data:\n\n", [ServerEvent(b"")]),
        (b"id: 7\ndata:\n\n", [ServerEvent(b"", id=b"7")]),
        (b"id: 7\nretry: 500\ndata: \n\n", [ServerEvent(b"", id=b"7", retry=500)]),
        (b"id: 7\n\n", [ServerEvent(None, id=b"7")]),
        (b"id\n\n", [ServerEvent(None, id=b"")]),
        (b"retry: 10\n\n", [ServerEvent(None, retry=10)]),
        (b"event: ping\n\n", []),
        (b"event: endpoint\ndata: /x\n\n", [ServerEvent(b"/x", b"endpoint")]),
        (b"id: a\0b\ndata: x\n\n", [ServerEvent(b"x")]),
        (b"retry: 1x\ndata: x\n\n", [ServerEvent(b"x")]),
        (b"retry: -1\ndata: x\n\n", [ServerEvent(b"x")]),
        ("retry: ٣\ndata: x\n\n".encode(), [ServerEvent(b"x")]),
        (b"retry: " + b"9" * 5000 + b"\ndata: x\n\n", [ServerEvent(b"x")]),
        (b": comment\n\n:\n\ndata: x\n:c\n\n", [ServerEvent(b"x")]),
        (b"Data: a\nDATA: b\n data: c\ndata : d\ndata: x\n\n", [ServerEvent(b"x")]),
        (b"foo: bar\n\ndata: x\n\n", [ServerEvent(b"x")]),
        (b"\n\n\ndata: x\n\n\n\n", [ServerEvent(b"x")]),
        (b"\xef\xbb\xbfdata: x\n\n", [ServerEvent(b"x")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [ServerEvent(b"y")]),
        (b"data: x\n\n\xef\xbb\xbfdata: y\n\n", [ServerEvent(b"x")]),
        (b"data: x\n", []),
        (b"data: x", []),
        (b"", []),
        ("data: a\u2028b\x0bc\x0cd\u0085e\x1cf\n\n".encode(), [ServerEvent("a\u2028b\x0bc\x0cd\u0085e\x1cf".encode())]),
        ("data: é\n\n".encode(), [ServerEvent("é".encode())]),
        (b"data: a:b\n\n", [ServerEvent(b"a:b")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says_in_one_piece_and_byte_by_byte(stream, events):
    assert decode(stream) == events
    assert decode(*(stream[at : at + 1] for at in range(len(stream)))) == events
    assert reference(stream) == events


PIECES = st.sampled_from(
    [b"data: x", b"data", b"data:", b"id: 1", b"id: \0", b"event: e", b"retry: 5", b": c", b"foo", b"\n", b"\r",
     b"\r\n",     b"\n\n", b"\r\r", b"\xef\xbb\xbf", b" ", b":", b"\xc3\xa9", b"\r\n\r\n"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=25).map(b"".join), st.lists(st.integers(0, 120), max_size=12))
def test_any_chunking_yields_the_events_of_the_reference(stream, cuts):
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert decode(*chunks) == decode(stream) == reference(stream)


EVENTS = st.builds(
    ServerEvent,
    st.binary(max_size=30).filter(lambda data: data.isascii() and b"\r" not in data),
    st.sampled_from([b"", b"message", b"endpoint"]),
    st.none() | st.sampled_from([b"", b"7", b"a/b"]),
    st.none() | st.integers(0, 99999),
)


@given(st.lists(EVENTS, max_size=6))
def test_what_is_encoded_is_decoded_again(events):
    assert decode(b"".join(map(encode, events))) == events


def test_events_without_data_survive_encoding():
    for event in (ServerEvent(None, id=b"7"), ServerEvent(None, retry=5), ServerEvent(b"", id=b"7", retry=5)):
        assert decode(encode(event)) == [event]


def test_an_event_is_there_as_soon_as_its_last_byte_is():
    decoder = EventStreamDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\r") == [ServerEvent(b"a")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\r\n\r") == [ServerEvent(b"b")]


def test_an_unfinished_event_is_pending_and_a_comment_is_not():
    decoder = EventStreamDecoder()
    assert not decoder.pending
    decoder.feed(b"\xef\xbb")
    assert not decoder.pending
    decoder.feed(b"\xbfda")
    assert decoder.pending
    decoder.feed(b"ta: x\n\n")
    assert not decoder.pending
    decoder.feed(KEEP_ALIVE + b": endless")
    assert not decoder.pending
    decoder.feed(b" comment\ndata: x\n")
    assert decoder.pending


def test_an_event_over_the_limit_ends_the_stream_finished_or_not():
    assert decode(b"data: " + b"a" * 94 + b"\n\n", limit=100)
    with pytest.raises(StreamTooLarge):
        decode(b"data: " + b"a" * 95 + b"\n\n", limit=100)
    with pytest.raises(StreamTooLarge):
        decode(*[b"data: aaaa\n"] * 10, limit=100)


def test_comments_and_blank_lines_never_fill_the_buffer():
    assert decode(*[b":\n"] * 200, *[b"\n"] * 200, *[b": x"] * 200, b"\ndata: x\n\n", limit=100) == [ServerEvent(b"x")]


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_an_event_that_is_not_utf8_ends_the_stream(bad):
    with pytest.raises(StreamInvalid):
        decode(b"data: " + bad + b"\n\n")


def test_a_comment_may_be_cut_anywhere():
    stream = b": caf\xc3\xa9\ndata: x\n\n"
    for at in range(len(stream)):
        assert decode(stream[:at], stream[at:]) == [ServerEvent(b"x")]


def test_what_could_break_out_of_its_line_is_not_written():
    evil = ServerEvent(b"x", b"a\ndata: evil", b"1\ndata: evil")
    assert encode(evil) == b"data: x\n\n"
    assert encode(ServerEvent(b"x", b"a b")) == b"data: x\n\n"
    assert encode(ServerEvent(b"x", b"e" * 65)) == b"data: x\n\n"
    assert encode(ServerEvent(b"a\r\nb\rc\n", b"message", b"9")) == (
        b"event: message\nid: 9\ndata: a\ndata: b\ndata: c\ndata: \n\n"
    )


def test_a_keep_alive_is_no_event():
    assert decode(KEEP_ALIVE) == []
