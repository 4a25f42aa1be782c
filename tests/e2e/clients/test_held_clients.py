"""Real TypeScript clients wait for an approval: in legs, and across the end of the gateway process."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.conftest import SLUG, Upstream
from tests.integration.proxy.approvals import decide, pending
from tests.support.gateway import LiveGateway, Seed, StartGateway
from tests.support.packages import npm_install
from tests.support.servers import wait_until
from tests.support.tools import find_node

pytestmark = [pytest.mark.slow, pytest.mark.needs_node]

HERE = Path(__file__).parent
WORK = HERE.parent / ".work"
CLIENT_SECONDS = 60
HELD = {"name": "customers wait", "effect": "hold", "methods": ["tools/call"], "names": ["get_customer"]}

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Return a function that starts a client."""
    (tmp_path / "node_modules").symlink_to(npm_install(HERE, into=WORK / "npm"))

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        (tmp_path / script).write_bytes((HERE / script).read_bytes())
        bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        command = [str(find_node()), str(tmp_path / script), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=bare)

    return start


def ended(client: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = client.communicate(timeout=CLIENT_SECONDS)
    assert client.returncode == 0, err[-2000:]
    saw: dict[str, Any] = json.loads(out)
    return saw


@pytest.fixture
def gateway(gateway_seed: Seed, start_gateway: StartGateway) -> LiveGateway:
    """A gateway that holds a call of the upstream."""
    seed = copy.deepcopy(dict(gateway_seed))
    seed["guardrails"].append(HELD)
    return start_gateway(seed)


def calls(upstream: Upstream) -> list[Any]:
    bodies = [json.loads(seen["body"]) for seen in upstream.requests() if seen["verb"] == "POST" and seen["body"]]
    return [body for body in bodies if body.get("method") == "tools/call"]


def legs(gateway: LiveGateway) -> int:
    return sum("comes again" in event["body"]["reason"] for event in gateway.events("gateway:call:denied"))


def test_a_client_of_the_newest_protocol_waits_in_legs_and_gets_its_answer(
    gateway: LiveGateway, upstream: Upstream, begin: Begin
) -> None:
    before = len(calls(upstream))
    client = begin("held2.mjs", gateway.url(SLUG), gateway.token(), "20")
    waiting = pending(gateway)
    wait_until(lambda: legs(gateway) >= 2, seconds=15, what="two legs")
    decide(gateway, waiting["code"])
    saw = ended(client)
    assert saw["protocol"] == "2026-07-28"
    assert "Ada Lovelace" in saw["text"]
    [call] = calls(upstream)[before:]
    assert "requestState" not in call["params"]


def test_after_ten_legs_such_a_client_hands_on_how_to_go_on(gateway: LiveGateway, begin: Begin) -> None:
    client = begin("held2.mjs", gateway.url(SLUG), gateway.token(), "10")
    waiting = pending(gateway)
    saw = ended(client)
    assert saw["isError"] is True
    assert waiting["code"] in saw["text"]
    assert legs(gateway) == 9


def test_an_older_client_gets_its_answer_from_the_process_that_came_after_the_one_it_called(
    gateway: LiveGateway, upstream: Upstream, begin: Begin
) -> None:
    before = len(calls(upstream))
    client = begin("held1.mjs", gateway.url(SLUG), gateway.token())
    waiting = pending(gateway)
    wait_until(lambda: bool(gateway.events("approval:request:held")), seconds=5, what="the stream")
    gateway.kill()
    gateway.start()
    back = "approval:client:returned"
    wait_until(lambda: bool(gateway.events(back)), seconds=20, what="the client")
    decide(gateway, waiting["code"])
    assert "Ada Lovelace" in ended(client)["text"]
    assert len(calls(upstream)[before:]) == 1
