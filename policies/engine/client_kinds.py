"""Kinds of MCP clients, told apart by what they say of themselves: how long they wait, and what makes them wait longer.

Source: the measurements behind docs/clients.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FOREVER_SECONDS: Final = 30 * 86_400.0
SHORTEST_SECONDS: Final = 50.0

SECONDS: Final[Mapping[str, float]] = {
    "claude_code": FOREVER_SECONDS,
    "vs_code": FOREVER_SECONDS,
    "codex": 285.0,
    "gemini": 585.0,
    "mcp_remote": SHORTEST_SECONDS,
    "fastmcp": 285.0,
    "python": FOREVER_SECONDS,
    "ai_sdk": FOREVER_SECONDS,
    "typescript": SHORTEST_SECONDS,
    "other": SHORTEST_SECONDS,
}
"""For how long each kind of client waits for the end of an event stream on which there is always something."""

SETTINGS: Final[Mapping[str, str]] = {
    "claude_code": 'raise "timeout" of the server (milliseconds), and CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT',
    "vs_code": "the person at the client has cancelled it, for it waits as long as the call does",
    "codex": "raise tool_timeout_sec of the server in config.toml",
    "gemini": 'raise "timeout" of the server (milliseconds) in settings.json',
    "mcp_remote": "raise the time limit of the program that started mcp-remote",
    "fastmcp": "raise timeout of the client; with PydanticAI, read_timeout",
    "python": "raise client_session_timeout_seconds (OpenAI Agents SDK), or read_timeout_seconds of the session",
    "ai_sdk": "raise the time limit of the call",
    "typescript": "give callTool a longer timeout, with resetTimeoutOnProgress and onprogress",
    "other": "raise its time limit for tool calls; Goose calls it timeout",
}
"""What to change at the client, by its kind."""


def kind_of(agent: str, name: str) -> str:
    """Return the kind of the client with this `User-Agent` and this own name; the first line that fits decides."""
    agent, name = agent.lower(), name.lower()
    if agent.startswith("claude-code"):
        return "claude_code"
    if agent.startswith("vscode") or "visual studio code" in name:
        return "vs_code"
    if agent.startswith("codex") or name.startswith("codex"):
        return "codex"
    if "gemini" in name:
        return "gemini"
    if "(via mcp-remote" in name:
        return "mcp_remote"
    if name.startswith("fastmcp") or "pydantic" in name:
        return "fastmcp"
    if agent.startswith(("ai-sdk", "ai/")):
        return "ai_sdk"
    if agent.startswith("python/") or "httpx" in agent:
        return "python"
    return "typescript" if agent.startswith("node") else "other"


def advice(agent: str, name: str, gave_up_seconds: float) -> str:
    """Say when such a client gives up, and what to change at it."""
    return f"This client gives up after {gave_up_seconds:.0f} s; {SETTINGS[kind_of(agent, name)]}."
