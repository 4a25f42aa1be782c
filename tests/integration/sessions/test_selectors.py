"""A session's calls as they are read from the record."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sessions import selectors
from sessions.selectors import CallFilter
from tests.support.record import START, Record

pytestmark = pytest.mark.django_db


@pytest.fixture
def record():
    return Record()


def names(page):
    return [call.name for call in page.calls]


def test_calls_come_in_order_and_only_those_of_the_session(record):
    for name in ("one", "two"):
        record.call(name)
    Record(slug="wiki").call("elsewhere")
    page = selectors.calls_of(session=record.session)
    assert names(page) == ["one", "two"]
    assert page.after is None


def test_a_long_session_comes_in_pages_without_a_gap_or_a_double(record):
    for number in range(7):
        record.call(f"tool{number}")
    seen, after = [], 0
    while after is not None:
        page = selectors.calls_of(session=record.session, after=after, limit=3)
        seen += names(page)
        after = page.after
    assert seen == [f"tool{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (CallFilter(verdict="deny"), ["delete_order"]),
        (CallFilter(verdict="hold"), ["refund_order"]),
        (CallFilter(text="ORDER"), ["get_order", "delete_order", "refund_order"]),
        (CallFilter(text="tools/list"), [""]),
        (CallFilter(verdict="allow", text="order"), ["get_order"]),
        (CallFilter(text="nothing"), []),
    ],
)
def test_calls_are_found_by_verdict_and_by_a_part_of_their_name(record, wanted, expected):
    record.call("get_order")
    record.call("delete_order", verdict="deny")
    record.call("refund_order", verdict="hold")
    record.call("", method="tools/list")
    assert names(selectors.calls_of(session=record.session, wanted=wanted)) == expected


def test_a_filter_that_looked_long_enough_says_where_to_go_on(record, monkeypatch):
    monkeypatch.setattr(selectors, "SCAN_CALLS", 2)
    for name in ("a", "b", "c", "wanted"):
        record.call(name)
    page = selectors.calls_of(session=record.session, wanted=CallFilter(text="wanted"))
    assert page.calls == []
    following = selectors.calls_of(session=record.session, wanted=CallFilter(text="wanted"), after=page.after)
    assert names(following) == ["wanted"]


def test_messages_that_are_too_long_for_a_page_are_left_to_a_page_of_their_own(record, monkeypatch):
    monkeypatch.setattr(selectors, "PAGE_PAYLOAD_BYTES", 1_000)
    record.call("small")
    long = record.call("long", answers=({"text": " ".join(map(str, range(3_000)))},))
    page = selectors.calls_of(session=record.session)
    assert page.shortened == {long}
    small_call, long_call = page.calls
    assert small_call.messages[0].text
    assert (long_call.name, long_call.state, long_call.request) == ("long", "completed", None)
    assert [message.text for message in long_call.messages] == [None]
    whole = selectors.call_of(session=record.session, call_id=long)
    assert "2999" in whole.messages[0].text


def test_a_call_of_another_session_is_not_found(record):
    other = Record(slug="wiki")
    assert selectors.call_of(session=record.session, call_id=other.call()) is None


def test_a_page_costs_a_fixed_number_of_queries(record, django_assert_num_queries):
    for number in range(30):
        record.call(f"tool{number}")
    with django_assert_num_queries(4):
        selectors.calls_of(session=record.session)


def test_calls_are_counted_by_verdict_and_only_the_recent_ones(record):
    record.call("old")
    record.now += timedelta(hours=2)
    since = record.now
    for verdict in ("allow", "allow", "hold", "deny"):
        record.call(verdict=verdict)
    record.call('"verdict":"hold"', verdict="deny")
    counts = selectors.verdicts_since(since=since)
    assert (counts.allowed, counts.held, counts.denied, counts.is_partial) == (2, 1, 2, False)


def test_counting_stops_at_a_bound_and_says_so(record, monkeypatch):
    monkeypatch.setattr(selectors, "SCAN_EVENTS", 3)
    for _ in range(5):
        record.call(verdict="deny")
    counts = selectors.verdicts_since(since=START)
    assert (counts.denied, counts.is_partial) == (3, True)


def test_without_permission_nothing_is_visible(record, django_user_model):
    nobody = django_user_model.objects.create_user("nobody")
    admin = django_user_model.objects.create_superuser("root")
    assert not selectors.sessions_visible_to(user=nobody).exists()
    assert not selectors.events_visible_to(user=nobody).exists()
    assert selectors.sessions_visible_to(user=admin).get() == record.session
