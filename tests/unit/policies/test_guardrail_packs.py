from __future__ import annotations

import pytest

from policies.engine.compile import compile_rule
from policies.engine.guardrail_packs import PACKS
from policies.engine.pack_rules import failures, rows_of, values_of

PROMISED = {
    "destructive-sql", "mass-export", "kubernetes", "shell", "secrets", "file-writes", "payments-and-mail",
    "after-hours", "way-out", "budgets",
}  # fmt: skip


def test_every_pack_that_was_promised_is_there():
    assert set(PACKS) == PROMISED


@pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.id)
def test_the_rules_of_a_pack_do_what_its_cases_say(pack):
    assert failures(pack) == []


@pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.id)
def test_each_rule_of_a_pack_has_a_case_that_it_decides_and_each_pack_one_that_passes(pack):
    decided = {case.rule for case in pack.cases if case.rule}
    assert decided == {rule.name for rule in pack.rules}
    assert any(case.effect == "allow" for case in pack.cases)


@pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.id)
def test_the_rules_of_a_pack_fit_into_the_rows_of_guardrails(pack):
    for row in rows_of(pack, values_of(pack, {}), scope="x" * 40):
        assert compile_rule(row)
        assert "$" not in row.condition.replace("$)", "").replace("$|", "").replace('$"', "").replace("$'", "")
        assert len(row.condition) <= 4096
        assert len(row.name) <= 100
        assert len(row.reason) <= 255


def test_names_of_rules_are_not_used_by_two_packs():
    names = [rule.name for pack in PACKS.values() for rule in pack.rules]
    assert len(set(names)) == len(names)
