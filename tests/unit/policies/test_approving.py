"""Who may decide, and whether enough people have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.approving import (
    Approver,
    Stage,
    StagesRefused,
    is_own,
    may_decide,
    next_stage,
    read_stages,
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
