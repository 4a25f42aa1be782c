"""The axis of time: in order, in bounds, and with short silences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from sessions.calls import CallView
from sessions.timeline import IDLE_US, LANES, drawn, position

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def call(from_us: int, took_us: int, **members: object) -> CallView:
    begun = START + timedelta(microseconds=from_us)
    return CallView(
        UUID(int=from_us), begun, ended_at=begun + timedelta(microseconds=took_us), total_us=took_us, **members
    )


spans = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**9)), max_size=30)


@given(spans)
def test_every_bar_is_in_bounds_and_the_axis_goes_forward(pairs: list[tuple[int, int]]) -> None:
    timeline = drawn([call(*pair) for pair in sorted(pairs)], START)
    places = [x for _, x in timeline.knots]
    assert places == sorted(places)
    assert [moment for moment, _ in timeline.knots] == sorted(moment for moment, _ in timeline.knots)
    for bar in timeline.bars:
        assert bar.x >= -0.01
        assert bar.x + bar.width <= 1000.01
        assert 0 <= bar.lane < LANES
        assert bar.waiting + bar.upstream <= bar.width + 0.01
    for mark in timeline.marks:
        assert 0 <= mark.x <= 1000


@given(spans, st.integers(0, 10**12))
def test_every_moment_has_a_place(pairs: list[tuple[int, int]], moment: int) -> None:
    timeline = drawn([call(*pair) for pair in sorted(pairs)], START)
    assert -0.01 <= position(timeline.knots, moment) <= 1000.01


def test_a_long_silence_is_drawn_short_and_a_short_one_as_it_is() -> None:
    timeline = drawn([call(0, 1_000_000), call(2_000_000, 1_000_000), call(3_600_000_000, 1_000_000)], START)
    [gap] = timeline.gaps
    assert gap.us == 3_597_000_000
    assert abs(gap.width - 1000 * IDLE_US / 7_000_000) < 0.1


def test_calls_at_the_same_time_have_lanes_of_their_own() -> None:
    timeline = drawn([call(number, 1_000_000) for number in range(6)], START)
    assert [bar.lane for bar in timeline.bars] == [0, 1, 2, 3, 3, 3]
    assert timeline.lanes == 4


def test_markers_are_counted_by_kind() -> None:
    calls = [
        call(0, 2_000_000, hits={"email": 1}),
        call(5, 1, state="denied", verdict="deny"),
        call(9, 1, verdict="hold"),
    ]
    timeline = drawn(calls, START)
    assert timeline.counts == {"denied": 1, "held": 1, "masked": 1, "error": 0, "slow": 1}


def test_a_page_without_calls_has_an_empty_axis() -> None:
    timeline = drawn([], START)
    assert (timeline.bars, timeline.knots_text, position(timeline.knots, 5)) == ([], "", 0.0)


def test_a_call_that_ends_before_it_begins_has_no_length() -> None:
    [bar] = drawn([call(1_000, -5_000_000)], START).bars
    assert bar.from_us == bar.until_us == 1_000
