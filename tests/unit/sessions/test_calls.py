"""Events folded into calls, for every way in which a call can go, and for records that are damaged."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sessions.calls import OUTCOMES, UNREADABLE, Entry, fold, payload_text

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECEIVED_US = round(START.timestamp() * 1_000_000)
ONE, TWO = UUID(int=1), UUID(int=2)
OPENING = {
    "method": "tools/call",
    "name": "get_order",
    "id": "r-1",
    "verdict": "allow",
    "rule": "grant",
    "policy_version": 7,
    "credential_version": 2,
    "outbound_sha256": "ab" * 32,
    "outbound_bytes": 120,
    "received_us": RECEIVED_US,
}


def entry(seq, name, body, *, call=ONE, after_us=0, payload=None):
    written = body if isinstance(body, str) else json.dumps(body)
    return Entry(seq, START + timedelta(microseconds=after_us), call, name, written, payload, bytes([seq]))


def intent(seq=1, *, call=ONE, after_us=700, **body):
    return entry(seq, "gateway:call:intent", {**OPENING, **body}, call=call, after_us=after_us, payload=b'{"id":1}')


def outcome(seq, state="completed", *, call=ONE, after_us=3_000, payload=b'{"result":{}}', **body):
    return entry(seq, f"gateway:call:{state}", body, call=call, after_us=after_us, payload=payload)


def test_a_plain_call_is_told_from_request_to_answer():
    (call,) = fold([intent(), outcome(2, hits={"email": 2}, last_hits={"email": 2}, total_us=3_200, status=200)])
    assert (call.method, call.name, call.request_id, call.verdict, call.rule) == (
        "tools/call",
        "get_order",
        "r-1",
        "allow",
        "grant",
    )
    assert (call.state, call.status, call.request, call.policy_version) == ("completed", 200, '{"id":1}', 7)
    assert [(message.text, message.hits) for message in call.messages] == [('{"result":{}}', {"email": 2})]
    assert call.hits == {"email": 2}
    assert [step.seq for step in call.steps] == [1, 2]


def test_the_time_is_split_into_waiting_upstream_and_the_rest():
    (call,) = fold([intent(after_us=700), outcome(2, after_us=3_000, total_us=3_200)])
    assert (call.waiting_us, call.upstream_us, call.finishing_us, call.total_us) == (700, 2_300, 200, 3_200)


def test_a_recorded_upstream_time_counts_more_than_the_times_of_the_events():
    (call,) = fold([intent(), outcome(2, total_us=3_200, upstream_us=1_500)])
    assert (call.upstream_us, call.finishing_us) == (1_500, 1_000)


@pytest.mark.parametrize("verdict", ["deny", "hold"])
def test_a_refused_call_is_denied_and_has_no_upstream_time(verdict):
    body = {**OPENING, "verdict": verdict, "reason": "not now"}
    (call,) = fold([entry(1, "gateway:call:denied", body, after_us=400, payload=b"{}")])
    assert (call.state, call.verdict, call.reason, call.total_us, call.upstream_us) == (
        "denied",
        verdict,
        "not now",
        400,
        None,
    )
    assert call.messages == []


@pytest.mark.parametrize("state", sorted(OUTCOMES.values()))
def test_every_outcome_is_a_state_of_its_own(state):
    (call,) = fold([intent(), outcome(2, state, payload=None, reason="timeout")])
    assert (call.state, call.outcome_reason, call.messages) == (state, "timeout", [])


def test_a_call_without_an_outcome_is_open():
    (call,) = fold([intent()])
    assert (call.state, call.ended_at, call.total_us) == ("open", None, None)


def test_a_streamed_call_keeps_its_messages_in_order_and_adds_up_what_was_masked():
    relayed = [
        entry(2, "upstream:message:relayed", {"kind": "notification", "hits": {"email": 1}}, payload=b'{"n":1}'),
        entry(3, "upstream:message:withheld", {"reason": "sampling_not_allowed"}),
        entry(4, "upstream:message:relayed", {"kind": "notification", "hits": {"card": 3}}, payload=b'{"n":2}'),
    ]
    (call,) = fold([intent(), *relayed])
    assert [(message.kind, message.text) for message in call.messages] == [
        ("notification", '{"n":1}'),
        ("withheld", None),
        ("notification", '{"n":2}'),
    ]
    assert call.messages[1].is_withheld
    assert call.messages[1].reason == "sampling_not_allowed"
    assert call.hits == {"email": 1, "card": 3}
    (ended,) = fold([intent(), *relayed, outcome(5, hits={"email": 1, "card": 3, "iban": 1})])
    assert ended.hits == {"email": 1, "card": 3, "iban": 1}


def test_calls_that_overlap_are_told_apart_and_stay_in_the_order_in_which_they_began():
    calls = fold([intent(1), intent(2, call=TWO, name="list_orders"), outcome(3, call=TWO), outcome(4)])
    assert [(call.id, call.name, call.state) for call in calls] == [
        (ONE, "get_order", "completed"),
        (TWO, "list_orders", "completed"),
    ]


def test_events_of_the_session_itself_are_no_calls():
    assert fold([entry(1, "gateway:session:started", {}, call=None)]) == []


def test_entries_left_out_of_a_list_are_counted():
    (call,) = fold([intent(), outcome(2, dropped=3)])
    assert call.dropped == 3


def test_a_long_message_is_unpacked_and_a_damaged_one_is_said_to_be():
    text = " ".join(map(str, range(2_000)))
    packed = zstandard.ZstdCompressor().compress(text.encode())
    assert payload_text(packed) == text
    assert payload_text(packed[: len(packed) // 2]) == UNREADABLE
    assert payload_text(b"\xff{}") == "\\xff{}"
    assert payload_text(None) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "gateway:call:intent",
                    "gateway:call:denied",
                    "upstream:message:relayed",
                    *OUTCOMES,
                    "other:thing:done",
                ]
            ),
            st.one_of(
                st.text(max_size=20),
                st.dictionaries(
                    st.sampled_from(
                        [
                            "method",
                            "name",
                            "id",
                            "hits",
                            "received_us",
                            "total_us",
                            "dropped",
                            "status",
                            "reason",
                            "kind",
                        ]
                    ),
                    st.recursive(
                        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                        lambda inner: (
                            st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
                        ),
                        max_leaves=4,
                    ),
                ).map(json.dumps),
            ),
            st.none() | st.binary(max_size=30),
        ),
        max_size=8,
    )
)
def test_no_record_however_damaged_stops_the_reader(events):
    calls = fold(entry(seq, name, body, payload=payload) for seq, (name, body, payload) in enumerate(events, start=1))
    assert len(calls) == bool(events)
    for call in calls:
        assert call.title
        assert call.hits_count >= 0
        assert call.finishing_us is None or call.finishing_us >= 0


def test_a_frame_that_claims_to_be_huge_is_not_unpacked():
    # A zstd header without a window whose eight-byte content size says one tebibyte (RFC 8878, section 3.1.1.1).
    assert payload_text(b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00") == UNREADABLE
