"""The one process of a test run that fills databases (`tests.support.seed`), and how it is asked."""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.support.servers import ROOT

SECONDS = 60
_running: list[subprocess.Popen[str]] = []


def fill(environment: Mapping[str, str], document: Mapping[str, list[dict[str, Any]]]) -> None:
    """Save what `document` says into the database of `environment`.

    Raises:
        AssertionError: it was refused, or took longer than `SECONDS`.
    """
    process = _process(environment)
    assert process.stdin is not None
    assert process.stdout is not None
    wanted = {name: environment[name] for name in _READ}
    process.stdin.write(json.dumps({"environment": wanted, "document": document}) + "\n")
    process.stdin.flush()
    is_ready, _, _ = select.select([process.stdout], [], [], SECONDS)
    line = process.stdout.readline() if is_ready else ""
    if not line:
        stop()
        raise AssertionError("the seed took too long, or its process has died")
    problem = json.loads(line)
    assert not problem, f"the seed was refused:\n{problem[-3000:]}"


_READ = ("DATABASE_URL", "WARDGATE_PUBLIC_URL", "WARDGATE_MASTER_KEYS", "SECRET_KEY")


def _process(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Return the running process; the first request starts it."""
    if _running and _running[0].poll() is None:
        return _running[0]
    stop()
    _running.append(
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.seed"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    return _running[0]


@atexit.register
def stop() -> None:
    """End the process."""
    while _running:
        process = _running.pop()
        process.kill()
        process.wait(10)
