from __future__ import annotations

import pytest

from policies.engine.facts import UNKNOWN_TOOL, History, Past, ToolFacts


def past(at, name="get", connection="crm", size=0, labels=(), **values):
    return Past(at, connection, name, size, labels, values)


HISTORY = History(
    [
        past(100, "fetch", "web", labels=("untrusted",), url="a"),
        past(150, "get", id="1"),
        past(190, "get", id="2", labels=("sensitive", "untrusted")),
        past(195, "get", id="1"),
    ]
)


@pytest.mark.parametrize(
    ("annotations", "is_read_only", "is_destructive"),
    [
        ({}, False, True),
        ({"readOnlyHint": True}, True, False),
        ({"readOnlyHint": True, "destructiveHint": True}, True, False),
        ({"destructiveHint": False}, False, False),
        ({"destructiveHint": True}, False, True),
        ({"readOnlyHint": "true"}, False, True),
        ({"readOnlyHint": 1, "destructiveHint": 0}, False, True),
    ],
)
def test_a_tool_that_says_nothing_clear_may_write_and_destroy(annotations, is_read_only, is_destructive):
    tool = ToolFacts(annotations)
    assert (tool.is_read_only, tool.is_destructive) == (is_read_only, is_destructive)


def test_of_an_unknown_tool_nothing_is_known():
    assert (dict(UNKNOWN_TOOL.annotations), UNKNOWN_TOOL.labels) == ({}, ())


def test_labels_stay_with_the_session_and_are_told_once():
    assert HISTORY.labels == ["sensitive", "untrusted"]
    assert History().labels == []


@pytest.mark.parametrize(
    ("glob", "count"), [("*", 4), ("get", 3), ("crm/get", 3), ("web/*", 1), ("crm/fetch", 0), ("GET", 0)]
)
def test_calls_are_counted_by_tool_or_by_connection_and_tool(glob, count):
    assert HISTORY.count(glob) == count


@pytest.mark.parametrize(("seconds", "count"), [(5, 0), (6, 1), (10, 1), (11, 2), (50, 2), (51, 3), (1000, 4)])
def test_a_rate_counts_calls_within_the_last_seconds(seconds, count):
    assert HISTORY.rate("*", seconds, 200) == count


def test_different_values_of_an_argument_are_counted_once_each():
    assert HISTORY.distinct("id") == 2
    assert HISTORY.distinct("url") == 1
    assert HISTORY.distinct("nothing") == 0
