from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions import chain

INSTANCE = bytes(range(16))
SESSION, CALL = b"s" * 16, b"c" * 16


def entry(seq: int, **changes: Any) -> chain.Entry:
    whole = {
        "seq": seq,
        "at_us": 1_700_000_000_000_000 + seq,
        "session": SESSION,
        "call": CALL,
        "name": "gateway:call:intent",
        "body": b'{"n":%d}' % seq,
        "payload": b"payload %d" % seq if seq % 2 else None,
    }
    return chain.Entry(**{**whole, **changes})


def log(length: int) -> list[chain.Stored]:
    stored: list[chain.Stored] = []
    head = chain.GENESIS
    for seq in range(1, length + 1):
        own = chain.link(INSTANCE, head, entry(seq))
        stored.append(chain.Stored(entry(seq), head, own))
        head = own
    return stored


def test_an_untouched_log_is_intact() -> None:
    events = log(20)
    assert chain.verify(INSTANCE, events) == chain.Intact(20, events[-1].hash)


def test_an_empty_log_is_intact() -> None:
    assert chain.verify(INSTANCE, []) == chain.Intact(0, chain.GENESIS)


def test_a_range_verifies_from_the_hash_before_it() -> None:
    events = log(20)
    assert chain.verify(INSTANCE, events[10:], prev_hash=events[9].hash, seq=11) == chain.Intact(10, events[-1].hash)


@pytest.mark.parametrize(
    "change",
    [
        {"at_us": 1},
        {"session": b"x" * 16},
        {"call": chain.NOTHING},
        {"name": "gateway:call:denied"},
        {"body": b"{}"},
        {"payload": b"other"},
        {"payload": None},
        {"payload": b""},
    ],
)
@given(place=st.integers(0, 29))
def test_a_changed_field_is_found_where_it_is(change: dict[str, Any], place: int) -> None:
    events = log(30)
    before = events[place]
    changed = before.entry._replace(**change)
    if changed == before.entry:
        return
    events[place] = before._replace(entry=changed)
    assert chain.verify(INSTANCE, events) == chain.Broken(place + 1, "changed")


@given(place=st.integers(0, 28))
def test_a_change_with_a_new_hash_of_its_own_breaks_the_next_link(place: int) -> None:
    events = log(30)
    forged = events[place].entry._replace(body=b"forged")
    events[place] = chain.Stored(forged, events[place].prev_hash, chain.link(INSTANCE, events[place].prev_hash, forged))
    assert chain.verify(INSTANCE, events) == chain.Broken(place + 2, "unlinked")


@given(place=st.integers(0, 28))
def test_a_missing_event_is_a_gap(place: int) -> None:
    events = log(30)
    del events[place]
    assert chain.verify(INSTANCE, events) == chain.Broken(place + 1, "gap")


@given(first=st.integers(0, 29), second=st.integers(0, 29))
def test_two_swapped_events_are_found(first: int, second: int) -> None:
    if first == second:
        return
    events = log(30)
    events[first], events[second] = events[second], events[first]
    assert chain.verify(INSTANCE, events) == chain.Broken(min(first, second) + 1, "gap")


def test_a_chain_of_another_process_does_not_verify() -> None:
    assert chain.verify(bytes(16), log(3)) == chain.Broken(1, "changed")


@dataclass(frozen=True)
class Pair:
    first: tuple[str, bytes, bytes]
    second: tuple[str, bytes, bytes]


TEXTS = st.tuples(st.text(max_size=6), st.binary(max_size=6), st.binary(max_size=6))


@given(st.builds(Pair, TEXTS, TEXTS))
def test_no_two_events_hash_alike_by_moving_bytes_between_fields(pair: Pair) -> None:
    hashes = [
        chain.link(INSTANCE, chain.GENESIS, entry(1, name=name, body=body, payload=payload))
        for name, body, payload in (pair.first, pair.second)
    ]
    assert (hashes[0] == hashes[1]) is (pair.first == pair.second)
