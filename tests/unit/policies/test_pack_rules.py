from __future__ import annotations

import dataclasses

import pytest

from policies.engine.exceptions import PatternRefused
from policies.engine.guardrail_packs import AFTER_HOURS, BUDGETS, SHELL, WAY_OUT
from policies.engine.pack_rules import Failed, failures, rows_of, values_of


def test_defaults_stand_where_nothing_is_given():
    assert values_of(AFTER_HOURS, {"begins": "7", "ends": ""}) == {"zone": "Europe/Berlin", "begins": "7", "ends": "18"}


@pytest.mark.parametrize(
    ("pack", "given", "place"),
    [
        (AFTER_HOURS, {"zone": "Mars/Olympus"}, "zone"),
        (AFTER_HOURS, {"begins": "eight"}, "begins"),
        (AFTER_HOURS, {"begins": True}, "begins"),
        (AFTER_HOURS, {"begins": ["8"]}, "begins"),
        (BUDGETS, {"argument": 'a" || "'}, "argument"),
        (BUDGETS, {"calls": "1e9"}, "calls"),
        (SHELL, {"x" * 100: "1"}, "x" * 40),
    ],
)
def test_a_wrong_value_is_refused_at_its_parameter(pack, given, place):
    with pytest.raises(PatternRefused) as refused:
        values_of(pack, given)
    assert refused.value.place == place


def test_a_scope_makes_the_names_of_one_place_its_own():
    assert [row.name for row in rows_of(SHELL, {}, scope="orders")] == [f"{rule.name} (orders)" for rule in SHELL.rules]
    assert all(row.is_observed for row in rows_of(SHELL, {}, is_observed=True))


def test_a_case_that_ends_otherwise_is_told():
    case = WAY_OUT.cases[0]
    wrong = dataclasses.replace(WAY_OUT, cases=(dataclasses.replace(case, effect="allow"), case))
    assert failures(wrong) == [Failed(wrong.cases[0], "deny", case.rule)]


def test_other_values_of_parameters_decide_otherwise():
    failed = failures(AFTER_HOURS, {"zone": "Asia/Tokyo"})
    assert {item.case.tool for item in failed} == {"update_order"}
