"""Secrets stay where they belong: unique canaries go in, and everything that comes out is searched for them."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import psycopg
import pytest

from tests.support.gateway import LiveGateway
from tests.support.upstream import ScriptedUpstream, Seen, json_answer, result

CANARY = "canary/4f7c9b+secret=="
ACCEPT = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [
            {"slug": "orders", "upstream_url": upstream.url, "credential": {"kind": "bearer", "secret": CANARY}}
        ],
        "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
    }


def echoes(seen: Seen) -> list[str]:
    """Return the credential as a careless upstream might show it."""
    plain = seen.headers["authorization"].removeprefix("Bearer ")
    return [
        plain,
        f"Bearer {plain}",
        quote(plain, safe=""),
        base64.b64encode(plain.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{plain}".encode()).decode(),
        json.dumps({"inner": plain}),
        plain.encode().hex(),
    ]


def call(gateway: LiveGateway) -> httpx.Response:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
    return httpx.post(gateway.url("orders"), json=message, headers={**gateway.headers(), **ACCEPT}, timeout=15)


def everything_stored(gateway: LiveGateway) -> bytes:
    """Return every row of every table, as text and unpacked where the record packs."""
    found = b""
    with psycopg.connect(gateway.dsn, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f'COPY (SELECT * FROM "{table}") TO STDOUT'.encode()) as rows:
                found += b"".join(bytes(row) for row in rows)
    return found + b"".join(row["payload"] or b"" for row in gateway.events())


def traces(data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace")
    forms = [CANARY, quote(CANARY, safe=""), base64.b64encode(CANARY.encode()).decode(), CANARY.encode().hex()]
    return [form for form in forms if form in text]


def test_a_credential_is_nowhere_but_in_the_request_to_its_upstream(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    answers: list[bytes] = []

    def show(form: str, shape: int) -> None:
        def script(seen: Seen, connection: socket.socket) -> None:
            shown = echoes(seen)[int(form)]
            if shape == 0:
                connection.sendall(result(seen, f"you sent {shown} to us"))
            elif shape == 1:
                error = {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": shown, "data": {shown: 1}}}
                connection.sendall(json_answer(json.dumps(error).encode()))
            else:
                body = f"<h1>500</h1> {shown}".encode()
                connection.sendall(
                    json_answer(body, status="500 Oops", content_type="text/html", headers=f"x-echo: {CANARY}\r\n")
                )

        upstream.script = script
        answer = call(live_gateway)
        answers.append(answer.content + str(answer.headers).encode())

    for number in range(7):
        for shape in range(3):
            show(str(number), shape)
    assert len(upstream.seen) == 21
    assert all(CANARY in seen.headers["authorization"] for seen in upstream.seen)
    assert [traces(answer) for answer in answers if traces(answer)] == []
    assert traces(everything_stored(live_gateway)) == []
    assert traces(live_gateway.log().encode()) == []


def test_the_clients_token_is_nowhere_but_in_its_own_request(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    upstream.clear()
    token = live_gateway.token()
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
    headers = {**ACCEPT, "authorization": f"Bearer {token}"}
    answer = httpx.post(live_gateway.url("orders"), json=message, headers=headers, timeout=15)
    assert answer.status_code == 200
    signature = token.rpartition(".")[2].encode()
    for place in (str(upstream.seen).encode(), everything_stored(live_gateway), live_gateway.log().encode()):
        assert signature not in place
