"""`python3 run.py up`: services, migrations, demo rows, then gateway, worker and demo servers until Ctrl-C.

The order: take the folder and the ports (so that a second start fails before it touches anything), start the services
and the demo servers, bring the database up to date while they start, then start what needs it. The supervisor holds the
listening sockets, so a client that calls while the gateway is started again waits instead of being refused.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen

from gateway_project.demo.people import PEOPLE
from gateway_project.embedded import EmbeddedError, Postgres, Valkey
from gateway_project.local import prepare, state, welcome
from gateway_project.local.state import LocalError, Running, Secrets
from gateway_project.local.supervisor import Child, Supervisor

HOST = "127.0.0.1"
READY_SECONDS = 60
CHECK_SECONDS = 0.2
SERVICE_BACKOFF_SECONDS = 2.0
GATEWAY_STOP_SECONDS = 3

# The loopback interface only, and only what a shell has: nothing of ours is in a demo server's environment.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    port: int
    idp_port: int
    mcp_port: int
    workers: int
    has_demo: bool

    @property
    def public_url(self) -> str:
        """Return the gateway's origin; WARDGATE_PUBLIC_URL names another one."""
        return os.environ.get("WARDGATE_PUBLIC_URL") or f"http://{HOST}:{self.port}"

    @property
    def issuer(self) -> str:
        """Return the demo identity provider's name, empty without the demo."""
        return f"http://{HOST}:{self.idp_port}" if self.has_demo else ""

    @property
    def upstream_url(self) -> str:
        """Return the MCP endpoint of the demo's orders server."""
        return f"http://{HOST}:{self.mcp_port}/mcp"


class _Stop(BaseException):
    """Ctrl-C, or a signal that asks the process to end."""


def up(options: Options) -> int:
    """Run everything until a signal; return the exit code.

    Raises:
        LocalError, EmbeddedError: something is in the way; the message is one sentence.
    """
    started_at = float(os.environ.get("WARDGATE_STARTED_AT") or time.time())
    folder = state.make_folder()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_stop)
    try:
        with ExitStack() as stack:
            stack.enter_context(state.held(folder))
            _run(options, stack, started_at)
    except _Stop:
        say("Stopped.")
    return 0


def say(line: str) -> None:
    """Tell the person at the keyboard."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _run(options: Options, stack: ExitStack, started_at: float) -> None:
    sockets = _listen(options, stack)
    secrets = state.load_secrets(list(PEOPLE))
    services = stack.enter_context(_services())
    environment = _environment(options, secrets)
    supervisor = Supervisor(logs=state.FOLDER, folder=state.PROJECT, say=say)
    stack.callback(_stop_children, supervisor)
    if options.has_demo:
        for child in _demo_children(options, secrets, sockets):
            supervisor.start(child)
    has_own_database = any(isinstance(service, Postgres) for service in services)
    for service in services:
        environment[_VARIABLES[type(service)]] = service.wait_until_ready()
    os.environ.update(environment)
    prepared = prepare.prepare(
        demo=prepare.Demo(options.issuer, options.upstream_url, secrets.demo_credential, secrets.is_new)
        if options.has_demo
        else None,
        has_roles=has_own_database,
    )
    if has_own_database:
        # Only this process keeps the owner's name, for migrations. What is served cannot change what was recorded.
        owner = environment["DATABASE_URL"]
        environment |= {
            "DATABASE_URL": _as_role(owner, prepare.APPLICATION_ROLE),
            "WARDGATE_RETENTION_DATABASE_URL": _as_role(owner, prepare.RETENTION_ROLE),
        }
    worker, *gateways = _gateway_children(options, environment, sockets["port"])
    for child in gateways:
        supervisor.start(child)
    _wait_until_ready(options, supervisor)
    # Not before: the worker only tidies, and would take the processor from the gateway that somebody waits for.
    supervisor.start(worker)
    state.save_running(Running(os.getpid(), options.public_url, options.issuer, environment))
    stack.callback(state.forget_running)
    say(
        welcome.text(
            public_url=options.public_url,
            has_demo=options.has_demo,
            new_password=prepared.new_password,
            project=state.PROJECT,
            seconds=time.time() - started_at,
        )
    )
    _watch(supervisor, services)


_VARIABLES: dict[type, str] = {Postgres: "DATABASE_URL", Valkey: "REDIS_URL"}


@contextmanager
def _services() -> Iterator[list[Postgres | Valkey]]:
    """Start the services that the environment does not name; stop them at the end, the database last."""
    services: list[Postgres | Valkey] = []
    try:
        for kind in (Postgres, Valkey):
            if not os.environ.get(_VARIABLES[kind]):
                service = kind(state.FOLDER)
                services.append(service)
                service.launch()
        yield services
    finally:
        for service in reversed(services):
            service.stop()


def _as_role(url: str, role: str) -> str:
    """Return the URL of the embedded database for another role; it asks nobody for a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}@{rest.partition('@')[2]}"


