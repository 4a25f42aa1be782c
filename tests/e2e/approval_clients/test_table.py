"""What is expected of a client follows from how long it is held and when it gives up."""

from __future__ import annotations

import math

import pytest

from tests.e2e.approval_clients.table import Ending, kind_of, possible, predicted, shown

PENDING = (
    'NOT EXECUTED. "transfer" on connection accounts needs approval APR-7F3K (rule: transfers wait). Status: waiting '
    "for 1 of anybody until 17:00 UTC. http://127.0.0.1:1/approvals/APR-7F3K/. Tell the user; when it is approved, "
    "call the same tool again with exactly the same arguments. Changing the arguments starts a new approval. Do not "
    "try another way to do this."
)


@pytest.mark.parametrize(
    ("held", "gives_up", "decided_at", "kinds"),
    [
        (math.inf, math.inf, 330, ["result"]),
        (50, 60, 30, ["result"]),
        (50, 60, 70, ["pending", "result"]),
        (50, 60, 330, ["pending", "pending", "pending", "result"]),
        (math.inf, 5, 7, ["gave up", "result"]),
        # Learned from two calls: the third ends before the client does.
        (math.inf, 5, 30, ["gave up", "gave up", "pending", "result"]),
    ],
)
def test_calls_end_with_whichever_is_less_until_the_decision_is_there(
    held: float, gives_up: float, decided_at: float, kinds: list[str]
) -> None:
    assert predicted(held=held, gives_up=gives_up, decided_at=decided_at) == kinds


def test_a_request_that_expires_when_nobody_waits_ends_no_call() -> None:
    assert predicted(held=5, gives_up=60, decided_at=30, decision="expired") == ["pending"] * 3


def test_a_decision_at_the_very_end_of_a_call_may_come_on_either_side_of_it() -> None:
    assert possible(held=math.inf, gives_up=5, decided_at=5) == [["gave up", "result"], ["result"]]


def test_calls_that_end_after_different_times_may_teach_nothing() -> None:
    ways = possible(held=math.inf, gives_up=5, decided_at=30)
    assert ways == [["gave up", "gave up", "pending", "result"], ["gave up", "gave up", "gave up", "result"]]


def test_endings_of_one_kind_are_told_together() -> None:
    endings = [Ending("pending", 50.1, ""), Ending("pending", 100.6, ""), Ending("result", 120.0, "")]
    assert shown(endings) == "pending 50, 101 s, result 120 s"


def test_only_the_words_that_were_sent_count() -> None:
    assert kind_of("a", is_error=True, text=PENDING) == "pending"
    assert kind_of("a", is_error=False, text=PENDING) == "other"
    assert kind_of("a", is_error=True, text=PENDING.replace("Do not try another way to do this.", "")) == "other"
    assert kind_of("a", is_error=False, text="transferred for a") == "result"
    assert kind_of("a", is_error=False, text="transferred for b") == "other"
