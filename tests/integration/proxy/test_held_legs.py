"""A TypeScript client of 2026-07-28 waits in legs: it comes back to its held call with a state that is good once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.support.gateway import LiveGateway
from tests.support.upstream import ScriptedUpstream

from .approvals import decide, pending, request
from .calls import in_force, rpc
from .held import KEY, Held, calls_seen
from .test_held_resumed import META, MODERN_HEADERS

NODE = {**MODERN_HEADERS, "user-agent": "node", "x-approval-wait": "10"}
"""In ten seconds come ten legs of one."""
REFUSED = "This requestState is not, or no longer, good for this call."


def leg(hold: Callable[..., Held], state: str = "", *, order: int, id: int = 1, **options: Any) -> Held:
    params: dict[str, Any] = {"name": "refund_order", "arguments": {"id": order}, "_meta": META}
    if state:
        params["requestState"] = state
    return hold(rpc("tools/call", params, id), **{**NODE, **options})


def state_of(answer: Held) -> str:
    assert answer.result["resultType"] == "input_required"
    assert set(answer.result) == {"resultType", "requestState"}
    return str(answer.result["requestState"])


def test_a_leg_ends_with_a_state_and_the_call_goes_on_with_it(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    first = state_of(leg(hold, order=201))
    waiting = pending(live_gateway)
    second = state_of(leg(hold, first, order=201, id=2))
    assert first != second
    assert waiting["code"] not in first
    third = leg(hold, second, order=201, id=3)
    decide(live_gateway, waiting["code"])
    assert third.message["id"] == 3
    assert third.text == "fine"
    [sent] = calls_seen(upstream)
    assert "requestState" not in sent["params"]
    rows = live_gateway.sql("SELECT count(*) FROM policies_approvalrequest WHERE arguments->>'id' = '201'")
    assert rows[0]["count"] == 1


def test_a_decision_between_two_legs_is_found_by_the_next(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    state = state_of(leg(hold, order=202))
    decide(live_gateway, pending(live_gateway)["code"])
    assert leg(hold, state, order=202).text == "fine"
    refused = state_of(leg(hold, order=203))
    decide(live_gateway, pending(live_gateway)["code"], approve=False, reason="never")
    assert "never" in leg(hold, refused, order=203).text
    assert len(calls_seen(upstream)) == 1


def test_a_state_is_good_once_for_one_call_and_for_whom_it_was_given(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    state = state_of(leg(hold, order=204))
    code = pending(live_gateway)["code"]
    for tried in (
        leg(hold, state, order=204, who={"sub": "mallory"}),
        leg(hold, state, order=205),
        leg(hold, state[:-1] + ("A" if state[-1] != "A" else "B"), order=204),
        leg(hold, "wgl.", order=204),
        leg(hold, "wgl." + "A" * 3000, order=204),
    ):
        assert REFUSED in tried.text
        assert tried.text.startswith("NOT EXECUTED")
    # None of them has used it up.
    following = state_of(leg(hold, state, order=204))
    assert REFUSED in leg(hold, state, order=204).text
    decide(live_gateway, code)
    assert leg(hold, following, order=204).text == "fine"
    assert REFUSED in leg(hold, following, order=204).text
    assert len(calls_seen(upstream)) == 1


def test_after_ten_legs_the_client_is_told_how_to_go_on(live_gateway: LiveGateway, hold: Callable[..., Held]) -> None:
    state, began = "", time.monotonic()
    for _ in range(9):
        state = state_of(leg(hold, state, order=206))
    last = leg(hold, state, order=206)
    assert last.result["_meta"][KEY]["status"] == "pending"
    assert last.result["_meta"][KEY]["retry"] == "same_arguments"
    assert time.monotonic() - began > 9
    decide(live_gateway, pending(live_gateway)["code"], approve=False)


def test_a_state_of_ours_never_reaches_the_upstream(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, hold: Callable[..., Held]
) -> None:
    state = state_of(leg(hold, order=207))
    decide(live_gateway, pending(live_gateway)["code"], approve=False)
    guardrail = {"name": "refunds wait", "effect": "hold", "methods": ["tools/call"], "names": ["refund_*"]}
    live_gateway.seed({"guardrails": [{**guardrail, "is_active": False}]})
    in_force(live_gateway)
    assert leg(hold, state, order=207).text == "fine"
    live_gateway.seed({"guardrails": [{**guardrail, "is_active": True}]})
    in_force(live_gateway)
    theirs = leg(hold, "of-the-upstream", order=208)
    decide(live_gateway, pending(live_gateway)["code"])
    assert theirs.text == "fine"
    sent = [message["params"].get("requestState") for message in calls_seen(upstream)]
    assert [state for state in sent if state] == ["of-the-upstream"]


def test_the_states_of_other_clients_are_never_asked_for(live_gateway: LiveGateway, hold: Callable[..., Held]) -> None:
    answer = leg(hold, order=209, **{"user-agent": "python-httpx2/2.16.2", "x-approval-wait": "1"})
    assert answer.result["resultType"] == "complete"
    assert request(live_gateway, pending(live_gateway)["code"])["state"] == "held"
    decide(live_gateway, pending(live_gateway)["code"], approve=False)