def _listen(options: Options, stack: ExitStack) -> dict[str, socket.socket]:
    """Return a listening socket for each option that names a port.

    Raises:
        LocalError: a port is taken.
    """
    ports = {"port": options.port}
    if options.has_demo:
        ports |= {"idp-port": options.idp_port, "mcp-port": options.mcp_port}
    sockets = {}
    for option, port in ports.items():
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it. The server takes an inherited descriptor for a unix socket and would leave it
        # off, which costs 40 ms whenever an answer is written in two parts.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "is in use by another program" if is_taken else "cannot be opened by this user"
            raise LocalError(f"Port {port} {reason}: choose another one with --{option}.") from None
        sockets[option] = listener
    return sockets


def _environment(options: Options, secrets: Secrets) -> dict[str, str]:
    """Return what our own processes share; what the person set goes before what was made."""
    made = {
        "SECRET_KEY": secrets.secret_key,
        "WARDGATE_MASTER_KEYS": secrets.master_keys,
        "WARDGATE_PUBLIC_URL": options.public_url,
        "DJANGO_SETTINGS_MODULE": "gateway_project.settings.base",
        "WARDGATE_CHECKPOINT_FOLDER": str(state.FOLDER / "checkpoints"),
        # One may look around without a second factor, because nobody else reaches a loopback address. With any other
        # public URL it is asked for, and `wardgate.E030` refuses to start without it.
        "WARDGATE_REQUIRE_SECOND_FACTOR": "false" if not os.environ.get("WARDGATE_PUBLIC_URL") else "true",
    }
    names = (*made, "DATABASE_URL", "REDIS_URL")
    return made | {name: os.environ[name] for name in names if os.environ.get(name)}


def _demo_children(options: Options, secrets: Secrets, sockets: dict[str, socket.socket]) -> Iterator[Child]:
    shell = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    idp, orders = sockets["idp-port"].fileno(), sockets["mcp-port"].fileno()
    yield Child(
        name="demo-idp",
        command=[sys.executable, "-m", "gateway_project.demo.idp"],
        environment=shell
        | {
            "WARDGATE_DEMO_ISSUER": options.issuer,
            "WARDGATE_DEMO_CONSOLE": options.public_url,
            "WARDGATE_DEMO_KEY_FILE": str(state.FOLDER / "demo-idp-key.json"),
            "WARDGATE_DEMO_PASSWORDS": welcome.as_json(secrets.demo_passwords),
            "WARDGATE_DEMO_SOCKET": str(idp),
        },
        keep_open=[idp],
    )
    yield Child(
        name="demo-orders",
        command=[sys.executable, "-m", "gateway_project.demo.orders"],
        environment=shell | {"WARDGATE_DEMO_CREDENTIAL": secrets.demo_credential, "WARDGATE_DEMO_SOCKET": str(orders)},
        keep_open=[orders],
    )


def _gateway_children(options: Options, environment: dict[str, str], listener: socket.socket) -> Iterator[Child]:
    everything = {**os.environ, **environment}
    worker = [sys.executable, "-m", "celery", "--app", "gateway_project.celery:app", "worker"]
    worker += ["--pool", "threads", "--concurrency", "4", "--beat", "--loglevel", "WARNING"]
    worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    yield Child(name="worker", command=worker, environment=everything)
    gateway = [sys.executable, "-m", "uvicorn", "gateway_project.asgi:application", "--fd", str(listener.fileno())]
    gateway += ["--loop", "uvloop", "--http", "proxy.http_protocol:GatewayProtocol", "--no-access-log"]
    gateway += ["--no-server-header", "--no-proxy-headers", "--log-level", "warning"]
    gateway += ["--timeout-graceful-shutdown", str(GATEWAY_STOP_SECONDS)]
    for number in range(1, options.workers + 1):
        yield Child(
            name="gateway" if options.workers == 1 else f"gateway-{number}",
            command=gateway,
            environment=everything,
            keep_open=[listener.fileno()],
            stop_seconds=GATEWAY_STOP_SECONDS + 1,
            stop_stage=0,
        )


def _wait_until_ready(options: Options, supervisor: Supervisor) -> None:
    """Return when the gateway says that it can serve.

    Raises:
        LocalError: a process ended, or the time is up.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not _is_ready(options.port):
        ended = supervisor.first_ended()
        if ended is not None:
            log = supervisor.log_path(ended.name)
            raise LocalError(f"{ended.name} does not start: {_last_line(log)} ({log} has more.)")
        if time.monotonic() > deadline:
            raise LocalError(f"The gateway was not ready within {READY_SECONDS} s; {state.FOLDER} has the logs.")
        time.sleep(0.05)


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://{HOST}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError, HTTPException):
        return False


def _last_line(path: object) -> str:
    try:
        with open(str(path), errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it said nothing."


def _watch(supervisor: Supervisor, services: list[Postgres | Valkey]) -> None:
    """Keep everything running until a signal."""
    retry_at = 0.0
    while True:
        supervisor.check()
        for service in services:
            if not service.is_running and time.monotonic() >= retry_at:
                retry_at = time.monotonic() + SERVICE_BACKOFF_SECONDS
                say(f"{type(service).__name__} ended and is started again.")
                try:
                    service.start()
                except EmbeddedError as error:
                    say(str(error))
        time.sleep(CHECK_SECONDS)


def _stop_children(supervisor: Supervisor) -> None:
    """Stop in order; one more Ctrl-C kills what is left."""

    def kill(number: int, frame: FrameType | None) -> None:
        supervisor.kill()

    say("Stopping ...")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, kill)
    supervisor.stop()


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise _Stop
