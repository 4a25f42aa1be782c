"""Keeps a fixed set of child processes running, and stops them in order."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway_project.processes import kill_group, spawn, stop

LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 30.0
"""A child that ran this long starts with the shortest back-off again."""

_LOG_BYTES = 10_000_000


@dataclass(slots=True)
class Child:
    """One process to keep running.

    Args:
        name: for the person at the keyboard, and of its log file.
        command: program and arguments.
        environment: all that it gets.
        keep_open: sockets that it inherits.
        stop_seconds: how long it may take to end before it is killed.
        stop_stage: children of a smaller number are all gone before this one is asked to end.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(repr=False)
    keep_open: Sequence[int] = ()
    stop_seconds: float = 2.0
    stop_stage: int = 1
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    backoff_seconds: float = 0.0

    @property
    def is_running(self) -> bool:
        """Return whether its process exists."""
        return self.process is not None and self.process.poll() is None

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def wait_or_kill(self) -> None:
        """Wait for its end, and kill it and what is left of its process group after `stop_seconds`."""
        if self.process is not None:
            stop(self.process, by=signal.SIGTERM, within_seconds=self.stop_seconds)


class Supervisor:
    """Starts children, starts again those that end, and stops all of them in stages.

    Args:
        logs: folder of one log file for each child.
        folder: the children's working directory.
        say: tells the person at the keyboard one line.
    """

    def __init__(self, *, logs: Path, folder: Path, say: Callable[[str], None]) -> None:
        self._logs = logs
        self._folder = folder
        self._say = say
        self._children: list[Child] = []

    def log_path(self, name: str) -> Path:
        """Return where a child's output goes."""
        return self._logs / f"{name}.log"

    def start(self, child: Child) -> None:
        """Start a child and keep it running from now on."""
        self._children.append(child)
        self._spawn(child)

    def check(self) -> None:
        """Notice children that ended, and start again those whose back-off is over."""
        now = time.monotonic()
        for child in self._children:
            if child.restart_at is not None:
                if now >= child.restart_at:
                    self._spawn(child)
            elif not child.is_running:
                self._ended(child, now)

    def first_ended(self) -> Child | None:
        """Return a child that is not running, if there is one."""
        return next((child for child in self._children if not child.is_running), None)

    def stop(self) -> None:
        """Stop all children stage by stage: asked together, given their time, then killed with their process group."""
        for stage in sorted({child.stop_stage for child in self._children}):
            running = [child for child in self._children if child.stop_stage == stage and child.is_running]
            for child in running:
                child.ask_to_end()
            for child in running:
                child.wait_or_kill()
        self._children.clear()

    def kill(self) -> None:
        """Kill all children at once."""
        for child in self._children:
            if child.process is not None:
                kill_group(child.process)

    def _spawn(self, child: Child) -> None:
        path = self.log_path(child.name)
        has_grown = path.exists() and path.stat().st_size > _LOG_BYTES
        with path.open("wb" if has_grown else "ab") as log:
            child.process = spawn(
                child.command,
                on_parent_death=signal.SIGTERM,
                log=log,
                environment=child.environment,
                folder=self._folder,
                keep_open=child.keep_open,
            )
        child.started_at, child.restart_at = time.monotonic(), None

    def _ended(self, child: Child, now: float) -> None:
        if child.process is None:
            return
        kill_group(child.process)
        ran_seconds = now - child.started_at
        child.backoff_seconds = (
            0.2 if ran_seconds > STEADY_SECONDS else min(max(child.backoff_seconds * 2, 0.2), LONGEST_BACKOFF_SECONDS)
        )
        child.restart_at = now + child.backoff_seconds
        self._say(
            f"{child.name} ended ({_how(child.process.returncode)}) and starts again in "
            f"{child.backoff_seconds:.1f} s; {self.log_path(child.name)} has its last words."
        )


def _how(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
