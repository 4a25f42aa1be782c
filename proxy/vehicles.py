"""PURE: how a held call keeps its client, and for how long at most.

No way of waiting suits every client: some give up after seconds whatever they get, some wait as long as bytes come,
some only as long as progress comes. So the vehicle and the budget are chosen by what the client says of itself, and the
budget is what was learned of this very client, or what an operator has set, where there is such a thing. When it is
over, the call ends with a text that says how to go on, and the request for approval lives on.

Sources: the measurements behind docs/clients.md; MCP 2026-07-28, extension io.modelcontextprotocol/tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TASKS: Final = "io.modelcontextprotocol/tasks"
LONGEST_SECONDS: Final = 30 * 86_400.0
KEEP_ALIVE_SECONDS: Final = 10.0
_SHORTEST_SECONDS: Final = 50.0


@dataclass(frozen=True, slots=True)
class Vehicle:
    """`kind` is task, stream or plain; `budget_seconds` is how long the client is kept waiting."""

    kind: str
    budget_seconds: float


@dataclass(frozen=True, slots=True)
class Client:
    """What a request says of the client that sent it."""

    agent: str
    name: str
    is_modern: bool
    accepts_stream: bool
    capabilities: Mapping[str, Any]


def choose(client: Client, learned_seconds: float | None) -> Vehicle:
    """Return the vehicle for one held call, and what is known of this very client in the place of its kind's budget."""
    extensions = client.capabilities.get("extensions")
    if client.is_modern and isinstance(extensions, Mapping) and TASKS in extensions:
        return Vehicle("task", LONGEST_SECONDS)
    kind, seconds = ("stream", _patience(client)) if client.accepts_stream else ("plain", _SHORTEST_SECONDS)
    return Vehicle(kind, seconds if learned_seconds is None else max(1.0, min(learned_seconds, LONGEST_SECONDS)))


def _patience(client: Client) -> float:
    """Return how long such a client waits for the end of an event stream; the first line that fits decides."""
    agent, name = client.agent.lower(), client.name.lower()
    if agent.startswith(("claude-code", "vscode")) or "visual studio code" in name:
        return LONGEST_SECONDS
    if agent.startswith("codex") or name.startswith("codex"):
        return 285.0
    if "gemini" in name:
        return 585.0
    if "(via mcp-remote" in name:
        return _SHORTEST_SECONDS
    if name.startswith("fastmcp") or "pydantic" in name:
        return 285.0
    if agent.startswith(("python-httpx", "python/", "ai-sdk", "ai/")) or "httpx" in agent:
        return LONGEST_SECONDS
    # The TypeScript clients among the rest give up after 60 seconds, whatever comes on the stream.
    return _SHORTEST_SECONDS
