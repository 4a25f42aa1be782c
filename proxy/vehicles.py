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
LEG_SECONDS: Final = 45.0
MOST_LEGS: Final = 10


@dataclass(frozen=True, slots=True)
class Vehicle:
    """`kind` is task, stream, legs or plain; `budget_seconds` is how long the client is kept waiting."""

    kind: str
    budget_seconds: float
    elicits: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """What a request says of the client that sent it."""

    agent: str
    name: str
    is_modern: bool
    accepts_stream: bool
    capabilities: Mapping[str, Any]


def choose(client: Client, learned_seconds: float | None) -> Vehicle:
    """Return the vehicle for one held call; the first line that fits decides."""
    agent, name = client.agent.lower(), client.name.lower()
    extensions = client.capabilities.get("extensions")
    if client.is_modern and isinstance(extensions, Mapping) and TASKS in extensions:
        return Vehicle("task", LONGEST_SECONDS)
    if not client.accepts_stream:
        return Vehicle("plain", _least(50.0, learned_seconds))
    if agent.startswith("claude-code") or "visual studio code" in name or agent.startswith("vscode"):
        return Vehicle("stream", _least(LONGEST_SECONDS, learned_seconds))
    if agent.startswith("codex") or name.startswith("codex"):
        return Vehicle("stream", _least(285.0, learned_seconds), elicits=not client.is_modern)
    if "gemini" in name:
        return Vehicle("stream", _least(585.0, learned_seconds))
    if "(via mcp-remote" in name:
        return Vehicle("stream", _least(50.0, learned_seconds))
    if name.startswith("fastmcp") or "pydantic" in name:
        return Vehicle("stream", _least(285.0, learned_seconds))
    if agent.startswith(("python-httpx", "python/", "ai-sdk", "ai/")) or "httpx" in agent:
        return Vehicle("stream", _least(LONGEST_SECONDS, learned_seconds))
    if client.is_modern and agent.startswith(("node", "undici")):
        return Vehicle("legs", _least(LEG_SECONDS * MOST_LEGS, learned_seconds))
    return Vehicle("stream", _least(50.0, learned_seconds))


def _least(seconds: float, learned: float | None) -> float:
    return seconds if learned is None else max(1.0, min(learned, LONGEST_SECONDS))
