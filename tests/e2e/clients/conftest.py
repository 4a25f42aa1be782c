"""One gateway in front of one MCP server for the module, and what that server saw."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import BEARER, Seed
from tests.support.servers import Server, free_port, running, wait_until

SLUG = "customers"
DENIED_BECAUSE = "customers are never deleted by agents"


@dataclass(frozen=True, slots=True)
class Upstream:
    """The MCP server behind the gateway."""

    port: int
    journal: Path

    @property
    def url(self) -> str:
        """Return its endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def entries(self) -> list[dict[str, Any]]:
        """Return every request that arrived and every moment, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [json.loads(line) for line in lines]

    def requests(self) -> list[dict[str, Any]]:
        """Return every request that arrived: `verb`, `headers`, `body`."""
        return [entry for entry in self.entries() if "verb" in entry]

    def moments(self) -> list[str]:
        """Return the moments of the tools, in order."""
        return [entry["moment"] for entry in self.entries() if "moment" in entry]

    def wait_for(self, moment: str, *, seconds: float = 5.0) -> None:
        """Return once a tool has written `moment`."""
        wait_until(lambda: moment in self.moments(), seconds=seconds, what=f"the upstream's moment {moment!r}")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Run the MCP server for the module."""
    folder = tmp_path_factory.mktemp("upstream")
    port, journal = free_port(), folder / "journal.jsonl"
    script = Path(__file__).with_name("upstream.py")
    command = [sys.executable, str(script), str(port), str(journal)]
    with running(Server(command, port=port, log=folder / "upstream.log")):
        yield Upstream(port, journal)


@pytest.fixture(scope="module")
def gateway_seed(upstream: Upstream) -> Seed:
    """Grant everything that does not bear "secret" in its name, deny deletion, mask e-mail addresses."""
    asking = {"allows_sampling": True, "allows_elicitation": True}
    tools = ["get_*", "stream_*", "wait_*", "ask_*", "delete_*"]
    return {
        "connections": [{"slug": SLUG, "upstream_url": upstream.url, "credential": BEARER, **asking}],
        "grants": [
            {"connection": SLUG, "group": "sre", "tools": tools, "prompts": ["*"], "resources": ["customers://*"]}
        ],
        "guardrails": [
            {
                "name": "no deletion",
                "effect": "deny",
                "methods": ["tools/call"],
                "names": ["delete_*"],
                "reason": DENIED_BECAUSE,
            }
        ],
        "masking_patterns": [{"name": "email", "pattern": r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}"}],
    }
