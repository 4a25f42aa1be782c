"""Servers that notifications go to: mail over SMTP, and a webhook that checks what is signed.

Each keeps what it took, and can be told to refuse: `mail.answer_next(451)`, `hook.answer_next(503, retry_after=7)`.
"""

from __future__ import annotations

import base64
import email
import email.policy
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.serving import serving

HOOK_SECRET = "hook-secret-Vx71q"


@dataclass
class Mail:
    """What a mail server took, as bytes and as messages, and by which envelope."""

    port: int = 0
    raw: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    stalls: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def answer_next(self, code: int, *, times: int = 1) -> None:
        """Answer the next recipients with a refusal."""
        self.answers += [code] * times

    @property
    def messages(self) -> list[EmailMessage]:
        return [email.message_from_bytes(raw, policy=email.policy.default) for raw in self.raw]


@contextmanager
def mail_server() -> Iterator[Mail]:
    """Take mail on a free port of 127.0.0.1."""
    mail = Mail()

    class Handler(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            self.say("220 mail.test ready")
            sender = ""
            recipients: list[str] = []
            while line := self.rfile.readline(2000):
                verb, _, rest = line.decode().strip().partition(" ")
                if mail.stalls and verb.upper() == "DATA":
                    mail.is_over.wait(20)
                    return
                match verb.upper():
                    case "EHLO" | "HELO":
                        self.say("250-mail.test\r\n250 SMTPUTF8")
                    case "MAIL":
                        sender, recipients = rest, []
                        self.say("250 ok")
                    case "RCPT" if mail.answers:
                        self.say(f"{mail.answers.pop(0)} not now")
                    case "RCPT":
                        recipients.append(rest)
                        self.say("250 ok")
                    case "DATA":
                        self.say("354 go on")
                        mail.raw.append(self.data())
                        mail.envelopes.append((sender, recipients))
                        self.say("250 taken")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("250 ok")

        def data(self) -> bytes:
            lines = []
            while (line := self.rfile.readline(100_000)) not in {b".\r\n", b""}:
                lines.append(line[1:] if line.startswith(b".") else line)
            return b"".join(lines)

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    with serving(server):
        mail.port = server.server_address[1]
        yield mail
        mail.is_over.set()


@dataclass
class Hook:
    """What a webhook took: bodies whose signature is good, by their id; and how often it was asked."""

    url: str = ""
    secrets: list[str] = field(default_factory=lambda: [HOOK_SECRET])
    asked: int = 0
    asked_ids: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    stalls: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def answer_next(self, status: int, *, retry_after: str = "", times: int = 1) -> None:
        self.answers += [(status, {"Retry-After": retry_after} if retry_after else {})] * times

    def is_signed(self, headers: Any, body: bytes) -> bool:
        """Check as Standard Webhooks says: any of the signatures, by any secret that the receiver knows."""
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        given = headers["webhook-signature"].split(" ")
        good = [
            "v1," + base64.b64encode(hmac.new(secret.encode(), signed, sha256).digest()).decode()
            for secret in self.secrets
        ]
        return any(hmac.compare_digest(one, other) for one in given for other in good)


@contextmanager
def hook_server() -> Iterator[Hook]:
    """Take webhooks on a free port of 127.0.0.1."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.asked += 1
            hook.asked_ids.append(self.headers["webhook-id"])
            if hook.stalls:
                hook.is_over.wait(20)
                self.close_connection = True
                return
            status, headers = hook.answers.pop(0) if hook.answers else (200, {})
            if status < 300 and not hook.is_signed(self.headers, body):
                hook.problems.append("a signature is wrong")
                status = 401
            elif status < 300:
                hook.ids.append(self.headers["webhook-id"])
                hook.bodies.append(json.loads(body))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server):
        hook.url = f"http://127.0.0.1:{server.server_address[1]}/hook/capability-9f31"
        yield hook
        hook.is_over.set()
