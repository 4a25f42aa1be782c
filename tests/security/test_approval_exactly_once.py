"""What was approved runs once: whoever else asks at the same moment, on however many processes, and whatever dies.

    WARDGATE_APPROVAL_RACES=50 python3 run.py test tests/security/test_approval_exactly_once.py -s

sends the same call 200 times at once to three gateway processes, 50 times, and kills a gateway at every labelled step
of an approved call for every way of waiting; the suite sends it 40 times, twice, and takes the ways in turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.proxy.approvals import decide, pending, request
from tests.integration.proxy.calls import post, tool
from tests.integration.proxy.test_held_calls import begun, task_of
from tests.integration.proxy.test_stopped_at_once import second_process
from tests.support import held_callers
from tests.support.gateway import BEARER, LiveGateway, gateway_running
from tests.support.held_callers import all_said, approve, call_bytes, forwarded, said
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.usefixtures("clean_upstream")
IS_FULL = "WARDGATE_APPROVAL_RACES" in os.environ
ROUNDS = int(os.environ.get("WARDGATE_APPROVAL_RACES", "2"))
RACERS = 200 if IS_FULL else 40
LABELS = ["decided", "intent_durable", "connected", "head_received", "answer_received", "outcome_durable"]
WAYS = ["stream", "plain", "task"]
KILLS = [(label, way) for label in LABELS for way in WAYS]
KILLS = KILLS if IS_FULL else [(label, WAYS[place % 3]) for place, label in enumerate(LABELS)]


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [{"slug": "orders", "upstream_url": upstream.url, "credential": BEARER}],
        "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
        "guardrails": [{"name": "wait", "effect": "hold", "methods": ["tools/call"], "names": ["refund_*"]}],
    }


def intents(gateway: LiveGateway, code: str) -> list[Any]:
    """Return the intents that consumed the approval `code`."""
    return [row for row in gateway.events("gateway:call:intent") if row["body"].get("approval") == code]


# Races.


@pytest.fixture(scope="module")
def processes(
    gateway_seed: dict[str, list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[LiveGateway]]:
    """Run three processes of one gateway."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("first")
        first = stack.enter_context(gateway_running(gateway_seed, folder, environment=held_callers.ROOMY))
        others = [second_process(first, tmp_path_factory.mktemp("other")) for _ in range(2)]
        for other in others:
            other.environment.update(held_callers.ROOMY)
            stack.callback(other.stop)
            other.start()
        yield [first, *others]


@pytest.mark.parametrize("is_approved_before", [True, False], ids=["approved before", "approved while all wait"])
async def test_of_many_equal_calls_at_once_one_runs(
    processes: list[LiveGateway], upstream: ScriptedUpstream, is_approved_before: bool
) -> None:
    first, ports = processes[0], [process.port for process in processes]
    answers: Counter[str] = Counter()
    for number in range(ROUNDS):
        upstream.clear()
        token = first.token()
        body = call_bytes("refund_order", {"id": number, "before": is_approved_before})
        if is_approved_before:
            await said(ports[0], ("orders", token, body))
            code = pending(first)["code"]
            approve(first, [code])
            racing = all_said(ports, [("orders", token, body)] * RACERS, at_once=RACERS, wait="5")
        else:
            racing = asyncio.ensure_future(  # type: ignore[assignment]
                all_said(ports, [("orders", token, body)] * RACERS, at_once=RACERS, wait="15")
            )
            code = (await asyncio.to_thread(pending, first))["code"]
            await asyncio.to_thread(all_wait, first, number)
            await asyncio.to_thread(approve, first, [code])
        texts = await racing
        assert len(forwarded(upstream)) == 1
        assert len(intents(first, code)) == 1
        assert request(first, code)["state"] == "used"
        answers.update("the result" if text == "fine" else text.split(".")[0] for text in texts)
        first.sql("UPDATE policies_approvalrequest SET state = 'cancelled' WHERE state IN ('held', 'approved')")
    print(f"{RACERS} equal calls on 3 processes, {ROUNDS} times: 1 intent each time; answers {dict(answers)}")


