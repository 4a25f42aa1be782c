"""Servers that take a stream of events as the real ones do: HTTP with keys and signatures checked, and syslog on TLS.

Each keeps what it took by the event's id, and can be told to fail: `server.answer_next(429, retry_after=7)`.
"""

from __future__ import annotations

import base64
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.serving import serving

SECRET = "siem-token-5tR9"


@dataclass
class Taken:
    """What a server has, and how it was asked."""

    url: str = ""
    ids: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    refuses: Callable[[str], bool] = lambda _: False
    largest: int = 10_000_000

    def answer_next(self, status: int, *, retry_after: int | None = None, times: int = 1) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.answers += [(status, headers)] * times

    def take(self, event_id: str, event: dict[str, Any]) -> None:
        self.ids.append(event_id)
        self.events.append(event)


def splunk(taken: Taken, path: str, headers: Any, body: bytes) -> Any:
    assert path == "/services/collector/event"
    assert headers["Authorization"] == f"Splunk {SECRET}"
    decoder, text, at = json.JSONDecoder(), body.decode(), 0
    while at < len(text):
        event, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at] in "\n ":
            at += 1
        assert event["sourcetype"] == "wardgate:event"
        assert event["index"] == "audit"
        float(event["time"])
        taken.take(event["event"]["id"], event["event"])
    return {"text": "Success", "code": 0}


def elastic(taken: Taken, path: str, headers: Any, body: bytes) -> Any:
    assert path == "/_bulk"
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Authorization"] == f"ApiKey {SECRET}"
    assert body.endswith(b"\n")
    lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
    items = []
    for action, document in zip(lines[::2], lines[1::2], strict=True):
        assert action["create"]["_index"] == "audit"
        assert "@timestamp" in document
        event_id = action["create"]["_id"]
        if event_id in taken.ids:
            items.append({"create": {"_id": event_id, "status": 409}})
        elif taken.refuses(event_id):
            items.append({"create": {"_id": event_id, "status": 400, "error": {"type": "mapper_parsing_exception"}}})
        else:
            taken.take(event_id, document["wardgate"])
            items.append({"create": {"_id": event_id, "status": 201}})
    return {"took": 1, "errors": any(item["create"]["status"] > 299 for item in items), "items": items}


def datadog(taken: Taken, path: str, headers: Any, body: bytes) -> Any:
    assert path == "/api/v2/logs"
    assert headers["DD-API-KEY"] == SECRET
    events = json.loads(body)
    assert 0 < len(events) <= 1000
    for event in events:
        assert event["ddsource"] == "wardgate"
        taken.take(event["wardgate"]["id"], event["wardgate"])
    return {}


def webhook(taken: Taken, path: str, headers: Any, body: bytes) -> Any:
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, sha256).digest()).decode()
    assert hmac.compare_digest(headers["webhook-signature"], f"v1,{expected}")
    assert abs(datetime.now(UTC).timestamp() - int(headers["webhook-timestamp"])) < 60
    message = json.loads(body)
    assert message["type"] == "wardgate.events"
    for event in message["data"]:
        taken.take(event["id"], event)
    return {}


def otlp(taken: Taken, path: str, headers: Any, body: bytes) -> Any:
    assert path == "/v1/logs"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    rejected = 0
    for resource in json.loads(body)["resourceLogs"]:
        assert {"key": "service.name", "value": {"stringValue": "wardgate"}} in resource["resource"]["attributes"]
        for scope in resource["scopeLogs"]:
            for log in scope["logRecords"]:
                int(log["timeUnixNano"])
                assert 1 <= log["severityNumber"] <= 24
                attributes = {entry["key"]: next(iter(entry["value"].values())) for entry in log["attributes"]}
                if taken.refuses(attributes["wardgate.id"]):
                    rejected += 1
                else:
                    taken.take(attributes["wardgate.id"], attributes)
    return {"partialSuccess": {"rejectedLogRecords": str(rejected)}} if rejected else {}


SERVICES = {"splunk": splunk, "elastic": elastic, "datadog": datadog, "webhook": webhook, "otlp": otlp}
PATHS = {
    "splunk": "/services/collector/event",
    "elastic": "/_bulk",
    "datadog": "/api/v2/logs",
    "webhook": "/hook",
    "otlp": "/v1/logs",
}


@contextmanager
def http_service(kind: str) -> Iterator[Taken]:
    """Serve as `kind` on a free port of 127.0.0.1."""
    taken = Taken()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.sizes.append(len(body))
            if taken.answers:
                status, headers = taken.answers.pop(0)
                self.respond(status, b"{}", headers)
                return
            if len(body) > taken.largest:
                self.respond(413, b"{}", {})
                return
            try:
                answer = SERVICES[kind](taken, self.path, self.headers, body)
            except Exception as error:
                taken.problems.append(repr(error))
                self.respond(400, b"{}", {})
                return
            self.respond(200, json.dumps(answer).encode(), {})

        def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    taken.url = f"http://127.0.0.1:{server.server_address[1]}{PATHS[kind]}"
    with serving(server):
        yield taken


@dataclass
class SyslogTaken:
    """Messages that a syslog listener has, and the certificate that its clients have to trust."""

    address: str = ""
    certificate: str = ""
    messages: list[str] = field(default_factory=list)
    cut_after: int | None = None
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, seconds: float = 10) -> list[str]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= count, seconds), self.messages
            return list(self.messages)


@contextmanager
def syslog_listener(folder: Path) -> Iterator[SyslogTaken]:
    """Listen for RFC 5425: syslog over TLS with octet counting, on a free port of 127.0.0.1."""
    taken = SyslogTaken()
    key_file, taken.certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", key_file)
    listener = socket.create_server(("127.0.0.1", 0))
    taken.address = f"127.0.0.1:{listener.getsockname()[1]}"
    stopped = threading.Event()

    def serve(plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.settimeout(10)
                data = b""
                while True:
                    piece = connection.recv(65536)
                    if not piece:
                        connection.unwrap()
                        return
                    data += piece
                    while b" " in data:
                        length, _, rest = data.partition(b" ")
                        if len(rest) < int(length):
                            break
                        with taken.arrived:
                            if taken.cut_after is not None and len(taken.messages) >= taken.cut_after:
                                taken.cut_after = None
                                return
                            taken.messages.append(rest[: int(length)].decode())
                            taken.arrived.notify_all()
                        data = rest[int(length) :]
        except (OSError, ValueError):
            return

    def accept() -> None:
        while not stopped.is_set():
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield taken
    finally:
        stopped.set()
        listener.close()


def _certificate(folder: Path) -> tuple[Path, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syslog.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(pem)
    key_file = folder / "server.key"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key_file, pem.decode()
