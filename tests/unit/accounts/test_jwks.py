from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from accounts.jwks import FETCH_SECONDS, MAX_PROVIDERS, MAX_WAITERS, KeySource, KeysUnavailable
from accounts.keys import KeySet
from accounts.tokens import Provider
from tests.support.idp import Issuer

ISSUER = "https://idp.example"
DISCOVERY = ISSUER + "/.well-known/openid-configuration"
KEYS_URL = ISSUER + "/jwks"


class World:
    """An issuer, a network and a clock, all of them still until a test moves them."""

    def __init__(self, **limits: float) -> None:
        self.issuer = Issuer(ISSUER)
        self.now = 1000.0
        self.asked: list[tuple[float, str]] = []
        self.networks: list[tuple[str, ...]] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.discovery: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": KEYS_URL}
        self.body: Callable[[], bytes] = lambda: json.dumps(self.issuer.jwks()).encode()
        self.source = KeySource(self.fetch, lambda: self.now, **limits)
        self.provider = self.issuer.provider(jwks_url=KEYS_URL)

    async def fetch(self, url: str, networks: tuple[str, ...]) -> bytes:
        self.asked.append((self.now, url))
        self.networks.append(networks)
        body = json.dumps(self.discovery).encode() if url == DISCOVERY else self.body()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return body

    async def keys(self, key_id: str | None = "RS256-1") -> KeySet:
        return await self.source.keys_for(self.provider, key_id)

    def fresh(self, key_id: str | None = "RS256-1") -> KeySet | None:
        return self.source.fresh(self.provider, key_id)

    async def settle(self) -> None:
        """Let the background fetch, which waits for nothing but the gate, run to its end."""
        for _ in range(10):
            await asyncio.sleep(0)

    def fetches(self, url: str = KEYS_URL) -> int:
        return Counter(address for _, address in self.asked)[url]


