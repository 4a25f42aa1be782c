"""Approvals that are good for more than one run: this very call, so often, for so long, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import seeding
from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

from .approvals import decide, pending, request
from .calls import in_force, tool
from .held import Held, calls_seen


@pytest.fixture(autouse=True)
def _rule(live_gateway: LiveGateway) -> None:
    rules = [{"name": "often", "stages": [{"name": "team"}], "max_uses": 3, "max_window_seconds": 1800}]
    guardrails = [
        {
            "name": "refunds wait", "effect": "hold", "methods": ["tools/call"], "names": ["refund_*"],
            "approval_rule": "often",
        }
    ]  # fmt: skip
    seeding.fill(live_gateway.environment, {"approval_rules": rules, "guardrails": guardrails})
    in_force(live_gateway)


def approved(gateway: LiveGateway, hold: Callable[..., Held], number: int, **values: Any) -> str:
    """Hold a call, approve it with `values`, see it run, and return the code of its request."""
    call = hold(tool("refund_order", id=number))
    code: str = pending(gateway)["code"]
    decide(gateway, code, **values)
    assert call.text == "fine"
    return code


def test_two_uses_run_twice_without_asking_again_and_the_third_call_asks(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    code = approved(live_gateway, hold, 21, uses=2, window_seconds=600)
    assert hold(tool("refund_order", id=21)).text == "fine"
    assert len(calls_seen(upstream)) == 2
    assert request(live_gateway, code)["state"] == "used"
    third = hold(tool("refund_order", id=21))
    again = pending(live_gateway)["code"]
    assert again != code
    decide(live_gateway, again, approve=False)
    assert "Denied" in third.text
    assert len(calls_seen(upstream)) == 2


def test_a_window_is_for_these_arguments_and_no_others(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    approved(live_gateway, hold, 22, uses=3, window_seconds=600)
    other = hold(tool("refund_order", id=23))
    decide(live_gateway, pending(live_gateway)["code"], approve=False)
    assert "Denied" in other.text
    assert [message["params"]["arguments"]["id"] for message in calls_seen(upstream)] == [22]


def test_after_its_window_the_same_call_asks_again(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    code = approved(live_gateway, hold, 24, uses=3, window_seconds=2)
    wait_until(lambda: is_over(live_gateway, code), seconds=5, what="the end of the window")
    held = hold(tool("refund_order", id=24))
    again = pending(live_gateway)["code"]
    assert again != code
    decide(live_gateway, again, approve=False)
    assert "Denied" in held.text
    assert len(calls_seen(upstream)) == 1


def is_over(gateway: LiveGateway, code: str) -> bool:
    """Tell whether the end of the approval has passed."""
    [row] = gateway.sql("SELECT usable_until < now() AS is_over FROM policies_approvalrequest WHERE code = %s", code)
    return bool(row["is_over"])
