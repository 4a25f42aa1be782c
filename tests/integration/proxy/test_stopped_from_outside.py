"""What other servers and people say stops calls: pushed over HTTP, refused on the data path within two seconds."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from accounts.event_tokens import LOGOUT_EVENT
from tests.support.gateway import ISSUER, LiveGateway
from tests.support.idp import ABSENT, signed, signing_key
from tests.support.servers import ROOT, wait_until
from tests.support.upstream import ScriptedUpstream, Seen, default_script

from .calls import ACCEPT, tool

HUB = "https://events.test.example"
AUDIENCE = "https://gateway.test.example/events"
KEY = signing_key("ES256", "hub")
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
REFUSED_SECONDS = 2.0
CUT_SECONDS = 5.0
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SETUP = """
import django, json, sys
django.setup()
from datetime import UTC, datetime
from accounts import services
from accounts.models import IdentityProvider, LoginClient, User
now, provider = datetime.now(UTC), IdentityProvider.objects.get()
services.transmitter_save(provider=provider, name="Hub", now=now, **json.load(sys.stdin))
LoginClient.objects.create(provider=provider, client_id="console")
owner = User.objects.create_superuser("owner")
for scope, bound in (("events", provider), ("locks", None), ("revoke", None)):
    print(services.api_token_create(user=owner, actor=owner, name=scope, scopes=[scope], provider=bound, now=now)[1])
"""


@pytest.fixture(scope="module")
def bearers(live_gateway: LiveGateway) -> dict[str, dict[str, str]]:
    """The Authorization headers of three API tokens, by scope."""
    document = {"issuer": HUB, "audience": AUDIENCE, "pinned_jwks": {"keys": [KEY.as_dict(private=False)]}}
    done = subprocess.run(
        [sys.executable, "-c", SETUP],
        cwd=ROOT,
        env=live_gateway.environment,
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        scope: {"Authorization": f"Bearer {token}"}
        for scope, token in zip(("events", "locks", "revoke"), done.stdout.split(), strict=True)
    }


class Caller:
    """A principal of its own, so that no test stops another one's."""

    def __init__(self, gateway: LiveGateway) -> None:
        self.gateway = gateway
        self.subject = f"caller-{secrets.token_hex(6)}"
        self.session = f"session-{secrets.token_hex(6)}"
        self.token = gateway.token(self.subject, sid=self.session)
        self.headers = {"Authorization": f"Bearer {self.token}", **ACCEPT}

    @property
    def subject_id(self) -> dict[str, str]:
        return {"format": "iss_sub", "iss": ISSUER, "sub": self.subject}

    def call(self) -> httpx.Response:
        return httpx.post(self.gateway.url("orders"), json=tool("get_order"), headers=self.headers, timeout=15)


@pytest.fixture
def caller(live_gateway: LiveGateway, bearers: dict[str, dict[str, str]]) -> Caller:
    made = Caller(live_gateway)
    assert made.call().status_code == 200
    return made


def pushed(gateway: LiveGateway, bearers: dict[str, dict[str, str]], name: str, subject: Any) -> httpx.Response:
    now = int(time.time())
    claims = {"iss": HUB, "aud": AUDIENCE, "iat": now, "jti": secrets.token_hex(8), "sub_id": subject}
    token = signed(
        {"alg": "ES256", "kid": KEY.kid, "typ": "secevent+jwt"}, {**claims, "events": {name: {}}}, KEY, "ES256"
    )
    headers = {**bearers["events"], "content-type": "application/secevent+jwt"}
    return httpx.post(f"{gateway.origin}/events/push", content=token, headers=headers, timeout=15)


def form(gateway: LiveGateway, path: str, **fields: str) -> httpx.Response:
    return httpx.post(f"{gateway.origin}{path}", data=fields, timeout=15)


def session_revoked(caller: Caller, bearers: Any) -> httpx.Response:
    return pushed(caller.gateway, bearers, CAEP + "session-revoked", caller.subject_id)


def one_session_revoked(caller: Caller, bearers: Any) -> httpx.Response:
    subject = {"format": "complex", "session": {"format": "opaque", "id": caller.session}}
    return pushed(caller.gateway, bearers, CAEP + "session-revoked", subject)