class TestFirstFetch:
    async def test_brings_the_keys_and_later_tokens_need_none(self) -> None:
        world = World()
        assert world.fresh() is None
        keys = await world.keys()
        assert "RS256-1" in keys
        assert all(world.fresh() is keys for _ in range(100))
        assert await world.keys() is keys
        assert world.fetches() == 1

    async def test_is_shared_by_everybody_who_asks_meanwhile(self) -> None:
        world = World()
        found = await asyncio.gather(*(world.keys() for _ in range(500)))
        assert len({id(keys) for keys in found}) == 1
        assert world.fetches() == 1

    async def test_goes_on_when_the_caller_who_started_it_leaves(self) -> None:
        world = World()
        world.gate = asyncio.Event()
        first = asyncio.create_task(world.keys())
        second = asyncio.create_task(world.keys())
        await world.settle()
        first.cancel()
        world.gate.set()
        assert "RS256-1" in await second
        assert world.fetches() == 1
        with pytest.raises(asyncio.CancelledError):
            await first

    async def test_is_told_the_networks_in_which_the_keys_may_be(self) -> None:
        world = World()
        world.provider = world.issuer.provider(jwks_url=KEYS_URL, allowed_networks=("10.0.0.0/8",))
        await world.keys()
        assert world.networks == [("10.0.0.0/8",)]

    @pytest.mark.parametrize("failure", [OSError("refused"), TimeoutError(), ValueError("redirect"), RuntimeError("x")])
    async def test_that_fails_leaves_nothing_to_trust(self, failure: Exception) -> None:
        world = World()
        world.failure = failure
        with pytest.raises(KeysUnavailable) as caught:
            await world.keys()
        assert caught.value.provider_id == "provider-1"
        assert str(failure) not in str(caught.value) or not str(failure)

    @pytest.mark.parametrize(
        "body", [b"", b"{}", b"[]", b"null", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b"\xff", b"<html>"]
    )
    async def test_that_brings_no_key_set_counts_as_failed(self, body: bytes) -> None:
        world = World()
        world.body = lambda: body
        with pytest.raises(KeysUnavailable):
            await world.keys()

    async def test_that_fails_is_repeated_after_the_retry_time_and_not_before(self) -> None:
        world = World()
        world.failure = OSError()
        for seconds in range(121):
            world.now = 1000.0 + seconds
            with pytest.raises(KeysUnavailable):
                await world.keys()
        assert [at - 1000 for at, _ in world.asked] == [0, 30, 60, 90, 120]

    async def test_that_never_ends_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("accounts.jwks.FETCH_SECONDS", 0.01)
        world = World()
        world.gate = asyncio.Event()
        with pytest.raises(KeysUnavailable):
            await asyncio.wait_for(world.keys(), FETCH_SECONDS)

    async def test_logs_the_kind_of_failure_and_not_its_text(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World()
        world.failure = OSError("SECRET-CANARY")
        with caplog.at_level(logging.WARNING), pytest.raises(KeysUnavailable):
            await world.keys()
        assert [record.error for record in caplog.records] == ["OSError"]  # type: ignore[attr-defined]
        assert "SECRET-CANARY" not in caplog.text


class TestAge:
    async def test_keys_serve_alone_while_they_are_young(self) -> None:
        world = World()
        keys = await world.keys()
        world.now += 239
        assert world.fresh() is keys
        await world.settle()
        assert world.fetches() == 1

    async def test_keys_serve_while_one_fetch_replaces_them_in_the_background(self) -> None:
        world = World()
        old = await world.keys()
        world.now += 241
        assert all(world.fresh() is old for _ in range(50))
        await world.settle()
        assert world.fetches() == 2
        assert world.fresh() not in {None, old}

    async def test_a_removed_key_is_gone_after_the_fresh_time_even_when_nobody_called(self) -> None:
        world = World()
        await world.keys()
        world.issuer.rotate("2")
        world.now += 300
        assert world.fresh() is None
        assert "RS256-1" not in await world.keys()

    async def test_a_removed_key_is_gone_within_the_fresh_time_under_traffic(self) -> None:
        world = World()
        await world.keys()
        world.issuer.rotate("2")
        served_until = 0.0
        for second in range(301):
            world.now = 1000.0 + second
            if "RS256-1" in (world.fresh() or await world.keys()):
                served_until = second
            await world.settle()
        assert served_until < 300

    async def test_an_issuer_that_withdrew_every_key_is_believed(self) -> None:
        world = World()
        await world.keys()
        world.issuer.published.clear()
        world.now += 300
        assert len(await world.keys()) == 0


class TestOutage:
    async def test_is_survived_for_its_hour_and_then_nothing_is_accepted(self) -> None:
        world = World()
        await world.keys()
        world.failure = OSError()
        for second in range(0, 3600, 7):
            world.now = 1000.0 + second
            assert "RS256-1" in (world.fresh() or await world.keys())
            await world.settle()
        world.now = 1000.0 + 3600
        assert world.fresh() is None
        with pytest.raises(KeysUnavailable):
            await world.keys()

    async def test_is_tried_again_in_the_background_and_no_token_waits_for_it(self) -> None:
        world = World()
        old = await world.keys()
        world.failure = OSError()
        world.now += 300
        assert await world.keys() is old
        world.gate = asyncio.Event()
        for second in range(1, 300):
            world.now += 1
            assert world.fresh() is old, f"token waited after {second} s of outage"
            await world.settle()
            world.gate.set()
        tries = [at for at, _ in world.asked[1:]]
        assert min(b - a for a, b in itertools.pairwise(tries)) >= 30

    async def test_that_ended_is_noticed_within_the_retry_time(self) -> None:
        world = World()
        await world.keys()
        world.failure = OSError()
        world.now += 300
        await world.keys()
        world.failure = None
        world.issuer.rotate("2")
        world.now += 30
        world.fresh()
        await world.settle()
        keys = world.fresh("RS256-2")
        assert keys is not None
        assert "RS256-2" in keys

    async def test_that_was_seen_long_ago_is_no_reason_to_trust_old_keys_at_once(self) -> None:
        world = World()
        await world.keys()
        world.failure = OSError()
        world.now += 300
        await world.keys()
        world.failure = None
        world.issuer.rotate("2")
        world.now += 600
        assert world.fresh() is None
        assert "RS256-1" not in await world.keys()


class TestRotation:
    async def test_a_new_key_works_with_the_first_token_that_names_it(self) -> None:
        world = World()
        await world.keys()
        world.now += 5
        world.issuer.rotate("2", keep_old=True)
        assert world.fresh("RS256-2") is None
        keys = await world.keys("RS256-2")
        assert "RS256-1" in keys
        assert "RS256-2" in keys
        assert world.fetches() == 2

    async def test_a_token_without_key_id_causes_no_fetch(self) -> None:
        world = World()
        keys = await world.keys(None)
        world.now += 100
        assert world.fresh(None) is keys
        assert world.fetches() == 1


class TestFlood:
    async def test_of_unknown_keys_costs_two_fetches_a_minute_and_no_valid_token_waits(self) -> None:
        world = World()
        await world.keys()
        world.now += 60
        start = len(world.asked)
        for tick in range(600):
            world.now = 1060.0 + tick / 10
            for number in range(10):
                unknown = f"flood-{tick}-{number}"
                keys = world.fresh(unknown) or await world.keys(unknown)
                assert unknown not in keys
            assert world.fresh() is not None, "a valid token had to wait"
        assert len(world.asked) - start <= 2

    async def test_of_unknown_keys_causes_one_fetch_in_the_retry_time_and_no_more(self) -> None:
        world = World()
        await world.keys()
        for seconds, fetches in ((100, 2), (101, 2), (129, 2), (130, 3), (159, 3), (160, 4)):
            world.now = 1000.0 + seconds
            await world.keys(f"flood-{seconds}")
            assert world.fetches() == fetches, seconds

    @pytest.mark.parametrize("discovers", [False, True])
    async def test_from_the_first_moment_on_never_takes_more_than_two_key_fetches_in_any_minute(
        self, discovers: bool
    ) -> None:
        world = World()
        if discovers:
            world.provider = world.issuer.provider()
        for tick in range(1200):
            world.now = 1000.0 + tick
            await world.keys(f"flood-{tick}")
        times = [at for at, url in world.asked if url == KEYS_URL]
        assert max(sum(at <= other < at + 60 for other in times) for at in times) <= 2
        assert world.fetches(DISCOVERY) == (1 if discovers else 0)

    async def test_while_the_issuer_is_down_takes_no_more_either(self) -> None:
        world = World()
        world.provider = world.issuer.provider()
        await world.keys()
        world.failure = OSError()
        for tick in range(1200):
            world.now = 1060.0 + tick
            await world.keys(f"flood-{tick}")
        times = [at for at, _ in world.asked[2:]]
        assert max(sum(at <= other < at + 60 for other in times) for at in times) <= 3

    async def test_of_tokens_that_wait_is_bounded_and_the_others_are_answered_at_once(self) -> None:
        world = World()
        known = await world.keys()
        world.gate = asyncio.Event()
        waiting = [asyncio.create_task(world.keys(f"flood-{number}")) for number in range(MAX_WAITERS)]
        await world.settle()
        assert world.fresh("one-more") is known
        assert await world.keys("one-more") is known
        world.gate.set()
        assert len(await asyncio.gather(*waiting)) == MAX_WAITERS
        assert world.fetches() == 2

    async def test_of_providers_is_bounded(self) -> None:
        world = World()
        for number in range(MAX_PROVIDERS + 50):
            world.source.fresh(world.issuer.provider(id=str(number), jwks_url=KEYS_URL), None)
        assert len(world.source._entries) == MAX_PROVIDERS


class TestFlush:
    async def test_makes_the_next_token_wait_for_new_keys(self) -> None:
        world = World()
        await world.keys()
        world.issuer.rotate("2")
        world.now += 1
        world.source.flush("provider-1")
        assert world.fresh() is None
        assert "RS256-1" not in await world.keys()

    async def test_during_a_fetch_discards_what_that_fetch_brings(self) -> None:
        world = World()
        world.gate = asyncio.Event()
        caller = asyncio.create_task(world.keys())
        await world.settle()
        world.issuer.rotate("2")
        world.source.flush("provider-1")
        world.gate.set()
        keys = await caller
        assert "RS256-1" not in keys
        assert "RS256-2" in keys

    async def test_again_and_again_during_fetches_leaves_nothing_to_trust(self) -> None:
        world = World()

        def flushing() -> bytes:
            world.source.flush("provider-1")
            return json.dumps(world.issuer.jwks()).encode()

        world.body = flushing
        with pytest.raises(KeysUnavailable):
            await world.keys()
        assert world.fetches() == 2

    async def test_that_an_administrator_asked_for_comes_with_the_provider_and_counts_once(self) -> None:
        world = World()
        await world.keys()
        world.provider = world.issuer.provider(jwks_url=KEYS_URL, keys_flushed_at=1.0)
        assert world.fresh() is None
        await world.keys()
        await world.keys()
        assert world.fetches() == 2

    async def test_of_an_unknown_provider_does_nothing(self) -> None:
        World().source.flush("nobody")


class TestDiscovery:
    async def test_finds_the_key_url(self) -> None:
        world = World()
        world.provider = world.issuer.provider()
        assert "RS256-1" in await world.keys()
        assert [url for _, url in world.asked] == [DISCOVERY, KEYS_URL]

    async def test_drops_only_the_slash_at_the_end_of_the_issuer(self) -> None:
        world = World()
        world.discovery["issuer"] = ISSUER + "/"
        world.provider = world.issuer.provider(issuer=ISSUER + "/")
        await world.keys()
        assert world.asked[0][1] == DISCOVERY

    async def test_is_kept_for_an_hour(self) -> None:
        world = World()
        world.provider = world.issuer.provider()
        for second in range(0, 3601, 100):
            world.now = 1000.0 + second
            await world.keys()
            await world.settle()
        assert world.fetches(DISCOVERY) == 2

    async def test_is_repeated_when_the_keys_have_moved(self) -> None:
        world = World()
        world.provider = world.issuer.provider()
        await world.keys()
        world.failure = OSError()
        world.now += 300
        await world.keys()
        world.failure = None
        world.discovery["jwks_uri"] = ISSUER + "/moved"
        world.now += 60
        await world.keys()
        assert world.asked[-1][1] == ISSUER + "/moved"

    async def test_is_kept_for_an_hour_after_an_outage_too(self) -> None:
        world = World()
        world.provider = world.issuer.provider()
        world.failure = OSError()
        with pytest.raises(KeysUnavailable):
            await world.keys()
        world.failure = None
        for second in range(60, 3600, 100):
            world.now = 1000.0 + second
            await world.keys()
            await world.settle()
        assert world.fetches(DISCOVERY) == 2

    @pytest.mark.parametrize(
        "wrong",
        [
            {"issuer": ISSUER + "/"},
            {"issuer": "https://other.example"},
            {"issuer": None},
            {"issuer": [ISSUER]},
            {"jwks_uri": None},
            {"jwks_uri": ["https://idp.example/jwks"]},
            {"jwks_uri": "http://idp.example/jwks"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": "//idp.example/jwks"},
            {"jwks_uri": ""},
        ],
    )
    async def test_of_another_issuer_or_without_an_acceptable_key_url_is_refused(self, wrong: dict[str, Any]) -> None:
        world = World()
        world.provider = world.issuer.provider()
        world.discovery |= wrong
        with pytest.raises(KeysUnavailable):
            await world.keys()
        assert world.fetches() == 0

    async def test_of_a_plain_http_issuer_may_name_plain_http_keys(self) -> None:
        world = World()
        world.provider = world.issuer.provider(issuer="http://127.0.0.1:9")
        world.discovery |= {"issuer": "http://127.0.0.1:9", "jwks_uri": "http://127.0.0.1:9/jwks"}
        asked: list[str] = []

        async def fetch(url: str, networks: tuple[str, ...]) -> bytes:
            asked.append(url)
            return json.dumps(world.discovery).encode() if "well-known" in url else world.body()

        source = KeySource(fetch, lambda: world.now)
        assert "RS256-1" in await source.keys_for(world.provider, None)
        assert asked[1] == "http://127.0.0.1:9/jwks"


class TestPinned:
    async def test_keys_win_over_any_url_and_are_never_fetched(self) -> None:
        world = World()
        world.provider = world.issuer.provider(jwks_url=KEYS_URL, pinned_jwks=world.issuer.jwks())
        keys = world.fresh()
        assert keys is not None
        assert "RS256-1" in keys
        world.now += 1_000_000
        assert world.fresh("unknown") is keys
        assert await world.keys("unknown") is keys
        assert world.asked == []

    async def test_keys_that_cannot_be_read_are_not_replaced_by_fetched_ones(self) -> None:
        world = World()
        world.provider = world.issuer.provider(jwks_url=KEYS_URL, pinned_jwks={"keys": "none"})
        assert world.fresh() is None
        with pytest.raises(KeysUnavailable):
            await world.keys()
        assert world.asked == []

    async def test_keys_are_parsed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World()
        jwks = world.issuer.jwks()
        first = world.source.fresh(world.issuer.provider(pinned_jwks=jwks), None)
        again = world.source.fresh(world.issuer.provider(pinned_jwks=dict(jwks)), None)
        assert first is again


class TestConfiguration:
    async def test_that_is_loaded_again_unchanged_keeps_the_keys(self) -> None:
        world = World()
        keys = await world.keys()
        again = world.issuer.provider(jwks_url=KEYS_URL, name="Renamed", audiences=frozenset({"x"}))
        assert world.source.fresh(again, None) is keys

    @pytest.mark.parametrize(
        "change",
        [
            {"jwks_url": "https://idp.example/other"},
            {"issuer": "https://other.example"},
            {"algorithms": frozenset({"ES256"})},
            {"allowed_networks": ("10.0.0.0/8",)},
            {"pinned_jwks": {"keys": []}},
        ],
    )
    async def test_that_changes_where_keys_come_from_starts_from_nothing(self, change: dict[str, Any]) -> None:
        world = World()
        old = await world.keys()
        changed: Provider = world.issuer.provider(**({"jwks_url": KEYS_URL} | change))
        assert world.source.fresh(changed, None) is not old


async def test_closing_stops_the_fetch_that_runs() -> None:
    world = World()
    world.gate = asyncio.Event()
    caller = asyncio.create_task(world.keys())
    await world.settle()
    await asyncio.wait_for(world.source.aclose(), 5)
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_keys_travel_from_a_served_issuer_to_a_verified_token() -> None:
    """The whole way with the issuer's own server, called in this process."""
    issuer = Issuer(ISSUER)

    async def fetch(url: str, networks: tuple[str, ...]) -> bytes:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": url.removeprefix(ISSUER), "query_string": b"", "headers": []}
        await issuer.app(scope, receive, send)
        assert sent[0]["status"] == 200
        return bytes(sent[1]["body"])

    source = KeySource(fetch, lambda: 0.0)
    keys = await source.keys_for(issuer.provider(), "RS256-1")
    assert keys.get("RS256-1", "RS256") is not None
    assert issuer.requests == {"/.well-known/openid-configuration": 1, "/jwks": 1}
