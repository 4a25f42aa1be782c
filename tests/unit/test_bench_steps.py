"""What the measuring tools take out of the product has to fit it still."""

from __future__ import annotations

import asyncio

from bench.steps import call


def test_the_step_that_measures_a_call_takes_one_through_the_gateway():
    assert 0 < asyncio.run(call.measure(calls=1, rounds=1)) < 1e6
