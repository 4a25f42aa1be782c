"""The commands behind `run.py`, inside the virtual environment."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from gateway_project.demo.people import PEOPLE
from gateway_project.embedded_place import EmbeddedError
from gateway_project.local.state import FOLDER, PROJECT, LocalError, is_held, load_running
from gateway_project.local.tokens import demo_password, demo_token

DOWN_SECONDS = 20


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what cannot be done is one sentence on standard error."""
    command, rest = arguments[0], list(arguments[1:])
    try:
        if command == "up":
            return _up(rest)
        if command == "down":
            return _down()
        if command == "token":
            return _token(rest)
        if command == "verify":
            return _verify(rest)
        if command == "password":
            return _password(rest)
        return _manage(["demo", *rest] if command == "demo" else rest)
    except (LocalError, EmbeddedError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


def _up(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py up", description="Start everything on this machine.")
    parser.add_argument("--port", type=int, default=8080, help="of the gateway and the console (default 8080)")
    parser.add_argument("--idp-port", type=int, default=8081, help="of the demo's identity provider (default 8081)")
    parser.add_argument("--mcp-port", type=int, default=8082, help="of the demo's MCP server (default 8082)")
    parser.add_argument("--workers", type=int, default=1, help="gateway processes (default 1)")
    parser.add_argument("--no-demo", action="store_true", help="without identity provider, MCP server and their rows")
    options = parser.parse_args(arguments)
    from gateway_project.local.up import Options, up

    return up(
        Options(
            port=options.port,
            idp_port=options.idp_port,
            mcp_port=options.mcp_port,
            workers=max(1, options.workers),
            has_demo=not options.no_demo,
        )
    )


def _down() -> int:
    os.kill(load_running().pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while is_held():
        if time.monotonic() > deadline:
            raise LocalError(f"Wardgate did not stop within {DOWN_SECONDS} s.")
        time.sleep(0.05)
    return 0


def _token(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py token", description="Print a token of the demo's identity provider.")
    parser.add_argument("name", choices=sorted(PEOPLE), help="whose token")
    parser.add_argument("--resource", default="", help="the URL that the token is for (RFC 8707)")
    options = parser.parse_args(arguments)
    print(demo_token(options.name, resource=options.resource))  # noqa: T201
    return 0


def _password(arguments: Sequence[str]) -> int:
    people = sorted(name for name, person in PEOPLE.items() if not person.is_machine)
    description = "Print with which password somebody logs in at the demo's identity provider."
    parser = argparse.ArgumentParser(prog="run.py password", description=description)
    parser.add_argument("name", choices=people, help="whose password")
    print(demo_password(parser.parse_args(arguments).name))  # noqa: T201
    return 0


def _verify(arguments: Sequence[str]) -> int:
    """Export the record of the running `up`, and prove it against the copies of its checkpoints."""
    file = FOLDER / "record.jsonl"
    code = _manage(["record_export", "--output", str(file)])
    copies = sorted((FOLDER / "checkpoints").glob("*/*.jsonl"))
    witnesses = [part for copy in copies for part in ("--witness", str(copy))]
    command = [sys.executable, "-I", str(PROJECT / "deploy" / "wardgate_verify.py"), *witnesses, *arguments, str(file)]
    return code or subprocess.call(command)


def _manage(arguments: Sequence[str]) -> int:
    if not os.environ.get("DATABASE_URL"):
        for name, value in load_running().environment.items():
            os.environ.setdefault(name, value)
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *arguments])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
