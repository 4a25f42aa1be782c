"""What is measured: each candidate is a process pinned to one core that answers the same call on its own port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import CANDIDATE_CPU, LOAD_CPU
from gateway_project.processes import spawn, stop

UPSTREAM_PORT, NGINX_PORT, FASTMCP_PORT, GATEWAY_PORT = 9000, 9010, 9012, 9020
CALL = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "small", "arguments": {"q": "abc"}}}
)
EXPECTED = "worker[0]"
"""Part of every good answer of the upstream to `CALL`."""
READY_SECONDS = 40


class NotReady(Exception):
    """A candidate does not answer; the message holds what it last said and where its log is."""


@dataclass(slots=True)
class Candidate:
    """One way to the upstream. Without a command it is the upstream itself."""

    name: str
    url: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    token: str = ""
    body: str = CALL
    cpu: int = CANDIDATE_CPU
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self, logs: Path) -> None:
        """Start the process, pinned; its output goes to a file of its name below `logs`."""
        if not self.command:
            return
        with (logs / f"{self.name}.log").open("wb") as log:
            self.process = spawn(
                ["taskset", "-c", str(self.cpu), *self.command],
                on_parent_death=signal.SIGTERM,
                log=log,
                environment={**os.environ, **self.environment},
                folder=self.folder or Path("/"),
            )

    def wait_until_ready(self, logs: Path) -> str:
        """Return the first good answer to the call.

        Raises:
            NotReady: it ended, or gave no good answer in time.
        """
        deadline, last = time.monotonic() + READY_SECONDS, "nothing"
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise NotReady(f"{self.name} ended while starting; {logs / f'{self.name}.log'} says why.")
            try:
                status, answer = self.post()
                if status == 200 and EXPECTED in answer:
                    return answer
                last = f"{status} {answer[:300]}"
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read()[:300]!r}"
            except OSError as error:
                last = str(error)
            time.sleep(0.2)
        raise NotReady(f"{self.name} gave no good answer in {READY_SECONDS} s, but: {last}")

    def post(self) -> tuple[int, str]:
        """Make the call once and return status and body."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url, self.body.encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()

    def stop(self) -> None:
        """End the process and what it started; killed when it does not obey within five seconds."""
        if self.process is not None:
            stop(self.process, by=signal.SIGTERM, within_seconds=5)
            self.process = None


def upstream(program: Path) -> Candidate:
    """Return the MCP server behind all candidates; it shares a core with the load."""
    url = f"http://127.0.0.1:{UPSTREAM_PORT}/mcp"
    return Candidate("upstream", url, [str(program), str(UPSTREAM_PORT)], cpu=LOAD_CPU)


def direct() -> Candidate:
    """Return the upstream without anything between."""
    return Candidate("direct", f"http://127.0.0.1:{UPSTREAM_PORT}/mcp")


def nginx(kit: Path, work: Path, program: str) -> Candidate:
    """Return nginx as a bare reverse proxy with keep-alive to the upstream: no checks, no record."""
    folder = work / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "nginx.conf"
    configuration.write_text((kit / "nginx.conf").read_text().replace("@RUN@", str(folder)))
    command = [program, "-c", str(configuration), "-p", str(folder)]
    return Candidate("nginx", f"http://127.0.0.1:{NGINX_PORT}/mcp", command)


def fastmcp(kit: Path, python: Path) -> Candidate:
    """Return FastMCP's proxy at its best: one upstream client, connected once, for everybody."""
    command = [str(python), str(kit / "peer_fastmcp.py"), str(FASTMCP_PORT), "shared"]
    return Candidate("fastmcp-shared", f"http://127.0.0.1:{FASTMCP_PORT}/mcp", command)


def wardgate(root: Path, python: str, environment: dict[str, str], token: str) -> Candidate:
    """Return the gateway: one uvicorn worker, everything on."""
    command = [python, "-m", "uvicorn", "gateway_project.asgi:application", "--port", str(GATEWAY_PORT)]
    command += ["--loop", "uvloop", "--http", "proxy.http_protocol:GatewayProtocol", "--no-access-log"]
    command += ["--no-server-header", "--no-proxy-headers", "--log-level", "warning"]
    url = f"http://127.0.0.1:{GATEWAY_PORT}/mcp/bench"
    return Candidate("wardgate", url, command, environment, root, token)
