"""`run.py up`: ready, shown by the demo, restarted, stopped and killed; what is in the way is one sentence."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import psutil
import pytest

from tests.support.folders import reachable_folder
from tests.support.processes import still_running

PROJECT = Path(__file__).resolve().parents[3]
READY_SECONDS = 60
STOP_SECONDS = 15

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Up:
    """A running `up` with a folder and ports of its own."""

    process: subprocess.Popen[str]
    said: str
    port: int
    environment: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(self.environment, *arguments)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def gateway(self) -> psutil.Process:
        return next(child for child in self.family() if "gateway_project.asgi:application" in child.cmdline())


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway_project.local", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=READY_SECONDS,
        check=False,
    )


def environment_for(folder: Path) -> dict[str, str]:
    ours = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("WARDGATE_")}
    return kept | {"WARDGATE_FOLDER": str(folder), "COLUMNS": "200"}


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Up]:
    """Start `up`, wait until it says that it is ready, and stop it again unless the test did."""
    port, idp, mcp = free_ports(3)
    environment = environment_for(folder)
    ports = ["--port", str(port), "--idp-port", str(idp), "--mcp-port", str(mcp)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway_project.local", "up", *ports, *options],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "ready in" in line:
                break
        assert process.poll() is None, "".join(said)
        yield Up(process, "".join(said), port, environment)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_SECONDS)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as parent:
        yield parent / "state"


@pytest.fixture
def own_folder() -> Iterator[Path]:
    with reachable_folder() as parent:
        yield parent / "state"


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    with running(folder) as started:
        yield started


def verdicts(table: str) -> list[tuple[str, str]]:
    return re.findall(r"^  (\S+) +(allow|deny|hold|not recorded) ", table, re.MULTILINE)


def test_the_first_start_prints_where_to_look_and_what_to_paste(up):
    assert f"Console    http://127.0.0.1:{up.port}/admin/" in up.said
    assert re.search(r"Password   \S{20}   \(shown only this once\)", up.said)
    for paste in ("curl -s ", "claude mcp add --transport http orders", "streamable_http_client("):
        assert paste in up.said


def hidden_fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}


class Browser:
    """Follows links and sends forms, with cookies."""

    def __init__(self, up: Up) -> None:
        self.console = f"http://127.0.0.1:{up.port}"
        self._opener = build_opener(HTTPCookieProcessor())

    def open(self, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Return where it ends and what is there."""
        data = None if form is None else urlencode(form).encode()
        with self._opener.open(Request(url, data, {"Referer": url}), timeout=20) as answer:
            return answer.url, answer.read().decode()


def test_the_printed_password_opens_the_console(up):
    browser = Browser(up)
    login = f"{browser.console}/admin/login/"
    password = re.search(r"Password   (\S{20})", up.said)[1]
    _, page = browser.open(login)
    place, page = browser.open(login, hidden_fields(page) | {"username": "admin", "password": password})
    assert place == f"{browser.console}/admin/"
    assert re.search(r"<title>\s*Overview", page)


@pytest.mark.parametrize(("name", "roles"), [("alice", "viewer"), ("bob", "approver, auditor, operator")])
def test_people_of_the_demo_log_in_with_the_roles_of_their_groups(up, name, roles):
    browser = Browser(up)
    _, page = browser.open(f"{browser.console}/admin/login/?next=/admin/account/")
    begin = unescape(re.search(r'<a class="wg-button" href="([^"]+)">Log in with Demo identity provider</a>', page)[1])
    place, page = browser.open(browser.console + begin)
    password = up.run("password", name).stdout.strip()
    form = hidden_fields(page) | {"username": name, "password": password}
    place, page = browser.open(place.partition("?")[0], form)
    assert place == f"{browser.console}/admin/account/"
    assert f"<dd>{roles}</dd>" in page


def test_somebody_of_the_demo_without_a_group_is_told_that_they_have_no_role(up):
    browser = Browser(up)
    _, page = browser.open(f"{browser.console}/admin/login/")
    begin = unescape(re.search(r'<a class="wg-button" href="([^"]+)">Log in with Demo', page)[1])
    place, page = browser.open(browser.console + begin)
    form = hidden_fields(page) | {"username": "mallory", "password": up.run("password", "mallory").stdout.strip()}
    place, page = browser.open(place.partition("?")[0], form)
    assert place == f"{browser.console}/admin/login/"
    assert "None of your groups has a role in this console." in page


