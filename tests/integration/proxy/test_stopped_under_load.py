"""How soon a stop that comes over HTTP is in force on two busy gateway processes: refused within 2 s, cut within 5 s.

    WARDGATE_STOP_ROUNDS=25 python3 run.py test tests/integration/proxy/test_stopped_under_load.py -s

measures 25 stops of each kind, with Redis running and with Redis stopped, and prints the percentiles.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import pytest

from accounts.event_tokens import LOGOUT_EVENT
from accounts.scim import schemas
from tests.support.callers import Caller, percentile, steady_load
from tests.support.gateway import ISSUER, LiveGateway, gateway_running
from tests.support.idp import ABSENT, signed, signing_key
from tests.support.servers import ROOT
from tests.support.upstream import ScriptedUpstream

from .test_stopped_at_once import CALLS_PER_SECOND, second_process, streaming_script

ROUNDS = int(os.environ.get("WARDGATE_STOP_ROUNDS", "1"))
REDIS = ("stopped", "running") if "WARDGATE_STOP_ROUNDS" in os.environ else ("stopped",)
NEW_CALLS_SECONDS = 2.0
STREAMS_SECONDS = 5.0
PATIENCE_SECONDS = 15.0
HUB, HUB_AUDIENCE = "https://events.test.example", "https://gateway.test.example/events"
KEY = signing_key("ES256", "hub")
SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
BACKGROUND = [f"caller-{number}" for number in range(8)]
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
print(provider.pk)
for scope, bound in (("events", provider), ("locks", None), ("scim", provider)):
    print(services.api_token_create(user=owner, actor=owner, name=scope, scopes=[scope], provider=bound, now=now)[1])
"""


