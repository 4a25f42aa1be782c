"""An S3-compatible server in memory, by path: it checks every signature by itself and refuses what does not fit.

Its check of Signature Version 4 is written from the documentation and shares no code with the client's. A test may make
it fail: `server.fail_next(503, 2)` answers the next two requests so, `server.cut_next()` breaks off the next answer.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.serving import serving

ACCESS_KEY = "AKIATESTS"
SECRET_KEY = "tests/secret/key+1"
REGION = "eu-test-1"


class S3Server:
    """Objects of any bucket by `bucket/name`, uploads in parts, and how many requests of each method came."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.numbers = itertools.count(1)
        self.failures: list[int] = []
        self.cuts = 0
        self.url = ""

    def fail_next(self, status: int, count: int = 1) -> None:
        self.failures += [status] * count

    def cut_next(self, count: int = 1) -> None:
        self.cuts += count


def _signature_problem(handler: BaseHTTPRequestHandler, body: bytes) -> str:
    given = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request,\s*"
        r"SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})",
        handler.headers.get("Authorization", ""),
    )
    if given is None:
        return "AccessDenied"
    access_key, day, region, names, signature = given.groups()
    if access_key != ACCESS_KEY or region != REGION:
        return "InvalidAccessKeyId"
    if hashlib.sha256(body).hexdigest() != handler.headers.get("x-amz-content-sha256"):
        return "XAmzContentSHA256Mismatch"
    stamp = handler.headers.get("x-amz-date", "")
    when = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(datetime.now(UTC) - when) > timedelta(minutes=15) or stamp[:8] != day:
        return "RequestTimeTooSkewed"
    signed = names.split(";")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed) or signed != sorted(signed):
        return "AccessDenied"
    parts = urlsplit(handler.path)
    query = "&".join(sorted(part if "=" in part else f"{part}=" for part in parts.query.split("&") if part))
    lines = [handler.command, parts.path, query]
    lines += [f"{name}:{' '.join((handler.headers.get(name) or '').split())}" for name in signed]
    lines += ["", names, handler.headers["x-amz-content-sha256"]]
    hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/s3/aws4_request\n{hashed}"
    key = ("AWS4" + SECRET_KEY).encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return "" if hmac.compare_digest(expected, signature) else "SignatureDoesNotMatch"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve on a free port of 127.0.0.1."""
    state = S3Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if state.cuts and body:
                state.cuts -= 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

        def error(self, status: int, code: str) -> None:
            self.answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode())

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.requests.append(self.command)
            if state.failures:
                self.error(state.failures.pop(0), "SlowDown")
                return
            problem = _signature_problem(self, body)
            if problem:
                state.refused.append(problem)
                self.error(403, problem)
                return
            parts = urlsplit(self.path)
            getattr(self, f"on_{self.command.lower()}")(
                unquote(parts.path).lstrip("/"), dict(parse_qsl(parts.query, keep_blank_values=True)), body
            )

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

        def on_put(self, name: str, query: dict[str, str], body: bytes) -> None:
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            if "partNumber" in query:
                state.uploads[query["uploadId"]][int(query["partNumber"])] = body
            else:
                state.objects[name] = body
            self.answer(200, ETag=tag)

        def on_post(self, name: str, query: dict[str, str], body: bytes) -> None:
            if "uploads" in query:
                upload = f"upload {next(state.numbers)}&"
                state.uploads[upload] = {}
                text = upload.replace("&", "&amp;")
                tag = "InitiateMultipartUploadResult"
                self.answer(200, f"<{tag}><UploadId>{text}</UploadId></{tag}>".encode())
                return
            kept = state.uploads.pop(query["uploadId"])
            wanted = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
            if wanted != sorted(kept):
                self.answer(200, b"<Error><Code>InvalidPart</Code></Error>")
                return
            state.objects[name] = b"".join(kept[number] for number in wanted)
            self.answer(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")

        def on_get(self, name: str, query: dict[str, str], body: bytes) -> None:
            if name not in state.objects:
                self.error(404, "NoSuchKey")
                return
            found = state.objects[name]
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if asked is None:
                self.answer(200, found)
            elif int(asked[1]) >= len(found):
                self.error(416, "InvalidRange")
            else:
                self.answer(206, found[int(asked[1]) : int(asked[2]) + 1])

        def on_head(self, name: str, query: dict[str, str], body: bytes) -> None:
            if name not in state.objects:
                self.answer(404)
            else:
                self.answer(200, Content_Length=str(len(state.objects[name])))

        def on_delete(self, name: str, query: dict[str, str], body: bytes) -> None:
            if "uploadId" in query:
                state.uploads.pop(query["uploadId"], None)
            else:
                state.objects.pop(name, None)
            self.answer(204)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield state
