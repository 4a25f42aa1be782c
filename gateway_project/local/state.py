"""What `up` keeps between starts, in the git-ignored folder `.wardgate/`: data, secrets, and where the running one is.

Files of secrets have mode 0600. Losing the master key means losing every stored credential, so it is written once and
never replaced.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("WARDGATE_FOLDER") or PROJECT / ".wardgate").absolute()
"""Where it is kept; WARDGATE_FOLDER names another place."""


class LocalError(RuntimeError):
    """`up` cannot do what was asked; the message is one sentence for the person at the keyboard."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What was made at the first start."""

    secret_key: str = field(repr=False)
    master_keys: str = field(repr=False)
    demo_credential: str = field(repr=False)
    demo_passwords: dict[str, str] = field(repr=False)
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A running `up`: how to reach it, and the environment that its processes share."""

    pid: int
    public_url: str
    issuer: str
    environment: dict[str, str] = field(repr=False)


def load_secrets(people: list[str], folder: Path = FOLDER) -> Secrets:
    """Return the kept secrets, making those that are missing; `people` each get a demo password.

    Raises:
        LocalError: the file is not what was written.
    """
    path = folder / "secrets.json"
    kept = _read(path)
    makers: dict[str, Callable[[], str]] = {
        "secret_key": lambda: secrets.token_urlsafe(64),
        "master_keys": lambda: f"local:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "demo_credential": lambda: secrets.token_urlsafe(32),
    }
    made = {name: make() for name, make in makers.items() if not kept.get(name)}
    passwords = dict(kept.get("demo_passwords") or {})
    missing = [name for name in people if name not in passwords]
    passwords |= {name: secrets.token_urlsafe(18) for name in missing}
    values = {**kept, **made, "demo_passwords": passwords}
    if made or missing:
        write_private(path, json.dumps(values, indent=1))
    return Secrets(
        **{name: values[name] for name in makers}, demo_passwords=passwords, is_new="demo_credential" in made
    )


def load_running(folder: Path = FOLDER) -> Running:
    """Return the running `up`.

    Raises:
        LocalError: none runs.
    """
    values = _read(folder / "running.json")
    if values and is_held(folder):
        return Running(**values)
    raise LocalError("Wardgate is not running on this machine: `python3 run.py up` first.")


def save_running(running: Running, folder: Path = FOLDER) -> None:
    """Keep how to reach this `up`."""
    write_private(folder / "running.json", json.dumps(asdict(running)))


def forget_running(folder: Path = FOLDER) -> None:
    """Drop what `save_running` kept."""
    (folder / "running.json").unlink(missing_ok=True)


@contextlib.contextmanager
def held(folder: Path = FOLDER) -> Iterator[None]:
    """Hold the folder for one `up`; the kernel lets go of it when the process dies, however it dies.

    Raises:
        LocalError: another `up` holds it.
    """
    with (folder / "up.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError("Wardgate is already running here: `python3 run.py down` stops it.") from None
        yield


def is_held(folder: Path = FOLDER) -> bool:
    """Return whether an `up` holds the folder."""
    try:
        with (folder / "up.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def make_folder(folder: Path = FOLDER) -> Path:
    """Make the folder of everything that is kept, and return it.

    Raises:
        LocalError: it cannot be written.
    """
    try:
        # As root the servers run under another account, which has to pass through.
        folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        is_writable = os.access(folder, os.W_OK)
    except OSError:
        is_writable = False
    if not is_writable:
        raise LocalError(f"The folder {folder} cannot be written by this user.")
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise LocalError(f"{path} belongs to another user: start as that user.") from None
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise LocalError(f"{path} is damaged: restore it from a backup, or move {path.parent} away to begin anew.")
    return values
