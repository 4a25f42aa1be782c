"""Services that take messages, in the test's own process: Slack's Web API, a workflow of Teams, a push service.

Each keeps what it was sent, and answers as it is told: `service.answer_next(429, {"Retry-After": "7"})`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

from tests.support.serving import serving

LOCAL = ["127.0.0.0/8"]


@dataclass(frozen=True)
class Asked:
    """One request that a service was sent; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Usual = Callable[[Asked], tuple[int, Any]]


@dataclass
class Service:
    """What a service was sent, and what it answers next."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    usual: Usual = lambda _: (200, {})

    def answer_next(self, status: int, headers: dict[str, str] | None = None, body: Any = None) -> None:
        self.answers.append((status, headers or {}, json.dumps(body if body is not None else {}).encode()))

    def to(self, end: str) -> list[Asked]:
        """Return what was sent to paths that end so."""
        return [asked for asked in self.asked if asked.path.endswith(end)]


@contextmanager
def service(
    usual: Callable[[Asked], tuple[int, Any]] | None = None, tls: SSLContext | None = None
) -> Iterator[Service]:
    """Run a service on a free port of 127.0.0.1."""
    running = Service()
    if usual is not None:
        running.usual = usual

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            running.asked.append(asked)
            if running.answers:
                status, headers, content = running.answers.pop(0)
            else:
                status, answer = running.usual(asked)
                headers, content = {}, json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    running.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield running


def slack_api(asked: Asked) -> tuple[int, Any]:
    """Answer as Slack's Web API does when everything is well."""
    method = asked.path.rpartition("/")[2]
    if asked.headers.get("authorization") != f"Bearer {BOT_TOKEN}":
        return 200, {"ok": False, "error": "invalid_auth"}
    if method == "auth.test":
        return 200, {"ok": True, "team_id": TEAM, "user_id": "UBOT00001", "bot_id": "B0000001"}
    if method in {"chat.postMessage", "chat.update"}:
        channel = asked.json["channel"]
        return 200, {"ok": True, "channel": channel, "ts": asked.json.get("ts", f"17000000{next(_NUMBERS)}.000100")}
    if method in {"chat.postEphemeral", "views.open"}:
        return 200, {"ok": True}
    return 200, {"ok": False, "error": "unknown_method"}


BOT_TOKEN = "xoxb-1111-2222-aBcDeFgH"
TEAM = "T0000TEAM"
_NUMBERS = iter(range(10, 100_000))


def clicked(
    action: str,
    key: str,
    *,
    user: str = "U0GRACE",
    team: str = TEAM,
    user_team: str | None = None,
    channel: str = "C0000001",
    ts: str = "1700000010.000100",
) -> dict[str, Any]:
    """Return what Slack sends when somebody presses a button of a message."""
    return {
        "type": "block_actions",
        "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": user_team or team},
        "api_app_id": "A0000001",
        "token": "old-verification-token",
        "container": {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": False},
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
        "team": {"id": team, "domain": "example"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": channel, "name": "approvals"},
        "message": {"type": "message", "ts": ts, "text": "Approval needed"},
        "state": {"values": {}},
        "response_url": "https://hooks.slack.com/actions/T0000TEAM/1/x",
        "actions": [
            {"action_id": action, "block_id": "wardgate", "type": "button", "value": key, "action_ts": "1700000099.1"}
        ],
    }


def deny_sent(key: str, reason: str, **who: Any) -> dict[str, Any]:
    """Return what Slack sends when the dialog that asks why is sent."""
    return _dialog_sent("wardgate_deny_dialog", "reason", reason, key, **who)


def link_sent(code: str, **who: Any) -> dict[str, Any]:
    """Return what Slack sends when the dialog that asks for a code is sent."""
    return _dialog_sent("wardgate_link_dialog", "code", code, "", **who)


def link_asked(*, user: str = "U0GRACE", team: str = TEAM) -> dict[str, Any]:
    """Return what Slack sends when somebody chooses the shortcut."""
    return {
        "type": "shortcut",
        "token": "old-verification-token",
        "action_ts": "1700000099.1",
        "team": {"id": team, "domain": "example"},
        "user": {"id": user, "username": user.lower(), "team_id": team},
        "callback_id": "wardgate_link",
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
    }


def _dialog_sent(
    callback: str,
    field_name: str,
    value: str,
    key: str,
    *,
    user: str = "U0GRACE",
    team: str = TEAM,
    user_team: str = "",
) -> dict[str, Any]:
    return {
        "type": "view_submission",
        "team": {"id": team, "domain": "example"},
        "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": user_team or team},
        "api_app_id": "A0000001",
        "token": "old-verification-token",
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
        "view": {
            "id": "V0000001",
            "team_id": team,
            "type": "modal",
            "private_metadata": key,
            "callback_id": callback,
            "state": {"values": {field_name: {field_name: {"type": "plain_text_input", "value": value}}}},
            "hash": "1700000099.abc",
        },
        "response_urls": [],
    }
