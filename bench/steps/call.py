"""What the gateway's own Python costs for one call, without sockets and without the database.

    python -m bench.steps.call [--profile]

The real application, recorder and exchange between a request that is already parsed, a journal that is durable at once
and an upstream that has already answered. What is left out (uvicorn, both sockets, the batch for PostgreSQL) is in
`bench/run.py --profile`. The least of many rounds is printed: it hardly depends on who else works on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import time
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import django
import uvloop

from accounts import tokens
from accounts.addresses import parse_upstream_url
from accounts.client_address import TrustedProxies
from bench.machine import CANDIDATE_CPU
from bench.steps.pure import CALL, ISSUER, RAW_HEADERS, RESOURCE, answer, compiled_policy, log_lines

ROUNDS, CALLS = 60, 200
ORIGIN = RESOURCE.removesuffix("/mcp/bench")


class Durable:
    """A journal that is always up and always done."""

    is_up, is_fenced = True, False

    def append(self, name: str, **_: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


class Answered:
    """An upstream whose answer is there."""

    status = 200

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}

    def prepare(self, call: Any) -> None:
        """Nothing leaves, so nothing is made ready."""

    async def send(self, call: Any, on_connected: Any) -> Answered:
        on_connected(lambda reason: None)
        return self

    async def whole(self, limit: int) -> bytes:
        return self._body

    def close(self) -> None:
        """Nothing to give back."""


def application(upstream: Answered) -> Any:
    """Return the gateway's application with a policy of 50 rules and 20 patterns, and the caller already known."""
    # The models can only be imported once Django is set up.
    from proxy.app import Bounds, GatewayApp, Site
    from proxy.identity import Authenticator
    from proxy.limits import Caps
    from proxy.limits import Limits as CallLimits
    from proxy.live import Live
    from proxy.ports import Limits, Ports, Route, SessionRef
    from proxy.protocol import mcp
    from proxy.recorder import Recorder
    from proxy.resumes import Resumes
    from proxy.session_refs import SessionGroups, SessionSeal
    from proxy.store import PolicySource, Snapshot

    policy, connection = compiled_policy(), uuid4()
    route = Route(
        connection_id=connection,
        slug="bench",
        name="Bench",
        resource=RESOURCE,
        upstream=parse_upstream_url("http://127.0.0.1:9000/mcp"),
        allowed_networks=("127.0.0.0/8",),
        timeout_seconds=300,
        forbidden_capabilities=frozenset({"sampling", "elicitation", "roots"}),
        policy=policy,
        credential=None,
        credential_version=1,
        policy_version=1,
        connection_key=str(connection),
    )
    identity = tokens.Identity(
        issuer=ISSUER,
        subject="alice",
        groups=frozenset({"eng", "sre"}),
        expires_at=int(time.time()) + 3600,
        display_name="",
        email="",
        client_id="",
        token_digest=bytes(32),
        provider_id="p",
        token_id="",
        audiences=frozenset({RESOURCE}),
    )
    nobody = SimpleNamespace()
    limits = CallLimits(Caps(0, 0, 0, 1000, 1000, 1000, 1000), time.monotonic)
    authenticator = Authenticator(nobody, cache_seconds=3600, token_bytes=16384, introspector=nobody, failures=limits)

    async def verified(*_: Any) -> tokens.Identity:
        return identity

    authenticator._verify = verified
    policy_source = PolicySource(SimpleNamespace(), poll_seconds=1, stale_seconds=3600)
    policy_source._snapshot, policy_source._checked_at = Snapshot(1, {"bench": route}, {}), time.monotonic()
    recorder = Recorder(Durable(), refuse_seconds=1, withhold_seconds=10)
    groups = SessionGroups(idle_seconds=1800)
    app = GatewayApp(
        site=Site(ORIGIN, frozenset({"127.0.0.1"}), frozenset(), TrustedProxies()),
        bounds=Bounds(4 << 20, 30, 65536, 100, 50, 30),
        policy=policy_source,
        authenticator=authenticator,
        store=SimpleNamespace(),
        seal=SessionSeal([bytes(32)]),
        groups=groups,
        ports=Ports(
            recorder=recorder,
            upstream=upstream,
            approvals=cast("Any", None),  # nothing is held here
            history=SimpleNamespace(),
            catalogue=SimpleNamespace(),
            resumes=Resumes(recorder, seconds=600),
            limits=Limits(8 << 20, 1 << 28, 86400, 15),
            spawn=lambda work: work.close(),
        ),
        live=Live(policy_source),
        limits=limits,
        recorder=recorder,
    )

    async def session(*_: Any, **__: Any) -> SessionRef:
        return ref

    ref = SessionRef(bytes(16), mcp.Era.LEGACY, "2025-11-25")
    app._open_session = session
    return app


async def measure(calls: int, rounds: int) -> float:
    """Return the least mean of a round, in microseconds for a call."""
    body = answer(log_lines(1024, mail=True))
    app = application(Answered(body))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp/bench",
        "raw_path": b"/mcp/bench",
        "query_string": b"",
        "headers": RAW_HEADERS,
        "client": ("127.0.0.1", 40000),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": CALL, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["status"] != 200 or b"[MASKED" not in sent[1]["body"] or b"worker[0]" not in sent[1]["body"]:
        raise SystemExit(f"The call does not pass: {sent}")
    least = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(calls):
            sent.clear()
            await app(scope, receive, send)
        least = min(least, (time.perf_counter() - started) / calls * 1e6)
        await asyncio.sleep(0)
    return least


def main() -> None:
    """Print the cost of a call, or with --profile the functions it is made of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", action="store_true", help="functions by their own time, under cProfile")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CANDIDATE_CPU})
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings.test")
    # The settings ask for a database; nothing connects to it.
    os.environ.setdefault("DATABASE_URL", "postgres://nobody@127.0.0.1/nothing")
    django.setup(set_prefix=False)
    if options.profile:
        with cProfile.Profile() as profile:
            uvloop.run(measure(CALLS, 10))
        pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(45)
        return
    print(f"{uvloop.run(measure(CALLS, ROUNDS)):.1f} us for a call")


if __name__ == "__main__":
    main()