class Site:
    """Two processes of one gateway, and whoever may stop callers over HTTP at the first of them."""

    def __init__(self, first: LiveGateway, second: LiveGateway) -> None:
        self.first, self.ports = first, [first.port, second.port]
        document = {"issuer": HUB, "audience": HUB_AUDIENCE, "pinned_jwks": {"keys": [KEY.as_dict(private=False)]}}
        command = [sys.executable, "-c", SETUP]
        options: Any = {"cwd": ROOT, "env": first.environment, "capture_output": True, "text": True, "timeout": 60}
        done = subprocess.run(command, input=json.dumps(document), check=False, **options)
        assert done.returncode == 0, done.stderr[-3000:]
        self.provider_id, *tokens = done.stdout.split()
        self.bearers = dict(zip(("events", "locks", "scim"), tokens, strict=True))

    def send(self, path: str, scope: str = "", *, method: str = "POST", **body: Any) -> Any:
        """Send a request to the first process and return what it answers; nothing but success is accepted."""
        headers = {"Authorization": f"Bearer {self.bearers[scope]}"} if scope else {}
        headers |= body.pop("headers", {})
        answer = httpx.request(method, f"{self.first.origin}{path}", headers=headers, timeout=30, **body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def scim(self, method: str, path: str, schema: str, **document: Any) -> Any:
        """Provision."""
        body = {"schemas": [schema], **document}
        path = f"/scim/v2/{self.provider_id}/{path}"
        return self.send(path, "scim", method=method, json=body, headers={"content-type": "application/scim+json"})


Stop = Callable[[], Any]


def lock_over_rest(site: Site, who: str) -> Stop:
    row = site.first.sql("SELECT id FROM accounts_principal WHERE subject = %s", who)[0]
    body = {"kind": "principal", "principal": str(row["id"]), "reason": "Lost her laptop"}
    return lambda: site.send("/api/v1/locks/", "locks", json=body)


def scim_deactivation(site: Site, who: str) -> Stop:
    user = site.scim("POST", "Users", schemas.USER, userName=f"{who}@acme.example", externalId=who)
    change = {"op": "replace", "value": {"active": False}}
    return lambda: site.scim("PATCH", f"Users/{user['id']}", schemas.PATCH, Operations=[change])


def caep_event(site: Site, who: str) -> Stop:
    subject = {"format": "iss_sub", "iss": ISSUER, "sub": who}
    claims = {"iss": HUB, "aud": HUB_AUDIENCE, "jti": secrets.token_hex(8), "sub_id": subject}
    claims |= {"iat": int(time.time()), "events": {SESSION_REVOKED: {}}}
    token = signed({"alg": "ES256", "kid": KEY.kid, "typ": "secevent+jwt"}, claims, KEY, "ES256")
    return lambda: site.send(
        "/events/push", "events", content=token, headers={"content-type": "application/secevent+jwt"}
    )


def back_channel_logout(site: Site, who: str) -> Stop:
    absent = dict.fromkeys(("nbf", "client_id", "groups"), ABSENT)
    claims = {"aud": "console", "sub": ABSENT, "sid": f"sid-{who}", "events": {LOGOUT_EVENT: {}}}
    token = site.first.issuer.token(typ="logout+jwt", **claims, **absent)
    return lambda: site.send("/oidc/backchannel-logout", data={"logout_token": token})


STOPS = (lock_over_rest, scim_deactivation, caep_event, back_channel_logout)


@pytest.fixture(autouse=True)
def _streaming(upstream: ScriptedUpstream, _clean_upstream: None) -> None:
    upstream.script = streaming_script


@pytest.fixture(scope="module", params=REDIS, ids="redis {}".format)
def site(
    request: pytest.FixtureRequest, gateway_seed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Run two processes with the default polling, on a Redis that runs or one that takes connections and is silent."""
    environment = {"WARDGATE_POLICY_POLL_MILLISECONDS": "1000"}
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if request.param == "stopped":
            environment["REDIS_URL"] = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        first = stack.enter_context(
            gateway_running(gateway_seed, tmp_path_factory.mktemp("first"), environment=environment)
        )
        second = second_process(first, tmp_path_factory.mktemp("second"))
        stack.callback(second.stop)
        second.start()
        yield Site(first, second)


async def stopped(site: Site, who: str, make: Callable[[Site, str], Stop]) -> tuple[list[float], list[float]]:
    """Stop a caller; return, for each process, how long after the acknowledged stop new calls and a stream ended."""
    token = site.first.token(who, sid=f"sid-{who}")
    callers = [Caller(port) for port in site.ports]
    for caller in callers:
        assert (await caller.call(token)).is_served
    stop = await asyncio.to_thread(make, site, who)
    opened = asyncio.Semaphore(0)
    streams = [asyncio.create_task(Caller(port).stream(token, "stream", opened.release)) for port in site.ports]
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in streams:
            await opened.acquire()
        await asyncio.to_thread(stop)
        stopped_at = time.monotonic()
        refused = await asyncio.gather(*(_refused_at(caller, token) for caller in callers))
        ended = await asyncio.gather(*streams)
    return [at - stopped_at for at in refused], [max(0.0, at - stopped_at) for _, at in ended]


async def _refused_at(caller: Caller, token: str) -> float:
    """Call again and again; return when the first call was sent that was refused."""
    while True:
        answer = await caller.call(token)
        if not answer.is_served:
            # It may have passed the door before the stop and been refused behind it; the next one is refused there.
            assert (await caller.call(token)).status in {401, 403}
            await caller.close()
            return answer.sent_at
        await asyncio.sleep(0.01)


async def test_a_stop_over_http_is_in_force_on_every_busy_process(site: Site, request: Any) -> None:
    tokens = {name: site.first.token(name) for name in BACKGROUND}
    found: dict[str, tuple[list[float], list[float]]] = {make.__name__: ([], []) for make in STOPS}
    async with steady_load(tokens, site.ports, calls_per_second=CALLS_PER_SECOND) as load:
        for _ in range(ROUNDS):
            for make in STOPS:
                who = f"victim-{secrets.token_hex(6)}"
                refused, ended = await stopped(site, who, make)
                found[make.__name__][0].extend(refused)
                found[make.__name__][1].extend(ended)
    for kind, (refused, ended) in found.items():
        print(
            f"{request.node.name} {kind}: {len(refused)} figures; new calls refused p50 "
            f"{1000 * percentile(refused, 0.5):.0f} ms, p99 {1000 * percentile(refused, 0.99):.0f} ms; "
            f"streams cut p50 {1000 * percentile(ended, 0.5):.0f} ms, most {1000 * max(ended):.0f} ms"
        )
        assert percentile(refused, 0.99) <= NEW_CALLS_SECONDS
        assert max(ended) <= STREAMS_SECONDS
    calls = load.of()
    print(f"beside it {len(calls)} calls, {len(load.refused())} refused, p99 {1000 * load.p99():.1f} ms")
    assert load.refused() == []
