"""Access for a time, on the data path: the credential leaves within it, and never before, beyond or after it."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from tests.support import seeding
from tests.support.gateway import UPSTREAM_SECRET, LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream

from .approvals import decide, pending
from .calls import ACCEPT, tool
from .held import calls_seen

TOOLS = {"connection": "orders", "principal": "dora", "tools": ["get_*"], "justification": "on call"}


def call(gateway: LiveGateway, name: str = "get_order") -> httpx.Response:
    """Call a tool as somebody who has no other access."""
    headers = {**gateway.headers(sub="dora", groups=[]), **ACCEPT}
    return httpx.post(gateway.url("orders"), json=tool(name), headers=headers, timeout=15)


def given(gateway: LiveGateway, **values: Any) -> str:
    """Ask for access, have it approved, and return the code of the request once a gateway lets calls through."""
    entry = {**TOOLS, "seconds": 600, **values}
    seeding.fill(gateway.environment, {"access": [entry]})
    code: str = pending(gateway)["code"]
    assert call(gateway).status_code == 404
    decide(gateway, code)
    wait_until(lambda: call(gateway).status_code == 200, seconds=5, what="access that was approved")
    return code


@pytest.fixture(autouse=True)
def _rule(live_gateway: LiveGateway) -> None:
    rule = {"name": "access", "stages": [{"name": "team"}], "max_window_seconds": 900, "access_to": ["orders"]}
    seeding.fill(live_gateway.environment, {"approval_rules": [rule]})


def test_before_it_is_approved_the_connection_does_not_exist_and_no_credential_leaves(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    assert call(live_gateway).status_code == 404
    seeding.fill(live_gateway.environment, {"access": [{**TOOLS, "seconds": 600}]})
    code = pending(live_gateway)["code"]
    assert call(live_gateway).status_code == 404
    assert calls_seen(upstream) == []
    decide(live_gateway, code, approve=False)
    assert call(live_gateway).status_code == 404
    assert calls_seen(upstream) == []


def test_within_it_the_tools_that_were_asked_for_run_and_no_others(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    code = given(live_gateway)
    assert upstream.seen[-1].headers["authorization"] == f"Bearer {UPSTREAM_SECRET}"
    upstream.clear()
    answer = call(live_gateway, "search_orders")
    assert "fine" not in answer.text
    assert calls_seen(upstream) == []
    seeding.fill(live_gateway.environment, {"withdrawals": [{"code": code, "reason": "done"}]})


def test_when_it_is_ended_early_the_next_call_is_refused_and_no_credential_leaves(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    code = given(live_gateway)
    seeding.fill(live_gateway.environment, {"withdrawals": [{"code": code, "reason": "done"}]})
    wait_until(lambda: call(live_gateway).status_code == 404, seconds=5, what="the end of access")
    upstream.clear()
    assert call(live_gateway).status_code == 404
    assert upstream.seen == []


def test_when_its_time_is_over_it_ends_by_itself_without_anybody_tidying(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    code = given(live_gateway)
    # Its end is moved to where the clock is in a moment: nothing else is told, and no sweep runs.
    live_gateway.sql(
        "UPDATE policies_accessgrant SET valid_until = now() + interval '1 second' WHERE id = "
        "(SELECT grant_id FROM policies_approvalrequest WHERE code = %s)",
        code,
    )
    wait_until(lambda: call(live_gateway).status_code == 404, seconds=5, what="the end of access")
    upstream.clear()
    assert call(live_gateway).status_code == 404
    assert upstream.seen == []
    [row] = live_gateway.sql("SELECT state FROM policies_approvalrequest WHERE code = %s", code)
    assert row["state"] == "approved"
