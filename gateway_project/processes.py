"""Child processes that never outlive the process that started them.

On Linux the kernel signals a child when its parent dies (PR_SET_PDEATHSIG), even by SIGKILL. Elsewhere a killed parent
may leave its children behind; `embedded` ends such a left-over database at the next start.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Loaded before any fork: the child has dropped its privileges when it needs this, and may be unable to import.
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system account a child runs under."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    *,
    on_parent_death: signal.Signals,
    log: IO[bytes] | int | None,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
    folder: Path = Path("/"),
    stdin: int | None = subprocess.DEVNULL,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session and process group of its own; it is signalled when this process dies.

    Call it from the main thread: the kernel ties the signal to the thread that forked, not to the process.

    Args:
        command: the program and its arguments; no shell.
        on_parent_death: what the kernel sends to the child when the parent is gone.
        log: where standard output and error go; None keeps the parent's.
        environment: all that the child gets; None copies the parent's.
        account: runs the child under this account; only root can.
        folder: its working directory.
        stdin: as `subprocess.Popen` takes it; nothing to read unless said.
        keep_open: file descriptors that the child inherits under their numbers.
    """
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=stdin,
        stdout=log,
        stderr=log if log is not None else None,
        env=dict(environment) if environment is not None else None,
        cwd=folder,
        start_new_session=True,
        pass_fds=tuple(keep_open),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # Runs after the change of user, which would reset the signal.
        preexec_fn=_die_with_parent(on_parent_death),  # noqa: PLW1509
    )


def stop(process: subprocess.Popen[bytes], *, by: signal.Signals, within_seconds: float) -> None:
    """Signal a child and wait for it; then kill whatever is left of its process group."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what a dead child left in its process group: workers that its own children became."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _die_with_parent(by: signal.Signals) -> Callable[[], None] | None:
    if _PRCTL is None:
        return None
    prctl, parent, number = _PRCTL, os.getpid(), int(by)

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            # The parent died between the fork and the request above, so no signal will come.
            os._exit(1)

    return ask_kernel
