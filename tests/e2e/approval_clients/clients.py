"""The real clients: how each is installed and started, and how patient it is.

`held` is for how long the gateway keeps the client waiting on one call, `gives_up` when the client ends a call by
itself. Both are in seconds, and stand in docs/clients.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.packages import npm_install, venv_with
from tests.support.tools import find_node

HERE = Path(__file__).parent
WORK = HERE.parent / ".work"
SDKS = HERE.parent / "clients"
FOR_EVER = math.inf
LEGS_SECONDS = 500.0

Install = Callable[[Path], list[str]]
"""Installs a client and returns the command of its driver; takes a folder for the run. Raises ToolMissing."""


@dataclass(frozen=True, slots=True)
class Client:
    """One real client.

    `cancel` says what the gateway learns when a program takes a call back: `withdrawn` when it is told, `left` when
    the connection is closed, `unnoticed` when the client goes on listening. `dropped` says what the client does when it
    loses the connection of a held call: `resumes`, or `notices`, at once or when it gives up.
    """

    name: str
    version: str
    install: Install
    held: float
    cancel: str
    gives_up: float = FOR_EVER
    dropped: str = "notices"

    @property
    def gives_up_at_last(self) -> float:
        """When it has given up even if nothing reaches it any more."""
        return min(self.gives_up, 60.0)


def _python(script: str, lock: Path, *, at: str, arguments: Sequence[str] = ()) -> Install:
    def install(folder: Path) -> list[str]:
        return [str(venv_with(lock, at=WORK / at)), str(HERE / script), *arguments]

    return install


def _node(script: str, packages: Path, *, at: str, arguments: Sequence[str] = ()) -> Install:
    def install(folder: Path) -> list[str]:
        # Node.js looks for packages beside the script, so both go where the packages are linked.
        place = folder / at
        place.mkdir(exist_ok=True)
        if not (place / "node_modules").exists():
            (place / "node_modules").symlink_to(npm_install(packages, into=WORK / at))
        for source in HERE.glob("*.mjs"):
            (place / source.name).write_bytes(source.read_bytes())
        return [str(find_node()), str(place / script), *arguments]

    return install


def _program(path: str) -> list[str]:
    """Return the command of a program of the npm packages here."""
    return [str(find_node()), str(npm_install(HERE, into=WORK / "npm-approvals") / path)]


def _inspector(*options: str) -> Install:
    def install(folder: Path) -> list[str]:
        program = _program("@modelcontextprotocol/inspector/clients/launcher/build/index.js")
        return [sys.executable, str(HERE / "drive_inspector.py"), *program, *options]

    return install


def _bridged(path: str, *arguments: str) -> Install:
    """Return the Python SDK 1.x as the host of a program that speaks with the gateway for it."""

    def install(folder: Path) -> list[str]:
        return [*_python("drive_mcp1.py", SDKS / "py1.txt", at="py1")(folder), *_program(path), *arguments]

    return install


CLIENTS = [
    Client("Python SDK 1", "mcp 1.30.0", _python("drive_mcp1.py", SDKS / "py1.txt", at="py1"), FOR_EVER, "unnoticed"),
    Client("Python SDK 2", "mcp 2.3.0", _python("drive_mcp2.py", SDKS / "py2.txt", at="py2"), FOR_EVER, "left"),
    Client(
        "TypeScript SDK 1",
        "@modelcontextprotocol/sdk 1.32.2",
        _node("drive_ts1.mjs", SDKS, at="npm"),
        50.0,
        "withdrawn",
        60.0,
    ),
    Client(
        "TypeScript SDK 2, legacy",
        "@modelcontextprotocol/client 2.4.0",
        _node("drive_ts2.mjs", SDKS, at="npm", arguments=["legacy"]),
        50.0,
        "withdrawn",
        60.0,
    ),
    Client(
        "TypeScript SDK 2, auto",
        "@modelcontextprotocol/client 2.4.0",
        _node("drive_ts2.mjs", SDKS, at="npm", arguments=["auto"]),
        50.0,
        "left",
        60.0,
    ),
    Client(
        "FastMCP", "fastmcp-slim 4.2.1", _python("drive_fastmcp.py", HERE / "fastmcp.txt", at="fastmcp"), 285.0, "left"
    ),
    Client(
        "LangChain adapter",
        "langchain-mcp-adapters 0.3.2",
        _python("drive_langchain.py", HERE / "langchain.txt", at="langchain"),
        FOR_EVER,
        "left",
    ),
    Client(
        "OpenAI Agents SDK",
        "openai-agents 0.24.0",
        _python("drive_openai_agents.py", HERE / "openai_agents.txt", at="openai_agents"),
        FOR_EVER,
        "left",
        5.0,
    ),
    Client(
        "OpenAI Agents SDK, 3600 s",
        "openai-agents 0.24.0",
        _python("drive_openai_agents.py", HERE / "openai_agents.txt", at="openai_agents", arguments=["3600"]),
        FOR_EVER,
        "left",
    ),
    Client(
        "PydanticAI",
        "pydantic-ai-slim 2.68.0",
        _python("drive_pydantic_ai.py", HERE / "pydantic_ai.txt", at="pydantic_ai"),
        285.0,
        "left",
        300.0,
    ),
    Client(
        "AI SDK",
        "@ai-sdk/mcp 2.0.99",
        _node("drive_ai_sdk.mjs", HERE, at="npm-approvals"),
        FOR_EVER,
        "left",
    ),
    Client("Inspector, legacy", "inspector 2.12.0", _inspector(), 50.0, "left", 60.0),
    Client("Inspector, auto", "inspector 2.12.0", _inspector("--protocol-era", "auto"), FOR_EVER, "unnoticed"),
    Client(
        "mcp-remote in Python SDK 1",
        "mcp-remote 0.15.1",
        _bridged("mcp-remote/dist/proxy.js", "{url}", "--transport", "http-only"),
        50.0,
        "unnoticed",
    ),
    Client(
        "supergateway in Python SDK 1",
        "supergateway 4.0.0",
        _bridged("supergateway/dist/index.js", "--logLevel", "none", "--streamableHttp", "{url}"),
        50.0,
        "unnoticed",
        60.0,
    ),
]