def test_the_demo_shows_verdicts_masking_and_replay_and_a_second_run_the_same(up):
    first, second = up.run("demo"), up.run("demo")
    assert first.returncode == 0, first.stderr
    calls = verdicts(first.stdout)
    assert ("get_order", "allow") in calls
    assert ("refund_order", "hold") in calls
    assert ("delete_order", "deny") in calls
    # The demo's approver decides about two of the held calls: one runs, one is denied.
    assert calls[-2:] == [("refund_order", "allow"), ("refund_order", "hold")]
    assert "EUR go back to card" in first.stdout
    assert "The goods have not come back." in first.stdout
    assert "email" in first.stdout
    assert f"replay: http://127.0.0.1:{up.port}/admin/" in first.stdout
    assert verdicts(second.stdout) == calls
    for personal in ("ben@example.org", "4242 4242", "5555-5555", "AKIAIOSFODNN7EXAMPLE", "correct-horse-battery"):
        assert personal not in first.stdout


def test_the_orders_server_is_closed_to_everybody_but_the_gateway(up):
    listening = next(child for child in up.family() if "gateway_project.demo.orders" in child.cmdline())
    port = next(one.laddr.port for one in listening.net_connections("tcp") if one.status == psutil.CONN_LISTEN)
    with closing(socket.create_connection(("127.0.0.1", port), 5)) as connection:
        connection.sendall(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_killed_gateway_is_started_again_and_callers_wait_instead_of_being_refused(up):
    killed = up.gateway()
    killed.kill()
    killed.wait(STOP_SECONDS)
    with urlopen(f"http://127.0.0.1:{up.port}/readyz", timeout=READY_SECONDS) as answer:
        assert answer.status == 200
    assert up.gateway().pid != killed.pid


def test_a_second_start_says_that_one_is_running(up):
    second = up.run("up", "--no-demo", "--port", str(free_ports(1)[0]))
    assert second.returncode == 1
    assert second.stderr.strip() == "Wardgate is already running here: `python3 run.py down` stops it."


def test_secrets_are_readable_by_their_owner_only(up, folder):
    for name in ("secrets.json", "running.json", "demo-idp-key.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_down_stops_everything_in_time_and_the_next_start_keeps_data_and_password(own_folder):
    with running(own_folder, "--no-demo") as first:
        family = first.family()
        assert first.run("token", "alice").stderr.strip() == (
            "Wardgate runs without its demo, so there is no demo token."
        )
        assert "there is no demo password" in first.run("password", "alice").stderr
        started = time.monotonic()
        assert first.run("down").returncode == 0
        assert time.monotonic() - started < 10
        assert still_running(family, seconds=STOP_SECONDS) == []
    with running(own_folder, "--no-demo", "--workers", "2") as second:
        assert "(shown only this once)" not in second.said
        assert "manage changepassword admin" in second.said


def test_killing_up_leaves_no_process_and_the_next_start_works(own_folder):
    with running(own_folder) as first:
        family = first.family()
        assert len(family) > 5
        first.process.kill()
        assert still_running(family, seconds=STOP_SECONDS) == []
    with running(own_folder) as second:
        assert second.gateway().is_running()


@pytest.mark.parametrize("option", ["--port", "--idp-port", "--mcp-port"])
def test_a_busy_port_is_one_sentence_that_names_the_option(own_folder, option):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        others = {
            name: str(free) for name, free in zip(("--port", "--idp-port", "--mcp-port"), free_ports(3), strict=True)
        }
        options = [part for pair in (others | {option: str(port)}).items() for part in pair]
        refused = command(environment_for(own_folder), "up", *options)
    assert refused.returncode == 1
    assert refused.stderr.strip() == f"Port {port} is in use by another program: choose another one with {option}."
    assert not (own_folder / "postgres").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence():
    refused = command(environment_for(Path("/proc/wardgate")), "up")
    assert refused.returncode == 1
    assert refused.stderr.strip() == "The folder /proc/wardgate cannot be written by this user."


def test_a_database_that_does_not_answer_is_one_sentence_without_its_password(own_folder):
    port = free_ports(1)[0]
    environment = environment_for(own_folder)
    environment["DATABASE_URL"] = f"postgres://gate:not-for-print@127.0.0.1:{port}/gate"
    refused = command(environment, "up", "--no-demo", "--port", str(free_ports(1)[0]))
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "DATABASE_URL" in refused.stderr
    assert "not-for-print" not in refused.stderr + refused.stdout


def test_commands_that_need_a_running_gateway_say_so(own_folder):
    for name in ("demo", "down", "token", "password"):
        arguments = [name, "alice"] if name in {"token", "password"} else [name]
        refused = command(environment_for(own_folder), *arguments)
        assert refused.returncode == 1
        assert "`python3 run.py up` first" in refused.stderr
