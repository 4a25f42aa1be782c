from __future__ import annotations

import dataclasses

import pytest

from policies.engine.verdicts import Allow, Deny, Effect, Hold


def test_effects_stand_in_order_of_precedence():
    assert list(Effect) == [Effect.DENY, Effect.HOLD, Effect.ALLOW]


@pytest.mark.parametrize(
    ("verdict", "effect"),
    [(Allow("grant"), Effect.ALLOW), (Hold("r", "why"), Effect.HOLD), (Deny("r", "why"), Effect.DENY)],
)
def test_each_verdict_tells_its_effect(verdict, effect):
    assert verdict.effect is effect


def test_a_verdict_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Deny("r", "why").rule = "other"
