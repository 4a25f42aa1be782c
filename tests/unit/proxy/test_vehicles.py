"""How a held call keeps its client."""

from __future__ import annotations

from typing import Any

import pytest

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
        (client("node", "mcp-client", is_modern=True), "stream", 50),
        (client("undici", is_modern=True), "stream", 50),
        (client(""), "stream", 50),
        (client("curl/8", accepts_stream=False), "plain", 50),
    ],
    ids=lambda value: value.agent or "nothing told" if isinstance(value, Client) else str(value),
)
def test_each_kind_of_client_is_held_in_its_own_way(who: Client, kind: str, seconds: float) -> None:
    vehicle = choose(who, None)
    assert (vehicle.kind, vehicle.budget_seconds) == (kind, seconds)


def test_a_legacy_client_gets_no_task_whatever_it_declares() -> None:
    assert choose(client("x", capabilities=KNOWS_TASKS), None).kind == "stream"


@pytest.mark.parametrize("who", [client("node"), client("python-httpx/0.28.1"), client("codex-mcp-client/1")])
def test_what_was_learned_of_a_client_counts_more_than_its_kind(who: Client) -> None:
    assert choose(who, 4.0).budget_seconds == 4.0
    assert choose(who, 0.0).budget_seconds == 1.0
    assert choose(who, 1e12).budget_seconds == LONGEST_SECONDS
