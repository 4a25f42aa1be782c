"""Server processes of a test: started on a free port, awaited, and never left behind."""

from __future__ import annotations

import http.client
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway_project.processes import spawn, stop

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 8.0
POLL_SECONDS = 0.02
PORTS = range(20_000, 32_000)
"""Below the range from which the kernel takes the ports of outgoing connections, so that nobody else gets one."""


class DidNotStart(Exception):
    """A server process ended, or was not ready in time; the message ends with the last lines of its log."""


def free_port() -> int:
    """Return a loopback port on which nobody listens."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DidNotStart("no free port was found")


def wait_until(happens: Callable[[], bool], *, seconds: float = 10.0, what: str = "it") -> None:
    """Return as soon as `happens()`.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def accepts(port: int) -> bool:
    """Return whether somebody listens on the loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers_ok(port: int, path: str) -> bool:
    """Return whether `GET path` is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Server:
    """One child process that serves on `port`; its output goes to the file `log`.

    Call `start` from the main thread: the child dies with the thread that forked it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        ready_path: str = "",
    ) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self.environment = environment
        self._ready_path = ready_path
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running child."""
        assert self.process is not None, "the server was not started"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Return whether the child exists."""
        return self.process is not None and self.process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start the child, and return once it is ready.

        Raises:
            DidNotStart: it ended, or was not ready within `START_SECONDS`.
        """
        with self.log.open("ab") as log:
            self.process = spawn(
                self.command,
                on_parent_death=signal.SIGKILL,
                log=log,
                environment=self.environment,
                folder=ROOT,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return once the child accepts connections, or answers its readiness path with 200."""
        try:
            wait_until(lambda: not self.is_running or self._is_ready(), seconds=START_SECONDS)
        except TimeoutError:
            self.kill()
            raise DidNotStart(self._story("was not ready in time")) from None
        if not self.is_running:
            raise DidNotStart(self._story("ended at once"))

    def stop(self) -> None:
        """End the child politely, and kill it when that takes too long."""
        if self.process is not None:
            stop(self.process, by=signal.SIGTERM, within_seconds=STOP_SECONDS)

    def kill(self) -> None:
        """Kill the child (SIGKILL) and wait until it is gone."""
        if self.process is not None:
            stop(self.process, by=signal.SIGKILL, within_seconds=STOP_SECONDS)

    def restart(self) -> None:
        """Stop the child and start it again on the same port."""
        self.stop()
        self.start()

    def output(self) -> str:
        """Return everything that the child has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _is_ready(self) -> bool:
        return answers_ok(self.port, self._ready_path) if self._ready_path else accepts(self.port)

    def _story(self, what: str) -> str:
        last = "\n".join(self.output().splitlines()[-30:])
        return f"{' '.join(map(str, self.command[:4]))} {what}:\n{last}"


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start `server`, and stop it on leaving."""
    try:
        server.start()
        yield server
    finally:
        server.stop()
