"""Keys and identities while it is busy: floods of unknown keys, rotation, an issuer that is away, tokens alike."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.callers import Caller, steady_load
from tests.support.gateway import AUDIENCE, LiveGateway
from tests.support.idp import Issuer, encoded, signed
from tests.support.servers import ROOT
from tests.support.upstream import ScriptedUpstream

VALID_PER_SECOND = 60
FLOOD_PER_SECOND = 1000
FLOOD_SECONDS = int(os.environ.get("WARDGATE_FLOOD_SECONDS", "5"))
IS_MEASURED = "WARDGATE_FLOOD_SECONDS" in os.environ
"""Asked for on a quiet machine, the figure of the threat model counts; in any run, that nobody has to wait."""
WAITING_SECONDS = 0.25


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Serve an issuer whose keys the gateway has to fetch."""
    issuer = Issuer(audience=AUDIENCE)
    with issuer.serving():
        yield issuer


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream, issuer: Issuer) -> dict[str, list[dict[str, Any]]]:
    return {
        "providers": [
            {
                "name": "Fetched",
                "issuer": issuer.issuer,
                "audiences": [AUDIENCE],
                "allowed_networks": ["127.0.0.0/8"],
                "algorithms": ["RS256", "ES256"],
            }
        ],
        "connections": [{"slug": "orders", "upstream_url": upstream.url}],
        "grants": [{"connection": "orders", "group": "sre", "provider": issuer.issuer, "tools": ["*"]}],
    }


def unknown_key_tokens(issuer: Issuer, count: int) -> list[str]:
    """Return tokens that would be good, had the issuer ever published their keys."""
    claims = encoded(issuer.claims())
    signature = encoded(secrets.token_bytes(64))
    return [
        b".".join((encoded({"alg": "ES256", "typ": "at+jwt", "kid": f"unknown-{number}"}), claims, signature)).decode()
        for number in range(count)
    ]


def cpu_seconds(gateway: LiveGateway) -> float:
    """Return the CPU time that the gateway has used, which depends less on what else the machine does."""
    times = psutil.Process(gateway.process.pid).cpu_times()
    return float(times.user + times.system)


def fresh_and_kept(issuer: Issuer) -> dict[str, Any]:
    """Return four callers that keep their token and four that get a new one for each call."""
    kept = {f"keeper-{number}": issuer.token(sub=f"keeper-{number}", algorithm="ES256") for number in range(4)}
    return kept | {
        f"fresh-{number}": lambda name=f"fresh-{number}": issuer.token(sub=name, algorithm="ES256")
        for number in range(4)
    }


async def test_a_flood_of_unknown_keys_costs_two_fetches_and_no_valid_caller_anything(
    live_gateway: LiveGateway, issuer: Issuer
) -> None:
    callers = fresh_and_kept(issuer)
    async with steady_load(callers, [live_gateway.port], calls_per_second=VALID_PER_SECOND) as quiet:
        await asyncio.sleep(10 if IS_MEASURED else 2)
    assert quiet.refused() == []
    before, spent = issuer.requests["/jwks"], cpu_seconds(live_gateway)
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.flood",
        str(live_gateway.port), "orders", str(FLOOD_PER_SECOND), str(FLOOD_SECONDS),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    tokens = "\n".join(unknown_key_tokens(issuer, 2000))
    async with steady_load(callers, [live_gateway.port], calls_per_second=VALID_PER_SECOND) as busy:
        printed, _ = await asyncio.wait_for(flood.communicate(tokens.encode()), FLOOD_SECONDS + 30)
    fetches, spent = issuer.requests["/jwks"] - before, cpu_seconds(live_gateway) - spent
    statuses = {int(status): count for status, count in json.loads(printed).items()}
    print(f"flood {statuses}, {fetches} fetches, {len(busy.of())} valid calls")
    print(f"the gateway spent {1e6 * spent / (sum(statuses.values()) + len(busy.of())):.0f} us of CPU on each request")
    print(f"p99 of valid calls: {1000 * quiet.p99():.1f} ms without the flood, {1000 * busy.p99():.1f} ms with it")
    assert statuses.keys() <= {401, 429}
    assert sum(statuses.values()) >= 0.5 * FLOOD_PER_SECOND * FLOOD_SECONDS
    assert busy.refused() == []
    assert fetches <= 2 * max(1, FLOOD_SECONDS // 60)
    assert busy.p99() <= (1.5 * quiet.p99() if IS_MEASURED else quiet.p99() + WAITING_SECONDS)


async def test_an_issuer_that_changes_its_key_loses_no_call(start_gateway: Any, gateway_seed: Any) -> None:
    issuer = Issuer(audience=AUDIENCE)
    with issuer.serving():
        seed = json.loads(json.dumps(gateway_seed))
        seed["providers"][0]["issuer"] = seed["grants"][0]["provider"] = issuer.issuer
        gateway = start_gateway(seed)
        rate = 300 if IS_MEASURED else VALID_PER_SECOND
        async with steady_load(fresh_and_kept(issuer), [gateway.port], calls_per_second=rate) as load:
            await asyncio.sleep(FLOOD_SECONDS / 10)
            issuer.rotate("after", kind="ES256", keep_old=True)
            await asyncio.sleep(FLOOD_SECONDS / 3)
        print(
            f"{len(load.of())} calls around a rotation, {len(load.refused())} refused, p99 {1000 * load.p99():.1f} ms"
        )
        assert load.refused() == []
        assert issuer.requests["/jwks"] == 2


async def test_an_issuer_that_is_away_costs_no_call_that_its_known_keys_can_verify(
    live_gateway: LiveGateway, issuer: Issuer
) -> None:
    assert (await Caller(live_gateway.port).call(issuer.token(algorithm="ES256"))).is_served
    issuer.misbehaviour.status = 503
    try:
        async with steady_load(fresh_and_kept(issuer), [live_gateway.port], calls_per_second=VALID_PER_SECOND) as load:
            unknown = await Caller(live_gateway.port).call(unknown_key_tokens(issuer, 1)[0])
            await asyncio.sleep(1)
        assert unknown.status == 401
        assert load.refused() == []
    finally:
        issuer.misbehaviour.status = 200


async def test_tokens_that_begin_alike_are_never_taken_for_each_other(
    live_gateway: LiveGateway, issuer: Issuer
) -> None:
    tokens = {f"twin-{number}": alike(issuer, f"twin-{number}") for number in range(200)}
    assert len({token[:200] for token in tokens.values()}) == 1

    async def run(turn: Iterator[tuple[str, str]]) -> None:
        caller = Caller(live_gateway.port)
        for who, token in turn:
            assert (await caller.call(token, f"get_{who}")).is_served
        await caller.close()

    # Few at a time first: each begins a session.
    for at_once, rounds in ((4, 1), (64, 4)):
        turn = iter([*tokens.items()] * rounds)
        await asyncio.gather(*(run(turn) for _ in range(at_once)))
    live_gateway.wait_for_outcomes()
    intents = [event["body"] for event in live_gateway.events("gateway:call:intent")]
    twins = [intent for intent in intents if intent["subject"].startswith("twin-")]
    assert len(twins) == 1000
    assert all(intent["name"] == f"get_{intent['subject']}" for intent in twins)


def alike(issuer: Issuer, subject: str) -> str:
    """Return a token whose first 200 characters are those of every other subject's."""
    key = issuer.signing["ES256"]
    claims = {"padding": "x" * 200, **issuer.claims(sub=subject)}
    return signed({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, claims, key, "ES256")
