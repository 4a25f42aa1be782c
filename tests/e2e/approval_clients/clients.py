"""The real clients: how each is installed and started, and how patient it is.

`held` is for how long the gateway keeps the client waiting on one call, `gives_up` when the client ends a call by
itself. Both are in seconds, and stand in docs/clients.md.
"""

from __future__ import annotations

import contextlib
import math
import secrets
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

Install = Callable[[Path], list[str]]
"""Installs a client and returns the command of its driver; takes a folder for the run. Raises ToolMissing."""


@dataclass(frozen=True, slots=True)
class Client:
    """One real client.

    `cancel` says what the gateway learns when a program takes a call back: `withdrawn` when it is told, `left` when
    nothing runs before the same call comes again, `unnoticed` when the call runs once it is approved, as for a client
    that has lost its connection. `dropped` says what the client does when it loses the connection of a held call:
    `resumes`, `notices`, at once or when it gives up, `hangs` for ever, until the program takes the call back, or
    `polls`, and notices only when the connection is lost while it asks.
    """

    name: str
    version: str
    install: Install
    held: float
    gives_up: float = FOR_EVER
    cancel: str = "left"
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
        packages_at = npm_install(packages, into=WORK / at)
        # Clients of one place are prepared at the same time.
        with contextlib.suppress(FileExistsError):
            (place / "node_modules").symlink_to(packages_at)
        for source in HERE.glob("*.mjs"):
            # Put there whole: another client may be reading it, and half a script ends without a word.
            copy = place / f"{source.name}.{secrets.token_hex(4)}"
            copy.write_bytes(source.read_bytes())
            copy.replace(place / source.name)
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


MCP1 = _python("drive_mcp1.py", SDKS / "py1.txt", at="py1")
MCP2 = _python("drive_mcp2.py", SDKS / "py2.txt", at="py2")
FASTMCP = _python("drive_fastmcp.py", HERE / "fastmcp.txt", at="fastmcp")
LANGCHAIN = _python("drive_langchain.py", HERE / "langchain.txt", at="langchain")
AGENTS = HERE / "openai_agents.txt"
PYDANTIC_AI = _python("drive_pydantic_ai.py", HERE / "pydantic_ai.txt", at="pydantic_ai")
TS2_VERSION = "@modelcontextprotocol/client 2.4.0"
AI_SDK = _node("drive_ai_sdk.mjs", HERE, at="npm-approvals")
TS1 = _node("drive_ts1.mjs", SDKS, at="npm")
REMOTE = _bridged("mcp-remote/dist/proxy.js", "{url}", "--transport", "http-only")
SUPERGATEWAY = _bridged("supergateway/dist/index.js", "--logLevel", "none", "--streamableHttp", "{url}")


def _ts2(era: str) -> Install:
    return _node("drive_ts2.mjs", SDKS, at="npm", arguments=[era])


def _agents(*seconds: str) -> Install:
    return _python("drive_openai_agents.py", AGENTS, at="openai_agents", arguments=seconds)


CLIENTS = [
    Client("Python SDK 1", "mcp 1.30.0", MCP1, FOR_EVER, cancel="unnoticed", dropped="resumes"),
    Client("Python SDK 2", "mcp 2.3.0", MCP2, FOR_EVER),
    Client("TypeScript SDK 1", "@modelcontextprotocol/sdk 1.32.2", TS1, 50.0, 60.0, "withdrawn", "resumes"),
    Client("TypeScript SDK 2, legacy", TS2_VERSION, _ts2("legacy"), 50.0, 60.0, "withdrawn", "resumes"),
    # Ten legs, each shorter than the 60 seconds after which it gives one up.
    Client("TypeScript SDK 2, auto", TS2_VERSION, _ts2("auto"), 500.0),
    Client("FastMCP", "fastmcp-slim 4.2.1", FASTMCP, 285.0, 300.0),
    # It ends its session with a call that is taken back: what is left of the call runs for nobody.
    Client("LangChain adapter", "langchain-mcp-adapters 0.3.2", LANGCHAIN, FOR_EVER, dropped="resumes"),
    Client("OpenAI Agents SDK", "openai-agents 0.24.0", _agents(), FOR_EVER, 5.0),
    Client("OpenAI Agents SDK, 3600 s", "openai-agents 0.24.0", _agents("3600"), FOR_EVER),
    Client("PydanticAI", "pydantic-ai-slim 2.68.0", PYDANTIC_AI, 285.0, 300.0),
    Client("AI SDK", "@ai-sdk/mcp 2.0.99", AI_SDK, FOR_EVER, dropped="hangs"),
    Client("Inspector, legacy", "inspector 2.12.0", _inspector(), 50.0, 60.0, "unnoticed", "resumes"),
    # A task, which runs whether its client asks for it or not.
    Client(
        "Inspector, auto",
        "inspector 2.12.0",
        _inspector("--protocol-era", "auto"),
        FOR_EVER,
        FOR_EVER,
        "unnoticed",
        "polls",
    ),
    Client("mcp-remote in Python SDK 1", "mcp-remote 0.15.1", REMOTE, 50.0, cancel="unnoticed", dropped="resumes"),
    Client("supergateway in Python SDK 1", "supergateway 4.0.0", SUPERGATEWAY, 50.0, 60.0, "unnoticed", "resumes"),
]
