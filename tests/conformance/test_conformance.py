"""Through the gateway, every check of the official conformance suite ends as it does directly, in both eras.

The suite cannot send an Authorization header, so a forwarder adds one in front of the gateway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from sessions.chain import Intact
from tests.conformance.suite import LEGS, Leg, Report, differences, run_suite
from tests.support.forwarder import Forwarder, forwarding
from tests.support.gateway import BEARER, OUTCOMES, LiveGateway, Seed, gateway_running
from tests.support.servers import Server, free_port, running

pytestmark = [pytest.mark.needs_node, pytest.mark.slow]

UPSTREAM = Path(__file__).with_name("upstream.py")
SLUG = "conformance"


@pytest.fixture
def upstream_url(tmp_path: Path) -> Iterator[str]:
    """Run the conformance server for one leg: what one run leaves behind must not meet the next leg."""
    port = free_port()
    command = [sys.executable, str(UPSTREAM), str(port)]
    with running(Server(command, port=port, log=tmp_path / "upstream.log")):
        yield f"http://localhost:{port}/mcp"


@dataclass(frozen=True, slots=True)
class Fronted:
    """A gateway, and the URL under which the suite reaches it."""

    gateway: LiveGateway
    url: str


@pytest.fixture
def fronted(upstream_url: str, tmp_path: Path) -> Iterator[Fronted]:
    """Run a gateway in front of the conformance server, and the forwarder in front of the gateway."""
    port = free_port()
    asking = {"allows_sampling": True, "allows_elicitation": True, "allows_roots": True}
    seed: Seed = {
        "connections": [{"slug": SLUG, "upstream_url": upstream_url, "credential": BEARER, **asking}],
        "grants": [{"connection": SLUG, "group": "sre", "tools": ["*"], "prompts": ["*"], "resources": ["*"]}],
        "guardrails": [{"name": "never asked for", "effect": "deny", "names": ["delete_*"]}],
        "masking_patterns": [{"name": "email", "pattern": r"[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}"}],
    }
    # To the suite the forwarder is the server, as a TLS-terminating proxy would be.
    origin = f"http://localhost:{port}"
    environment = {"WARDGATE_PUBLIC_URL": origin, "WARDGATE_ALLOWED_ORIGINS": origin}
    with ExitStack() as stack:
        gateway = stack.enter_context(gateway_running(seed, tmp_path, environment=environment))
        stack.enter_context(forwarding(Forwarder(port=port, to_port=gateway.port, headers=gateway.headers)))
        yield Fronted(gateway, f"{origin}/mcp/{SLUG}")


def run_complete(leg: Leg, url: str, output: Path) -> Report:
    """Run the suite until every check could be made, three times at most: a busy machine makes it miss events."""
    for attempt in range(3):
        found = run_suite(leg, url, output=output / str(attempt))
        if found.counts()["SUCCESS"] == leg.checks:
            break
    return found


@pytest.mark.parametrize("leg", LEGS, ids=lambda leg: leg.name.replace(" ", "-"))
def test_every_check_ends_through_the_gateway_as_it_does_directly_and_every_call_is_on_record(
    leg: Leg, upstream_url: str, fronted: Fronted, tmp_path: Path
) -> None:
    direct = run_complete(leg, upstream_url, tmp_path / "direct")
    assert (direct.counts()["SUCCESS"], direct.counts()["FAILURE"]) == (leg.checks, 0), direct.complaints()

    through = run_complete(leg, fronted.url, tmp_path / "gateway")

    found = differences(direct, through)
    assert not found, "\n".join(found)
    assert (through.counts()["SUCCESS"], through.counts()["FAILURE"]) == (leg.checks, 0), through.complaints()
    calls = fronted.gateway.wait_for_outcomes()
    assert all(len(OUTCOMES & set(call["events"])) == 1 for call in calls), "a call without exactly one outcome"
    assert [type(state) for state in fronted.gateway.chains().values()] == [Intact]
