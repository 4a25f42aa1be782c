"""An issuer that takes its word back: asked by the gateway about a token in use, answered with no."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import httpx2 as httpx
import pytest

from tests.support.gateway import AUDIENCE, ISSUER, LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen

from .calls import ACCEPT, tool

CREDENTIALS = "Basic " + base64.b64encode(b"gateway:s%2Bcret").decode()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Endpoint:
    """The issuer's introspection endpoint: every token is active but those of `inactive`."""

    def __init__(self) -> None:
        self.inactive: set[str] = set()
        self.status = 200
        self.asked: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                token = form["token"][0]
                endpoint.asked.append(token)
                is_known = self.headers["Authorization"] == CREDENTIALS
                body = json.dumps({"active": token not in endpoint.inactive}).encode()
                self.send_response(endpoint.status if is_known else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/introspect"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    made.thread.start()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _healthy(endpoint: Endpoint) -> None:
    endpoint.status = 200


@pytest.fixture(scope="module")
def gateway_environment() -> dict[str, str]:
    return {
        "WARDGATE_INTROSPECTION_EVERY_SECONDS": "1",
        "WARDGATE_INTROSPECTION_OUTAGE_SECONDS": "1",
        "WARDGATE_IDENTITY_CACHE_SECONDS": "0",
    }


@pytest.fixture(scope="module")
def asking(live_gateway: LiveGateway, endpoint: Endpoint) -> LiveGateway:
    """The gateway, with a provider that wants to be asked."""
    provider = {
        "name": "Test",
        "issuer": ISSUER,
        "pinned_jwks": live_gateway.issuer.jwks(),
        "audiences": [AUDIENCE],
        "allowed_networks": ["127.0.0.0/8"],
        "introspection_url": endpoint.url,
        "introspection_client_id": "gateway",
        "introspection_secret": "s+cret",
    }
    live_gateway.seed({"providers": [provider]})
    token = aged(live_gateway)
    wait_until(lambda: call(live_gateway, token).status_code == 200 and token in endpoint.asked, seconds=5, what="x")
    return live_gateway


def aged(gateway: LiveGateway) -> str:
    """A token that is good and not fresh any more, and one of a kind."""
    return gateway.token(iat=int(time.time()) - 60, nbf=int(time.time()) - 60)


def call(gateway: LiveGateway, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", **ACCEPT}
    return httpx.post(gateway.url("orders"), json=tool("get_order"), headers=headers, timeout=15)


def test_a_token_that_its_issuer_stands_by_is_good(asking, endpoint):
    token = aged(asking)
    assert call(asking, token).status_code == 200
    assert endpoint.asked.count(token) == 1


def test_a_fresh_token_costs_no_question(asking, endpoint):
    token = asking.token(iat=int(time.time()) + 20)
    assert call(asking, token).status_code == 200
    assert token not in endpoint.asked


def test_a_token_that_its_issuer_took_back_is_refused_and_revoked_everywhere(asking, endpoint):
    token = aged(asking)
    assert call(asking, token).status_code == 200
    endpoint.inactive.add(token)
    wait_until(lambda: call(asking, token).status_code == 401, seconds=5, what="the refusal")
    rows = asking.sql("SELECT kind, source FROM accounts_revokedtoken WHERE source = 'introspection'")
    assert {(row["kind"], row["source"]) for row in rows} == {("digest", "introspection")}


def test_while_the_issuer_cannot_be_asked_a_token_is_good_for_a_while_only(asking, endpoint):
    token = aged(asking)
    assert call(asking, token).status_code == 200
    endpoint.status = 503
    answers = []

    def is_refused() -> bool:
        answers.append(call(asking, token))
        return answers[-1].status_code == 401

    wait_until(is_refused, seconds=8, what="the refusal")
    assert "introspection_unavailable" in answers[-1].text


def test_an_open_stream_ends_when_its_issuer_takes_the_token_back(asking, endpoint, upstream: ScriptedUpstream):
    over = threading.Event()

    def script(seen: Seen, connection: socket.socket) -> None:
        data = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n'
        connection.sendall(STREAM_HEAD + b"%x\r\n%b\r\n" % (len(data), data))
        over.wait(20)

    token = aged(asking)
    upstream.script = script
    request = {"json": tool("get_order"), "headers": {"Authorization": f"Bearer {token}", **ACCEPT}, "timeout": 15}
    try:
        with httpx.stream("POST", asking.url("orders"), **request) as answer:
            lines = answer.iter_lines()
            assert "notifications/message" in next(line for line in lines if line.startswith("data:"))
            endpoint.inactive.add(token)
            began_at = time.monotonic()
            for _ in lines:
                pass
            assert time.monotonic() - began_at < 8
    finally:
        over.set()
