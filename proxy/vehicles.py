"""PURE: how a held call keeps its client, and for how long at most.

No way of waiting suits every client: some give up after seconds whatever they get, some wait as long as bytes come,
some only as long as progress comes. So the vehicle and the budget are chosen by what the client says of itself, and the
budget is what was learned of this very client, or what an operator has set, where there is such a thing. When it is
over, the call ends with a text that says how to go on, and the request for approval lives on.

Sources: the measurements behind docs/clients.md; MCP 2026-07-28, extension io.modelcontextprotocol/tasks and "Multi
Round-Trip Requests".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from policies.engine.client_kinds import FOREVER_SECONDS, SECONDS, SHORTEST_SECONDS, kind_of

TASKS: Final = "io.modelcontextprotocol/tasks"
LONGEST_SECONDS: Final = FOREVER_SECONDS
KEEP_ALIVE_SECONDS: Final = 10.0
LEG_SECONDS: Final = 50.0
"""The TypeScript clients give up a request after 60 seconds, whatever comes on its stream."""
MOST_LEGS: Final = 10
"""They come back ten times at most."""
REPEATABLE: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""What a client of 2026-07-28 repeats when it is asked to."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """`kind` is task, stream, legs or plain; `budget_seconds` is how long the client is kept waiting.

    With `legs` that is for all of them together, and one request takes `leg_seconds`. With `opens_url` the client is
    sent to the page of the request, and `budget_seconds` are how long it waits when it does not want to go there.
    """

    kind: str
    budget_seconds: float
    leg_seconds: float = 0.0
    opens_url: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """What a request, or the begin of its session, says of the client that sent it."""

    agent: str
    name: str
    is_modern: bool
    accepts_stream: bool
    capabilities: Mapping[str, Any]
    method: str = "tools/call"
    opens_urls: bool = False


def choose(client: Client, known_seconds: float | None) -> Vehicle:
    """Return the vehicle for one held call, and what is known of this client in the place of its kind's budget."""
    extensions = client.capabilities.get("extensions")
    is_asked_for_tasks = client.is_modern and isinstance(extensions, Mapping) and TASKS in extensions
    if is_asked_for_tasks and client.method == "tools/call":
        return Vehicle("task", LONGEST_SECONDS)
    known = None if known_seconds is None else max(1.0, min(known_seconds, LONGEST_SECONDS))
    if not client.accepts_stream:
        return Vehicle("plain", SHORTEST_SECONDS if known is None else known)
    kind = kind_of(client.agent, client.name)
    if kind == "typescript" and client.is_modern and client.method in REPEATABLE:
        leg_seconds = LEG_SECONDS if known is None else min(LEG_SECONDS, known / MOST_LEGS)
        return Vehicle("legs", leg_seconds * MOST_LEGS, leg_seconds)
    opens_url = kind == "codex" and not client.is_modern and client.opens_urls
    return Vehicle("stream", SECONDS[kind] if known is None else known, opens_url=opens_url)
