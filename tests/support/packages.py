"""Packages that only tests of other languages and versions need, installed once below a git-ignored `.work` folder.

Everything is pinned by version and hash in a committed lock file; install scripts of packages are not run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.tools import ToolMissing, find_node

INSTALL_SECONDS = 300
_STAMP = ".wardgate-lock"


def npm_install(folder: Path, *, into: Path) -> Path:
    """Install the locked npm packages of `folder` in `into`, once for each lock file, and return its `node_modules`.

    Raises:
        ToolMissing: there is no Node.js or no npm, or the packages could not be installed.
    """
    inputs = [folder / name for name in ("package.json", "package-lock.json", ".npmrc")]
    modules = into / "node_modules"
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()
    with _exclusive(into):
        if _is_stale(modules, digest):
            node = find_node()
            into.mkdir(parents=True, exist_ok=True)
            for path in inputs:
                shutil.copy(path, into / path.name)
            environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
            command = [*_npm(node), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            _run(command, folder=into, environment=environment)
            (modules / _STAMP).write_text(digest)
    return modules


def venv_with(requirements: Path, *, at: Path) -> Path:
    """Return the Python of a virtual environment at `at` that holds exactly the hash-pinned `requirements`.

    Raises:
        ToolMissing: the packages could not be installed.
    """
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    python = at / "bin" / "python"
    with _exclusive(at):
        if _is_stale(at, digest):
            shutil.rmtree(at, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(at)])
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-input", "--require-hashes"]
            _run([str(python), "-m", "pip", "install", *options, "--requirement", str(requirements)])
            (at / _STAMP).write_text(digest)
    return python


def _is_stale(installed: Path, digest: str) -> bool:
    stamp = installed / _STAMP
    return not stamp.exists() or stamp.read_text() != digest


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file beside `path`, so that parallel test processes install a thing once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _npm(node: Path) -> list[str]:
    """Return the npm that came with `node`, else the one on the PATH."""
    bundled = node.resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if bundled.exists():
        return [str(node), str(bundled)]
    if found := shutil.which("npm"):
        return [found]
    raise ToolMissing(f"npm is missing (not beside {node} and not on the PATH)")


def _run(command: list[str], *, folder: Path | None = None, environment: dict[str, str] | None = None) -> None:
    """Run an install step to its end; a failed one is told by its last lines."""
    shown = " ".join(Path(part).name for part in command[:4])
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissing(f"`{shown}` did not finish ({type(error).__name__})") from None
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).splitlines()[-5:])
        raise ToolMissing(f"`{shown}` exited with {done.returncode}: {last}")
