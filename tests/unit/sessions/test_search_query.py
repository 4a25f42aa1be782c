"""The language of searches."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.calls import CallView
from sessions.search_query import MOST_CHARACTERS, Query, QueryRefused, any_like, parse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Query()),
        ("  refund order ", Query(words="refund order")),
        ('"exact words" -not', Query(words='"exact words" -not')),
        ("tool:get_* tool:list", Query(tools=("get_*", "list"))),
        ("tool:get_* tool:get_*", Query(tools=("get_*",))),
        ('rule:"no deletes" x', Query(rules=("no deletes",), words="x")),
        ("verdict:deny decision:hold", Query(verdicts=("deny", "hold"))),
        ("status:completed is:masked is:slow", Query(states=("completed",), marks=("masked", "slow"))),
        ("value:1042 value:order_id=a=b", Query(values=(("", "1042"), ("order_id", "a=b")))),
        ('value:city="x"', Query(values=(("city", '"x'),))),
        ("duration:>1.5s duration:<2m", Query(longer_us=1_500_000, shorter_us=120_000_000)),
        ("since:2h until:2026-03-01", Query(since=NOW - timedelta(hours=2), until=datetime(2026, 3, 1, tzinfo=UTC))),
        ("since:2026-03-01T12:30+02:00", Query(since=datetime(2026, 3, 1, 10, 30, tzinfo=UTC))),
        (f"session:{ID} call:{ID}", Query(sessions=(ID,), calls=(ID,))),
    ],
)
def test_terms_and_words_are_told_apart(text: str, expected: Query) -> None:
    assert parse(text, now=NOW) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("colour:red", "no term"),
        ("verdict:maybe", "allow, deny, hold"),
        ("tool:", "behind"),
        ('tool:""', "behind"),
        ("duration:2s", "duration:>2s"),
        ("since:yesterday", "2026-03-01"),
        ("since:999999d since:999999d", "2026-03-01"),
        ("session:1", "takes an id"),
        ("a " * 41, "terms"),
        ("x" * (MOST_CHARACTERS + 1), "characters"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_word_on_how_to_write_it(text: str, part: str) -> None:
    with pytest.raises(QueryRefused, match=part):
        parse(text, now=NOW)


@given(st.text(max_size=200))
def test_any_text_is_a_query_or_is_refused(text: str) -> None:
    try:
        parse(text, now=NOW)
    except QueryRefused as error:
        assert len(str(error)) < 500


def call(**members: Any) -> CallView:
    return CallView(ID, NOW, **{"name": "get_order", "method": "tools/call", "verdict": "allow", **members})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", True),
        ("GET order", True),
        ("get refund", False),
        ("tool:get_*", True),
        ("tool:get", False),
        ("tool:[a-z]*", False),
        ("method:tools/*", True),
        ("verdict:deny", False),
        ("state:open", True),
        ("duration:>1s", True),
        ("duration:<1s", False),
        ("is:slow", True),
        ("is:slow is:masked", False),
        ("since:1h", True),
        ("until:1h", False),
        (f"call:{ID}", True),
        (f"call:{uuid.UUID(int=8)}", False),
    ],
)
def test_a_call_of_a_session_matches_or_does_not(text: str, found: bool) -> None:
    assert parse(text, now=NOW).matches(call(total_us=2_000_000)) is found


def test_a_duration_that_is_not_known_is_neither_long_nor_short() -> None:
    assert not parse("duration:>0s", now=NOW).matches(call())
    assert not parse("duration:<9m", now=NOW).matches(call())


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [("a*c", "abc", True), ("a*c", "ab", False), ("a?c", "abc", False), ("a?c", "a?c", True), ("[a]", "[a]", True)],
)
def test_only_the_star_is_special(pattern: str, text: str, expected: bool) -> None:
    assert any_like((pattern,), text) is expected


def test_many_stars_cost_no_time() -> None:
    assert not any_like(("*a" * 200 + "b",), "a" * 512)
