"""How a held call keeps its client."""

from __future__ import annotations

from typing import Any

import pytest

from policies.engine.client_kinds import SECONDS, SETTINGS, advice
from policies.models import ClientBudget
from proxy.vehicles import LONGEST_SECONDS, TASKS, Client, choose

KNOWS_TASKS = {"extensions": {TASKS: {}}}


def client(agent: str, name: str = "", **values: Any) -> Client:
    given: dict[str, Any] = {"is_modern": False, "accepts_stream": True, "capabilities": {}, **values}
    return Client(agent, name, **given)


@pytest.mark.parametrize(
    ("who", "kind", "seconds"),
    [
        (client("claude-code/2.1 (cli)", is_modern=True, capabilities=KNOWS_TASKS), "task", LONGEST_SECONDS),
        (client("node", is_modern=True, capabilities=KNOWS_TASKS), "task", LONGEST_SECONDS),
        (client("claude-code/2.1 (sdk-cli)", is_modern=True), "stream", LONGEST_SECONDS),
        (client("codex-mcp-client/0.169.0"), "stream", 285),
        (client("node", "gemini-cli-mcp-client"), "stream", 585),
        (client("undici", "Claude (via mcp-remote 0.15.1)"), "stream", 50),
        (client("python-httpx2/2.16.2", "fastmcp", is_modern=True), "stream", 285),
        (client("python-httpx/0.28.1", "mcp"), "stream", LONGEST_SECONDS),
        (client("python-httpx2/2.16.2", "mcp", is_modern=True), "stream", LONGEST_SECONDS),
        (client("node"), "stream", 50),
        (client("node", "mcp-client", is_modern=True), "legs", 500),
        (client("node", is_modern=True, method="completion/complete"), "stream", 50),
        (client("undici", is_modern=True), "stream", 50),
        (client(""), "stream", 50),
        (client("curl/8", accepts_stream=False), "plain", 50),
    ],
    ids=lambda value: value.agent or "nothing told" if isinstance(value, Client) else str(value),
)
def test_each_kind_of_client_is_held_in_its_own_way(who: Client, kind: str, seconds: float) -> None:
    vehicle = choose(who, None)
    assert (vehicle.kind, vehicle.budget_seconds) == (kind, seconds)


def test_a_client_that_comes_back_does_so_ten_times_at_most_in_what_it_has_in_all() -> None:
    vehicle = choose(client("node", is_modern=True), 20.0)
    assert (vehicle.kind, vehicle.leg_seconds, vehicle.budget_seconds) == ("legs", 2.0, 20.0)
    assert choose(client("node", is_modern=True), 9_000.0).leg_seconds == 50.0


@pytest.mark.parametrize("agent", ["python-httpx2/2.16.2", "claude-code/2 (sdk-cli)", "codex-mcp-client/1", "curl/8"])
def test_no_other_client_is_asked_to_come_back(agent: str) -> None:
    assert choose(client(agent, is_modern=True), None).kind == "stream"


def test_only_a_legacy_codex_that_opens_addresses_is_sent_to_one() -> None:
    assert choose(client("codex-mcp-client/1", opens_urls=True), None).opens_url
    assert not choose(client("codex-mcp-client/1"), None).opens_url
    assert not choose(client("codex-mcp-client/1", opens_urls=True, is_modern=True), None).opens_url
    assert not choose(client("claude-code/2 (sdk-cli)", opens_urls=True), None).opens_url


def test_every_kind_of_client_is_one_that_an_operator_can_give_a_number() -> None:
    assert set(SECONDS) == set(SETTINGS) == set(ClientBudget.Kind.values)


def test_a_client_that_gave_up_gets_the_setting_that_makes_it_wait() -> None:
    said = advice("python-httpx2/2.16.2", "mcp", 5.02)
    assert said.startswith("This client gives up after 5 s; raise client_session_timeout_seconds")
    assert "tool_timeout_sec" in advice("codex-mcp-client/0.169.0", "", 300)


def test_a_legacy_client_gets_no_task_whatever_it_declares() -> None:
    assert choose(client("x", capabilities=KNOWS_TASKS), None).kind == "stream"


@pytest.mark.parametrize("who", [client("node"), client("python-httpx/0.28.1"), client("codex-mcp-client/1")])
def test_what_was_learned_of_a_client_counts_more_than_its_kind(who: Client) -> None:
    assert choose(who, 4.0).budget_seconds == 4.0
    assert choose(who, 0.0).budget_seconds == 1.0
    assert choose(who, 1e12).budget_seconds == LONGEST_SECONDS