def all_wait(gateway: LiveGateway, number: int) -> None:
    """Return once every call of the round is recorded as held."""

    def are_held() -> bool:
        [row] = gateway.sql(
            "SELECT count(*) FROM gateway_sessions_event e JOIN policies_approvalrequest r ON r.state = 'held' "
            "WHERE e.name = 'approval:request:held' AND e.at >= r.opened_at AND position(r.code in e.body) > 0"
        )
        return bool(row["count"] >= RACERS)

    wait_until(are_held, seconds=12, what=f"that all calls of round {number} wait")


# Kills.


class Waiting:
    """A call that waits in one of the three ways; what it gets is not looked at, for its gateway dies."""

    def __init__(self, gateway: LiveGateway, way: str) -> None:
        self.task_id = ""
        if way == "task":
            self.task_id = begun(gateway, id=1)["taskId"]
            return
        headers = {"accept": "application/json"} if way == "plain" else {}
        self._thread = threading.Thread(target=self._call, args=(gateway, headers), daemon=True)
        self._thread.start()

    @staticmethod
    def _call(gateway: LiveGateway, headers: dict[str, str]) -> None:
        try:
            post(gateway, tool("refund_order", id=1), x_approval_wait="14", **headers)
        except httpx.HTTPError:
            return


@pytest.mark.parametrize(("label", "way"), KILLS)
def test_a_gateway_killed_at_any_step_of_an_approved_call_never_lets_it_run_twice(
    gateway_seed: dict[str, Any], upstream: ScriptedUpstream, tmp_path: Path, label: str, way: str
) -> None:
    crash = {"WARDGATE_CRASH_AT": label}
    with gateway_running(
        gateway_seed, tmp_path, environment=crash, application="tests.support.crash_app:application"
    ) as gateway:
        waiting = Waiting(gateway, way)
        code = pending(gateway)["code"]
        decide(gateway, code)
        wait_until(lambda: gateway.process.poll() is not None, what="the end of the killed gateway")
        was_intended = label != "decided"
        assert len(intents(gateway, code)) == was_intended
        sent = len(forwarded(upstream))
        assert sent <= was_intended
        gateway.server.environment.pop("WARDGATE_CRASH_AT")
        gateway.start()
        if was_intended:
            # What may have run does not run again, whoever asks.
            [state] = gateway.sql("SELECT state FROM policies_approvalrequest WHERE code = %s", code)
            assert state["state"] == "used"
            outcomes = [row["name"] for row in intents_and_ends(gateway, code)]
            assert len(outcomes) == 1
            if label != "outcome_durable":
                assert outcomes == ["gateway:call:outcome_unknown"]
        else:
            # Nothing has left: the claim is given back, and the call runs for whoever still wants it.
            wait_until(
                lambda: request(gateway, code)["state"] == "approved", seconds=20, what="the return of the claim"
            )
        repeated(gateway, waiting.task_id, was_intended=was_intended)
        assert len(intents(gateway, code)) == 1
        assert len(forwarded(upstream)) == (sent if was_intended else 1)


def intents_and_ends(gateway: LiveGateway, code: str) -> list[Any]:
    """Return the ends of the calls whose intents consumed the approval."""
    calls = {row["call_id"] for row in intents(gateway, code)}
    ends = ("completed", "upstream_error", "not_sent", "aborted_by_client", "outcome_unknown")
    return [row for row in gateway.events() if row["call_id"] in calls and row["name"].rpartition(":")[2] in ends]


def repeated(gateway: LiveGateway, task_id: str, *, was_intended: bool) -> None:
    """Ask again as the client would: for its task until that ends, or with the very same call."""
    if not task_id:
        text = post(gateway, tool("refund_order", id=1), x_approval_wait="1").text
        assert "needs approval" in text or "lost" in text if was_intended else "fine" in text or "completed" in text
        return
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(task_of(gateway, task_id)["result"])
        return bool(found["status"] == "completed")

    wait_until(has_ended, seconds=10, what="the end of the task")
    assert was_intended or found["result"]["content"][0]["text"] == "fine", json.dumps(found)
