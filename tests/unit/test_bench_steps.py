"""What the measuring tools take out of the product has to fit it still."""

from __future__ import annotations

import asyncio

import pytest

from bench.steps import call, pure


def test_the_step_that_measures_a_call_takes_one_through_the_gateway():
    assert 0 < asyncio.run(call.measure(calls=1, rounds=1)) < 1e6


@pytest.mark.parametrize("group", pure.GROUPS)
def test_every_single_step_can_be_taken(group):
    steps = list(pure.GROUPS[group]())
    assert steps
    for _, step in steps:
        step()
