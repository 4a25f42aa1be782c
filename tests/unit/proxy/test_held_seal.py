"""What clients hold in their hands to come back to a held call: sealed, bound, and never the same twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.held_seal import STATE, STREAM, HeldSeal, LegRef, NotOurs, StreamRef

from .test_session_refs import ANN, KEYS, ROUTE

STREAM_REF = StreamRef(UUID(int=1), b"s" * 16, b"c" * 16, 7)
LEG_REF = LegRef(UUID(int=1), UUID(int=2), 2, b"b" * 32, 2e9)
SEAL = HeldSeal(KEYS)


@given(st.one_of(st.text(max_size=128), st.integers(-(2**63), 2**63 - 1)))
def test_the_id_of_a_stream_opens_for_whom_it_was_made(message: str | int) -> None:
    ref = StreamRef(UUID(int=1), b"s" * 16, b"c" * 16, message)
    assert SEAL.open_stream(SEAL.stream(ref, ANN, ROUTE), ANN, ROUTE) == ref


def test_a_state_opens_for_whom_it_was_made_and_is_another_one_each_time() -> None:
    first, second = SEAL.state(LEG_REF, ANN, ROUTE), SEAL.state(LEG_REF, ANN, ROUTE)
    assert first != second
    assert SEAL.open_state(first, ANN, ROUTE) == SEAL.open_state(second, ANN, ROUTE) == LEG_REF


def test_what_an_older_key_has_sealed_still_opens_and_what_a_retired_one_has_does_not() -> None:
    older = HeldSeal(KEYS[1:]).state(LEG_REF, ANN, ROUTE)
    assert SEAL.open_state(older, ANN, ROUTE) == LEG_REF
    with pytest.raises(NotOurs):
        HeldSeal(KEYS[1:]).open_state(SEAL.state(LEG_REF, ANN, ROUTE), ANN, ROUTE)


@pytest.mark.parametrize("change", [{"issuer": "https://other"}, {"subject": "bob"}, {"client_id": "web"}])
def test_nobody_else_can_open_it(change: dict[str, Any]) -> None:
    state = SEAL.state(LEG_REF, ANN, ROUTE)
    with pytest.raises(NotOurs):
        SEAL.open_state(state, replace(ANN, **change), ROUTE)
    with pytest.raises(NotOurs):
        SEAL.open_state(state, ANN, replace(ROUTE, connection_key=str(UUID(int=2))))


def test_one_kind_does_not_open_as_the_other() -> None:
    with pytest.raises(NotOurs):
        SEAL.open_state(STATE + SEAL.stream(STREAM_REF, ANN, ROUTE).removeprefix(STREAM), ANN, ROUTE)
    with pytest.raises(NotOurs):
        SEAL.open_stream(STREAM + SEAL.state(LEG_REF, ANN, ROUTE).removeprefix(STATE), ANN, ROUTE)


@given(st.integers(0, 10_000), st.characters(exclude_categories=["Cs"]))
def test_a_single_changed_character_opens_nothing(place: int, letter: str) -> None:
    state = SEAL.state(LEG_REF, ANN, ROUTE)
    where = len(STATE) + place % (len(state) - len(STATE))
    changed = state[:where] + letter + state[where + 1 :]
    if changed == state:
        return
    with pytest.raises(NotOurs):
        SEAL.open_state(changed, ANN, ROUTE)


@given(st.text(max_size=300))
def test_whatever_a_client_sends_is_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(NotOurs):
        SEAL.open_stream(STREAM + text, ANN, ROUTE)
