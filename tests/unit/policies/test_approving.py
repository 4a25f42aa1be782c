"""Who may decide, and whether enough people have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.approving import (
    Approver,
    Awaited,
    Barred,
    Seat,
    Stage,
    StagesRefused,
    escalation_of,
    is_own,
    may_decide,
    next_stage,
    read_stages,
    seat,
    written,
)

STAGES = st.lists(
    st.builds(
        Stage,
        name=st.text(min_size=1, max_size=9),
        needed=st.integers(1, 3),
        groups=st.frozensets(st.integers(1, 9), min_size=1, max_size=3),
        owners=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(STAGES)
def test_what_was_written_is_read_back(stages: list[Stage]) -> None:
    assert list(read_stages(written(stages))) == stages


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ([], "list of one"),
        ("x", "list of one"),
        ([{"name": "a"}] * 6, "list of one"),
        (["a"], "write an object"),
        ([{"name": "a", "who": 1}], "write an object"),
        ([{"needed": 1}], "a name"),
        ([{"name": "a", "needed": 0}], "from 1 to"),
        ([{"name": "a", "needed": True}], "from 1 to"),
        ([{"name": "a", "groups": ["1"]}], "list of at most"),
        ([{"name": "a", "users": 1}], "list of at most"),
        ([{"name": "a", "owners": 1}], "true or false"),
        ([{"name": "a", "users": [1], "needed": 2}], "only 1 are named"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(value: Any, word: str) -> None:
    with pytest.raises(StagesRefused, match=word):
        read_stages(value)


def test_a_stage_that_names_nobody_is_for_everybody_and_one_that_names_some_for_those() -> None:
    somebody = Approver(user=1, groups=frozenset({5}))
    assert may_decide(Stage("all", 1), somebody)
    assert may_decide(Stage("g", 1, groups=frozenset({5})), somebody)
    assert may_decide(Stage("u", 1, users=frozenset({1})), somebody)
    assert not may_decide(Stage("g", 1, groups=frozenset({6})), somebody)
    assert not may_decide(Stage("o", 1, owners=True), somebody)
    assert may_decide(Stage("o", 1, owners=True), Approver(1, is_owner=True))


def test_the_requester_and_the_human_behind_it_are_the_same_for_this() -> None:
    assert is_own(Approver(1, principal="p"), "p", None)
    assert is_own(Approver(1, principal="boss"), "robot", "boss")
    assert not is_own(Approver(1, principal="q"), "p", "boss")
    assert not is_own(Approver(1), "p", None)


@given(STAGES, st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=12))
def test_more_approvals_never_lead_back_and_one_person_counts_once(
    stages: list[Stage], approvals: list[tuple[int, int]]
) -> None:
    reached = [next_stage(stages, approvals[:count]) for count in range(len(approvals) + 1)]
    order = [len(stages) if stage is None else stage for stage in reached]
    assert order == sorted(order)
    if reached[-1] is None:
        assert len({user for _, user in approvals}) >= sum(stage.needed for stage in stages)


def awaited(**values: Any) -> Awaited:
    return Awaited(**{"stage": Stage("team", 1, users=frozenset({1})), "requester": "p", **values})


@pytest.mark.parametrize(
    ("how", "person", "expected"),
    [
        ({}, Approver(1), Seat()),
        ({}, Approver(2), Barred.NOT_NAMED),
        ({"handed_to": frozenset({2})}, Approver(2), Seat()),
        ({"escalation": Stage("on call", 1, users=frozenset({2}))}, Approver(2), Seat()),
        ({"escalation": Stage("on call", 1, groups=frozenset({5}))}, Approver(2, groups=frozenset({5})), Seat()),
        ({"escalation": Stage("on call", 1, users=frozenset({3}))}, Approver(2), Barred.NOT_NAMED),
        ({"approved_by": frozenset({1})}, Approver(1), Barred.DECIDED),
        ({}, Approver(1, principal="p"), Barred.OWN),
        ({"owner": "boss"}, Approver(1, principal="boss"), Barred.OWN),
        ({}, Approver(1, principal="robot", owner="p"), Barred.OWN),
        ({"requester": "other", "owner": "boss"}, Approver(1, principal="robot", owner="boss"), Barred.OWN),
        ({}, Approver(2, stands_for=(Approver(1),)), Seat(1)),
        ({"handed_to": frozenset({3})}, Approver(2, stands_for=(Approver(3),)), Seat(3)),
        ({}, Approver(1, stands_for=(Approver(3),)), Seat()),
        ({}, Approver(2, principal="p", stands_for=(Approver(1),)), Barred.OWN),
        ({}, Approver(2, stands_for=(Approver(1, principal="p"),)), Barred.NOT_NAMED),
        ({"approved_by": frozenset({1})}, Approver(2, stands_for=(Approver(1),)), Barred.NOT_NAMED),
        ({"approved_by": frozenset({2})}, Approver(2, stands_for=(Approver(1),)), Barred.DECIDED),
        ({}, Approver(3, stands_for=(Approver(2, stands_for=(Approver(1),)),)), Barred.NOT_NAMED),
    ],
)  # fmt: skip
def test_who_may_decide_now_and_as_whom(how: dict[str, Any], person: Approver, expected: Seat | Barred) -> None:
    assert seat(awaited(**how), person) == expected


@pytest.mark.parametrize("value", [None, {}, [], "x", {"groups": []}, {"groups": ["x"]}, {"who": 1}])
def test_an_escalation_that_names_nobody_lets_nobody_decide(value: Any) -> None:
    assert escalation_of(value) is None


def test_an_escalation_names_people_as_a_stage_does() -> None:
    assert escalation_of({"users": [4]}) == Stage("Escalation", 1, users=frozenset({4}))


def test_a_delegate_and_the_person_for_whom_they_approve_count_once_together() -> None:
    two = [Stage("team", 2)]
    assert next_stage(two, [(0, 2, 1), (0, 1)]) == 0
    assert next_stage(two, [(0, 2, 1), (0, 2)]) == 0
    assert next_stage(two, [(0, 2, 1), (0, 3)]) is None
