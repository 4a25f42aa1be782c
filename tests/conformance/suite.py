"""Runs the official conformance suite (`@modelcontextprotocol/conformance`) against a server and compares verdicts.

The suite's exit code says only whether a scenario failed. Here the result of a run is a table, scenario by scenario and
check by check, so that two runs against the same server, directly and through the gateway, can be held side by side.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.packages import npm_install
from tests.support.tools import find_node

HERE = Path(__file__).parent
WORK = HERE / ".work"
RUN_SECONDS = 60
"""0.1.16 has no time limit of its own: a proxy that holds a stream back would hang it for ever."""
TRAFFIC = "INFO"
"""The status of entries that only log traffic; they carry no verdict and their number varies."""
_STAMP = re.compile(r"-20\d\d-\d\d-\d\dT[\d-]+Z$")


@dataclass(frozen=True, slots=True)
class Leg:
    """One way to run the suite: a version of it, the revision of the protocol, and how many checks a server passes."""

    name: str
    package: str
    revision: str | None
    checks: int


LEGS = (
    Leg("0.1.16", "conformance-0.1", None, 44),
    Leg("0.2.0-alpha.12 at 2025-11-25", "conformance-0.2", "2025-11-25", 84),
    Leg("0.2.0-alpha.12 at 2026-07-28", "conformance-0.2", "2026-07-28", 152),
)


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """One verdict. Two checks of a scenario may share an id, so a scenario holds a sorted list and not a mapping."""

    scenario: str
    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class Report:
    """What one run said: every verdict in order, and the messages of those that are not a success."""

    checks: tuple[Check, ...]
    messages: dict[Check, str]

    def counts(self) -> Counter[str]:
        """Return how many checks ended with which status."""
        return Counter(check.status for check in self.checks)

    def complaints(self) -> str:
        """Return the messages of every check that failed or warned, one a line."""
        return "\n".join(f"{c.scenario} / {c.id}: {c.status}: {text}" for c, text in self.messages.items())


def run_suite(leg: Leg, url: str, *, output: Path) -> Report:
    """Run every scenario of `leg` against the MCP server at `url`; `output` keeps what the suite writes.

    A run that does not end within `RUN_SECONDS` is stopped; the checks that it did not reach are then missing.

    Raises:
        ToolMissing: there is no Node.js, or the suite could not be installed.
    """
    modules = npm_install(HERE, into=WORK)
    command = [str(find_node()), str(modules / leg.package / "dist" / "index.js"), "server"]
    command += ["--url", url, "--suite", "all", "--output-dir", str(output)]
    if leg.revision:
        command += ["--spec-version", leg.revision]
    output.mkdir(parents=True)
    with (output / "output.txt").open("wb") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=RUN_SECONDS, check=False)
    return read_report(output)


def read_report(output: Path) -> Report:
    """Return the verdicts that the suite wrote below `output`, one `checks.json` for each scenario."""
    found: list[tuple[Check, str]] = []
    for path in output.glob("**/checks.json"):
        scenario = _STAMP.sub("", path.parent.relative_to(output).as_posix()).removeprefix("server-")
        for entry in json.loads(path.read_text()):
            if entry["status"] != TRAFFIC:
                check = Check(scenario, entry["id"], entry["name"], entry["status"])
                found.append((check, entry.get("errorMessage") or ""))
    found.sort()
    messages = {check: message for check, message in found if check.status in {"FAILURE", "WARNING"}}
    return Report(tuple(check for check, _ in found), messages)


def differences(direct: Report, gateway: Report) -> list[str]:
    """Return a line for every verdict that only one of two runs has; empty when they agree in every check."""
    ours, theirs = Counter(gateway.checks), Counter(direct.checks)
    lines = [f"only directly: {check}" for check in sorted((theirs - ours).elements())]
    added = sorted((ours - theirs).elements())
    return lines + [f"only through the gateway: {check} {gateway.messages.get(check, '')}".rstrip() for check in added]
