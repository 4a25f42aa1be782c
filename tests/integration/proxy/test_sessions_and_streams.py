"""Legacy sessions, event streams in both directions, and what an upstream may and may not do with them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until
from tests.support.upstream import ScriptedUpstream, Seen, default_script, json_answer, result

from .calls import ACCEPT, post, rpc, tool

INITIALIZE = rpc(
    "initialize",
    {
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}, "roots": {}},
        "clientInfo": {"name": "tests", "version": "1"},
    },
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(message: Any, id: str = "") -> bytes:
    head = f"id: {id}\n" if id else ""
    return f"{head}event: message\ndata: {json.dumps(message)}\n\n".encode()


def note(text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}


def done(seen: Seen, text: str = "done") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.message["id"], "result": {"content": [{"type": "text", "text": text}]}}


def session_script(seen: Seen, connection: socket.socket) -> None:
    """Be an upstream with sessions."""
    if seen.verb == "POST" and seen.message.get("method") == "initialize":
        body = {
            "jsonrpc": "2.0",
            "id": seen.message["id"],
            "result": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "serverInfo": {"name": "u", "version": "1"},
            },
        }
        connection.sendall(json_answer(json.dumps(body).encode(), headers="mcp-session-id: upstream-secret-id\r\n"))
    elif seen.verb == "DELETE":
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    else:
        default_script(seen, connection)


def initialize(gateway: LiveGateway, upstream: ScriptedUpstream, **who: Any) -> str:
    upstream.script = session_script
    answer = httpx.post(
        gateway.url("orders"), json=INITIALIZE, headers={**gateway.headers(**who), **ACCEPT}, timeout=10
    )
    assert answer.status_code == 200, answer.text
    return str(answer.headers["mcp-session-id"])


def lines_of(gateway: LiveGateway, message: Any, **headers: str) -> tuple[httpx.Response, list[str]]:
    sent = {**gateway.headers(), **ACCEPT, **headers}
    with httpx.stream("POST", gateway.url("orders"), json=message, headers=sent, timeout=10) as answer:
        return answer, list(answer.iter_lines())


def messages_of(gateway: LiveGateway, message: Any) -> list[Any]:
    _, lines = lines_of(gateway, message)
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_the_client_gets_a_session_id_of_its_own_and_the_upstream_its_own(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    session = initialize(live_gateway, upstream)
    assert "upstream-secret-id" not in session
    assert post(live_gateway, tool("get_order"), mcp_session_id=session).status_code == 200
    assert upstream.seen[-1].headers["mcp-session-id"] == "upstream-secret-id"


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("who", [{"sub": "mallory"}, {"client_id": "another-client"}])
def test_a_session_is_unknown_to_anybody_else(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, verb: str, who: dict[str, str]
) -> None:
    session = initialize(live_gateway, upstream)
    before = upstream.bytes_seen
    headers = {**live_gateway.headers(**who), **ACCEPT, "mcp-session-id": session}
    answer = httpx.request(
        verb, live_gateway.url("orders"), headers=headers, json=tool("get_order") if verb == "POST" else None
    )
    assert answer.status_code == 404
    assert answer.json() == {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}}
    assert upstream.bytes_seen == before


@pytest.mark.parametrize(
    "change",
    [lambda s: s[:-1], lambda s: s + "A", lambda s: ("B" if s[0] == "A" else "A") + s[1:], lambda s: "x", str.upper],
)
def test_a_changed_session_id_does_not_open(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, change: Callable[[str], str]
) -> None:
    session = initialize(live_gateway, upstream)
    assert post(live_gateway, tool("get_order"), mcp_session_id=change(session)).status_code == 404


def test_ending_a_session_reaches_the_upstream_and_the_record(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    session = initialize(live_gateway, upstream)
    headers = {**live_gateway.headers(), **ACCEPT, "mcp-session-id": session}
    assert httpx.delete(live_gateway.url("orders"), headers=headers).status_code == 200
    assert upstream.seen[-1].verb == "DELETE"
    wait_until(lambda: bool(live_gateway.events("gateway:session:ended")), what="the end in the record")


def test_capabilities_that_the_connection_does_not_allow_do_not_reach_the_upstream(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    initialize(live_gateway, upstream)
    assert upstream.seen[-1].message["params"]["capabilities"] == {}
    assert live_gateway.events("gateway:call:intent")[-1]["body"]["outbound_sha256"] == upstream.seen[-1].sha256


def test_events_are_masked_recorded_and_passed_on_as_they_come(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    second = threading.Event()

    def script(seen: Seen, connection: socket.socket) -> None:
        connection.sendall(STREAM_HEAD + chunk(event(note("mail ann@example.com"))))
        assert second.wait(10)
        connection.sendall(chunk(event(done(seen, "bob@example.com"))) + END)

    upstream.script = script
    headers = {**live_gateway.headers(), **ACCEPT}
    with httpx.stream(
        "POST", live_gateway.url("orders"), json=tool("get_order"), headers=headers, timeout=10
    ) as answer:
        lines = answer.iter_lines()
        first = next(line for line in lines if line.startswith("data: {"))
        second.set()
        rest = [line for line in lines if line.startswith("data: {")]
    assert answer.headers["x-accel-buffering"] == "no"
    assert json.loads(first[6:])["params"]["data"] == "mail [MASKED:email]"
    assert json.loads(rest[0][6:])["result"]["content"][0]["text"] == "[MASKED:email]"
    call = live_gateway.calls()[-1]
    assert call["events"] == ["gateway:call:intent", "upstream:message:relayed", "gateway:call:completed"]
    assert [row["payload"] for row in call["rows"][1:]] == [first[6:].encode(), rest[0][6:].encode()]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_secret_split_over_chunks_is_masked_all_the_same(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, size: int
) -> None:
    def script(seen: Seen, connection: socket.socket) -> None:
        data = event(note("mail ann@example.com")) + event(done(seen, "bob@example.com"))
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        connection.sendall(STREAM_HEAD)
        for piece in pieces:
            connection.sendall(chunk(piece))
        connection.sendall(END)

    upstream.script = script
    _, lines = lines_of(live_gateway, tool("get_order"))
    assert "example.com" not in "".join(lines)
    assert len([line for line in lines if line.startswith("data: {")]) == 2


def test_an_answer_to_another_request_never_reaches_the_client(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    def script(seen: Seen, connection: socket.socket) -> None:
        wrong = {**done(seen, "wrong"), "id": str(seen.message["id"])}
        connection.sendall(STREAM_HEAD + chunk(event(wrong)) + chunk(event(done(seen, "right"))) + END)

    upstream.script = script
    messages = messages_of(live_gateway, tool("get_order"))
    assert [message["result"]["content"][0]["text"] for message in messages] == ["right"]
    assert "upstream:message:withheld" in live_gateway.calls()[-1]["events"]


def test_only_the_first_answer_counts(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    def script(seen: Seen, connection: socket.socket) -> None:
        connection.sendall(STREAM_HEAD + chunk(event(done(seen, "one"))) + chunk(event(done(seen, "two"))) + END)

    upstream.script = script
    messages = messages_of(live_gateway, tool("get_order"))
    assert [message["result"]["content"][0]["text"] for message in messages] == ["one"]


def test_a_request_of_the_upstream_that_is_not_allowed_is_withheld_and_refused(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    refused = threading.Event()

    def script(seen: Seen, connection: socket.socket) -> None:
        if "error" in seen.message:
            connection.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            assert seen.message["id"] == 77
            refused.set()
            return
        ask = {"jsonrpc": "2.0", "id": 77, "method": "sampling/createMessage", "params": {"messages": []}}
        connection.sendall(STREAM_HEAD + chunk(event(ask)))
        assert refused.wait(10)
        connection.sendall(chunk(event(done(seen))) + END)

    upstream.script = script
    messages = messages_of(live_gateway, tool("get_order"))
    assert len(messages) == 1
    assert "result" in messages[0]


@pytest.mark.parametrize(
    ("script", "state"),
    [
        (lambda seen, c: c.close(), "outcome_unknown"),
        (lambda seen, c: (c.sendall(json_answer(b"{" * 500)[:-1]), c.close()), "outcome_unknown"),
        (lambda seen, c: (c.sendall(STREAM_HEAD + chunk(event(note("x")))), c.close()), "outcome_unknown"),
        (lambda seen, c: c.sendall(STREAM_HEAD + chunk(event(note("x"))) + END), "outcome_unknown"),
        (lambda seen, c: c.sendall(json_answer(b"{not json")), "upstream_error"),
        (lambda seen, c: c.sendall(json_answer(b"[]")), "upstream_error"),
        (lambda seen, c: c.sendall(json_answer(b"<html>", content_type="text/html")), "upstream_error"),
        (lambda seen, c: c.sendall(json_answer(b"", status="302 Found", headers="location: /\r\n")), "upstream_error"),
        (lambda seen, c: c.sendall(json_answer(b"{}", status="401 Unauthorized")), "upstream_error"),
        (lambda seen, c: c.sendall(json_answer(b"{}", headers="content-encoding: gzip\r\n")), "upstream_error"),
        (lambda seen, c: c.sendall(b"SSH-2.0-OpenSSH_9\r\n"), "outcome_unknown"),
    ],
)
def test_whatever_the_upstream_does_the_client_gets_one_error_and_the_call_ends(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, script: Any, state: str
) -> None:
    upstream.script = script
    answer = post(live_gateway, tool("get_order"))
    assert answer.status_code == 200
    text = answer.text if not answer.text.startswith(("id", "event", ":")) else answer.text.rsplit("data: ", 1)[1]
    assert json.loads(text)["result"]["isError"] is True
    assert live_gateway.wait_for_outcomes()[-1]["events"][-1] == f"gateway:call:{state}"
    upstream.clear()
    assert "result" in post(live_gateway, tool("get_order")).json()


def test_an_upstream_that_cannot_be_reached_is_not_sent(start_gateway: Any, gateway_seed: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    gateway = start_gateway({**gateway_seed, "connections": [{**gateway_seed["connections"][0], "upstream_url": url}]})
    answer = post(gateway, tool("get_order"))
    assert "nothing was sent" in answer.json()["result"]["content"][0]["text"]
    assert gateway.calls()[-1]["events"][-1] == "gateway:call:not_sent"


def test_an_upstream_on_a_private_address_that_is_not_allowed_sees_nothing(
    start_gateway: Any, gateway_seed: dict[str, Any], upstream: ScriptedUpstream
) -> None:
    connection = {**gateway_seed["connections"][0], "allowed_networks": []}
    gateway = start_gateway({**gateway_seed, "connections": [connection]})
    assert post(gateway, tool("get_order")).json()["result"]["isError"] is True
    assert gateway.calls()[-1]["rows"][-1]["body"]["reason"] == "address_refused"
    assert upstream.bytes_seen == 0


def test_a_client_that_leaves_ends_its_call(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> None:
    arrived, closed = threading.Event(), threading.Event()

    def script(seen: Seen, connection: socket.socket) -> None:
        arrived.set()
        if not connection.recv(1):
            closed.set()

    upstream.script = script
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            live_gateway.url("orders"),
            json=tool("get_order"),
            headers={**live_gateway.headers(), **ACCEPT},
            timeout=httpx.Timeout(10, read=0.3),
        )
    assert arrived.wait(5)
    assert closed.wait(5), "the upstream must see the client's leaving"
    assert live_gateway.wait_for_outcomes()[-1]["events"][-1] == "gateway:call:aborted_by_client"


def test_a_resumed_stream_completes_the_call_that_was_cut(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    session = initialize(live_gateway, upstream)
    asked: list[Seen] = []

    def script(seen: Seen, connection: socket.socket) -> None:
        if seen.verb == "POST":
            asked.append(seen)
            connection.sendall(STREAM_HEAD + chunk(b"id: 1\ndata: \n\n") + END)
        else:
            assert seen.headers["last-event-id"] == "1"
            connection.sendall(STREAM_HEAD + chunk(event(done(asked[0], "late"), id="2")) + END)

    upstream.script = script
    headers = {**live_gateway.headers(), **ACCEPT, "mcp-session-id": session}
    first = httpx.post(live_gateway.url("orders"), json=tool("get_order", order=5), headers=headers, timeout=10)
    assert "id: 1" in first.text
    second = httpx.get(live_gateway.url("orders"), headers={**headers, "last-event-id": "1"}, timeout=10)
    assert "late" in second.text
    resumed = [call for call in live_gateway.wait_for_outcomes() if call["method"] == "tools/call"][-1]
    assert resumed["events"] == ["gateway:call:intent", "gateway:call:completed"]


def test_64_clients_with_the_same_id_get_their_own_answers(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script = lambda seen, connection: connection.sendall(
        result(seen, str(seen.message["params"]["arguments"]["n"]))
    )
    wrong: list[str] = []

    def client(number: int) -> None:
        headers = {**live_gateway.headers(sub=f"user-{number % 8}"), **ACCEPT}
        with httpx.Client(headers=headers, timeout=30) as http:
            for turn in range(10):
                expected = f"{number}-{turn}"
                answer = http.post(live_gateway.url("orders"), json=tool("get_order", n=expected)).json()
                if answer["result"]["content"][0]["text"] != expected:
                    wrong.append(expected)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
