"""Real SDK clients of both languages and both major versions do their work through the gateway.

Each runs in an environment of its own, with the version that its lock file pins, and prints what it saw.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.conftest import DENIED_BECAUSE, SLUG, Upstream
from tests.support.gateway import UPSTREAM_SECRET, LiveGateway
from tests.support.packages import npm_install, venv_with
from tests.support.tools import find_node

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
WORK = HERE.parent / ".work"
CLIENT_SECONDS = 90
EMAIL = "ada@customers.example"
MASKED = "[MASKED:email]"
INVALID_PARAMS = -32602
RESOURCE_NOT_FOUND = -32002

INTENT, COMPLETED, DENIED = "gateway:call:intent", "gateway:call:completed", "gateway:call:denied"
RELAYED = "upstream:message:relayed"


@dataclass(frozen=True, slots=True)
class Sdk:
    """One SDK: its script, and the revision of the protocol that it negotiates by itself."""

    name: str
    protocol: str

    @property
    def is_modern(self) -> bool:
        """Return whether it speaks the era without sessions."""
        return self.protocol == "2026-07-28"


SDKS = [
    Sdk("py1", "2025-11-25"),
    Sdk("py2", "2026-07-28"),
    pytest.param(Sdk("ts1", "2025-11-25"), marks=pytest.mark.needs_node),
    pytest.param(Sdk("ts2", "2026-07-28"), marks=pytest.mark.needs_node),
]


def run_client(sdk: Sdk, url: str, token: str, folder: Path) -> dict[str, Any]:
    """Run the SDK's script in its environment and return what it printed."""
    if sdk.name.startswith("py"):
        python = venv_with(HERE / f"{sdk.name}.txt", at=WORK / sdk.name)
        command = [str(python), str(HERE / f"{sdk.name}.py")]
    else:
        # Node.js looks for packages beside the script, so both go where the packages are linked.
        (folder / "node_modules").symlink_to(npm_install(HERE, into=WORK / "npm"))
        for script in HERE.glob("*.mjs"):
            (folder / script.name).write_bytes(script.read_bytes())
        command = [str(find_node()), str(folder / f"{sdk.name}.mjs")]
    bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [*command, url, token], capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False, env=bare
    )
    assert done.returncode == 0, f"{sdk.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    saw: dict[str, Any] = json.loads(done.stdout)
    return saw


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_a_real_client_works_through_the_gateway_and_leaves_a_complete_record(
    sdk: Sdk, upstream: Upstream, live_gateway: LiveGateway, tmp_path: Path
) -> None:
    before = len(upstream.entries())
    token = live_gateway.token(sub=sdk.name)

    saw = run_client(sdk, live_gateway.url(SLUG), token, tmp_path)

    check_what_the_client_saw(sdk, saw)
    check_what_the_upstream_saw(upstream.entries()[before:], token)
    check_the_record(sdk, live_gateway)


def check_what_the_client_saw(sdk: Sdk, saw: dict[str, Any]) -> None:
    assert saw["protocol"] == sdk.protocol
    assert EMAIL not in json.dumps(saw)
    assert saw["instructions"] == f"Questions go to {MASKED}."
    # What policy would refuse is not listed: neither the denied tool nor the one that nobody is granted.
    assert sorted(saw["tools"]) == ["ask_client", "get_customer", "stream_report", "wait_for_ever"]
    assert (saw["prompts"], saw["resources"]) == (["welcome"], ["customers://ada"])

    customer = {"id": 7, "name": "Ada Lovelace", "email": MASKED, "balance": 12.5}
    assert saw["json"]["structured"] == customer
    assert json.loads(saw["json"]["text"]) == customer
    assert saw["stream"] == {
        "progress": [[step, 3, f"step {step} of 3 for {MASKED}"] for step in (1, 2, 3)],
        "text": f"Report of 3 steps, sent to {MASKED}",
    }
    assert saw["prompt"] == f"Welcome Bob, and copy {MASKED}."
    assert saw["resource"] == f"Ada Lovelace <{MASKED}>"

    assert saw["denied"]["is_error"] is True
    assert DENIED_BECAUSE in saw["denied"]["text"]
    assert saw["hidden_tool"]["code"] == INVALID_PARAMS
    assert saw["hidden_resource"]["code"] == (INVALID_PARAMS if sdk.is_modern else RESOURCE_NOT_FOUND)
    if "round_trip" in saw:
        answer = f"model: heard: Who is {MASKED}?; user: accept " + json.dumps({"sure": True})
        assert saw["round_trip"] == {"text": answer, "asked": [f"Write to {MASKED}?"]}


def check_what_the_upstream_saw(entries: list[dict[str, Any]], token: str) -> None:
    requests = [entry for entry in entries if "verb" in entry]
    assert requests
    assert {request["headers"].get("authorization") for request in requests} == {f"Bearer {UPSTREAM_SECRET}"}
    seen = json.dumps(entries)
    for never in (token, "delete_customer", "secret_tool", "secrets://root"):
        assert never not in seen


def check_the_record(sdk: Sdk, gateway: LiveGateway) -> None:
    calls = [call for call in gateway.wait_for_outcomes() if call["rows"][0]["body"].get("subject") == sdk.name]
    record = {(call["method"], call["name"]): call["events"] for call in calls}
    answered_once = [
        ("tools/call", "get_customer"),
        ("prompts/get", "welcome"),
        ("resources/read", "customers://ada"),
        ("tools/list", None),
    ]
    assert record[("tools/call", "stream_report")] == [INTENT, RELAYED, RELAYED, RELAYED, COMPLETED]
    for answered in answered_once:
        assert record[answered] == [INTENT, COMPLETED]
    for refused in [("tools/call", "delete_customer"), ("tools/call", "secret_tool")]:
        assert record[refused] == [DENIED]
    assert record[("resources/read", "secrets://root")] == [DENIED]
    if sdk.name == "py1":
        # Two questions to the client and the answers that it posted: each answer is a call of its own.
        assert record[("tools/call", "ask_client")] == [INTENT, RELAYED, RELAYED, COMPLETED]
        assert [call["method"] for call in calls].count("response") == 2
    assert ("server/discover" if sdk.is_modern else "initialize") in {call["method"] for call in calls}
    payloads = b"".join(row["payload"] or b"" for call in calls for row in call["rows"])
    assert MASKED.encode() in payloads
    assert EMAIL.encode() not in payloads