def account_disabled(caller: Caller, bearers: Any) -> httpx.Response:
    return pushed(caller.gateway, bearers, RISC + "account-disabled", caller.subject_id)


def logged_out(caller: Caller, bearers: Any) -> httpx.Response:
    absent = dict.fromkeys(("nbf", "client_id", "groups"), ABSENT)
    token = caller.gateway.issuer.token(
        typ="logout+jwt", aud="console", sub=ABSENT, sid=caller.session, events={LOGOUT_EVENT: {}}, **absent
    )
    return form(caller.gateway, "/oidc/backchannel-logout", logout_token=token)


def revoked_by_bearer(caller: Caller, bearers: Any) -> httpx.Response:
    return form(caller.gateway, "/oauth/revoke", token=caller.token)


def locked_over_rest(caller: Caller, bearers: Any) -> httpx.Response:
    row = caller.gateway.sql("SELECT id FROM accounts_principal WHERE subject = %s", caller.subject)
    body = {"kind": "principal", "principal": str(row[0]["id"]), "reason": "Lost her laptop"}
    return httpx.post(f"{caller.gateway.origin}/api/v1/locks/", json=body, headers=bearers["locks"], timeout=15)


STOPS: list[tuple[Callable[[Caller, Any], httpx.Response], int]] = [
    (session_revoked, 401),
    (one_session_revoked, 401),
    (account_disabled, 401),
    (logged_out, 401),
    (revoked_by_bearer, 401),
    (locked_over_rest, 403),
]
each_stop = pytest.mark.parametrize(("stop", "status"), STOPS, ids=[stop.__name__ for stop, _ in STOPS])


@each_stop
def test_the_next_call_is_refused_within_two_seconds(caller, bearers, stop, status):
    bystander = Caller(caller.gateway)
    assert stop(caller, bearers).is_success
    ends_at = time.monotonic() + REFUSED_SECONDS
    answers = [caller.call().status_code]
    while answers[-1] == 200 and time.monotonic() < ends_at:
        answers.append(caller.call().status_code)
    assert answers[-1] == status
    assert bystander.call().status_code == 200


def test_what_is_enabled_again_may_call_again(caller, bearers):
    account_disabled(caller, bearers)
    wait_until(lambda: caller.call().status_code != 200, seconds=REFUSED_SECONDS, what="the refusal")
    later = caller.gateway.token(caller.subject, iat=int(time.time()) + 2)
    caller.headers["Authorization"] = f"Bearer {later}"
    assert caller.call().status_code == 403
    pushed(caller.gateway, bearers, RISC + "account-enabled", caller.subject_id)
    wait_until(lambda: caller.call().status_code == 200, seconds=REFUSED_SECONDS, what="the lifting")


@pytest.fixture
def endless(upstream: ScriptedUpstream) -> Iterator[threading.Event]:
    """Let the upstream answer with a stream that does not end before the test does."""
    over = threading.Event()

    def script(seen: Seen, connection: socket.socket) -> None:
        if seen.message.get("method") != "tools/call":
            default_script(seen, connection)
            return
        data = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n'
        connection.sendall(STREAM_HEAD + b"%x\r\n%b\r\n" % (len(data), data))
        over.wait(20)

    upstream.script = script
    yield over
    over.set()


@each_stop
def test_an_open_stream_is_cut_within_five_seconds(caller, bearers, endless, stop, status):
    request = {"json": tool("get_order"), "headers": caller.headers, "timeout": 15}
    with httpx.stream("POST", caller.gateway.url("orders"), **request) as answer:
        lines = answer.iter_lines()
        assert "notifications/message" in next(line for line in lines if line.startswith("data:"))
        began_at = time.monotonic()
        assert stop(caller, bearers).is_success
        for _ in lines:
            pass
        assert time.monotonic() - began_at < CUT_SECONDS


@pytest.mark.parametrize("path", ["/events/push", "/oauth/revoke", "/oidc/backchannel-logout", "/admin/login/"])
def test_a_huge_body_never_reaches_the_console_side(live_gateway, path):
    def endless() -> Iterator[bytes]:
        for _ in range(256):
            yield b"x" * 65_536

    try:
        answer = httpx.post(f"{live_gateway.origin}{path}", content=endless(), timeout=15)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return  # The server closed the connection before all was written.
    assert answer.status_code == 413
