from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.tokens import Identity
from proxy.limits import BURST_SECONDS, SESSION_COUNTS_SECONDS, SIGNATURE_COST, Buckets, Caps, Limits, TooMany, place_of
from proxy.ports import Route

CAPS = Caps(
    address_failures=10,
    address_requests=0,
    principal_requests=0,
    principal_calls=3,
    connection_calls=5,
    sessions=6,
    principal_sessions=3,
)
ALICE = Identity(
    issuer="https://idp.example",
    subject="alice",
    groups=frozenset(),
    expires_at=0,
    display_name="",
    email="",
    client_id="",
    token_digest=b"",
    provider_id="",
    token_id="",
    audiences=frozenset(),
)
BOB, CAROL = replace(ALICE, subject="bob"), replace(ALICE, subject="carol")


def route(number: int = 1) -> Route:
    return Route(
        UUID(int=number), f"c{number}", "orders", "", "", None, (), 300, frozenset(), None, None, 0, 1
    )  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, **caps: Any) -> None:
        self.clock = Clock()
        self.limits = Limits(replace(CAPS, **caps), self.clock)

    def refused(self, method: str, *arguments: Any) -> TooMany | None:
        try:
            getattr(self.limits, method)(*arguments)
        except TooMany as error:
            return error
        return None


class TestBuckets:
    def test_a_burst_passes_and_then_the_rate(self) -> None:
        clock = Clock()
        bucket = Buckets(10, clock)
        assert [bucket.take("a") for _ in range(20)] == [0.0] * 20
        assert bucket.take("a") == pytest.approx(0.1)
        assert bucket.take("b") == 0
        clock.now += 0.1
        assert bucket.take("a") == 0
        assert bucket.take("a") > 0

    def test_what_costs_more_empties_sooner_and_owes_the_rest(self) -> None:
        clock = Clock()
        bucket = Buckets(1, clock)
        assert bucket.take("a", 4) == 0
        assert bucket.take("a") == pytest.approx(3)
        assert bucket.wait("a") == pytest.approx(3)

    def test_a_rate_of_zero_never_limits_and_remembers_nobody(self) -> None:
        bucket = Buckets(0, Clock())
        assert all(bucket.take("a") == 0 for _ in range(1000))
        assert len(bucket) == 0

    def test_memory_is_bounded_and_the_quiet_are_forgotten_first(self) -> None:
        bucket = Buckets(1, Clock())
        for number in range(30_000):
            if number % 1000 == 0:
                bucket.take("busy", 0.01)
            bucket.take(number)
        assert len(bucket) == 10_000
        bucket.take("busy", 5)
        assert bucket.wait("busy") > 5 - 2 + 1 - 1e-6

    def test_a_flood_of_keys_that_are_all_busy_stays_bounded(self) -> None:
        bucket = Buckets(1, Clock())
        for number in range(11_000):
            bucket.take(number, 100)
        assert len(bucket) == 10_000

    @given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("ab")), max_size=60), st.integers(1, 20))
    def test_no_key_ever_takes_more_than_burst_and_rate_allow(self, steps: list[tuple[float, str]], rate: int) -> None:
        clock = Clock()
        bucket = Buckets(rate, clock)
        taken = {"a": 0, "b": 0}
        for pause, key in steps:
            clock.now += pause
            taken[key] += bucket.take(key) == 0
        for count in taken.values():
            assert count <= max(1, rate * BURST_SECONDS) + (clock.now - 1000) * rate + 1e-6


class TestFailures:
    def test_after_too_many_an_unknown_token_is_not_looked_at(self) -> None:
        world = World()
        for _ in range(20):
            world.limits.check_failures("192.0.2.1")
            world.limits.fail("192.0.2.1", "token_missing")
        error = world.refused("check_failures", "192.0.2.1")
        assert error is not None
        assert (error.code, error.status, error.retry_seconds) == ("too_many_failures", 429, 1)
        assert world.refused("check_failures", "192.0.2.2") is None

    def test_a_forged_signature_counts_four(self) -> None:
        world = World()
        for _ in range(20 // SIGNATURE_COST):
            world.limits.fail("192.0.2.1", "token_signature")
        assert world.refused("check_failures", "192.0.2.1")

    def test_time_makes_up_for_failures(self) -> None:
        world = World()
        for _ in range(30):
            world.limits.fail("192.0.2.1", "token_missing")
        world.clock.now += 0.2
        assert world.refused("check_failures", "192.0.2.1") is None


class TestCalls:
    def test_a_principal_has_so_many_under_way_and_no_more(self) -> None:
        world = World()
        for _ in range(3):
            world.limits.enter(ALICE)
        error = world.refused("enter", ALICE)
        assert error is not None and error.code == "too_many_calls"
        assert world.refused("enter", replace(ALICE, issuer="https://other.example")) is None
        world.limits.leave(ALICE)
        assert world.refused("enter", ALICE) is None

    def test_a_connection_has_so_many_under_way_whoever_calls(self) -> None:
        world = World()
        for _ in range(5):
            world.limits.occupy(route())
        error = world.refused("occupy", route())
        assert error is not None and error.code == "connection_busy"
        assert world.refused("occupy", route(2)) is None
        world.limits.vacate(route())
        assert world.refused("occupy", route()) is None

    def test_who_waits_for_a_body_takes_no_place_at_a_connection(self) -> None:
        world = World()
        for who in (ALICE, ALICE, BOB, BOB, CAROL, CAROL):
            world.limits.enter(who)
        assert world.refused("occupy", route()) is None

    def test_a_refused_call_counts_for_nothing_and_an_idle_gateway_remembers_nobody(self) -> None:
        world = World()
        for _ in range(3):
            world.limits.enter(ALICE)
        for _ in range(5):
            world.limits.occupy(route())
        assert world.refused("enter", ALICE)
        assert world.refused("occupy", route())
        for _ in range(3):
            world.limits.leave(ALICE)
        for _ in range(5):
            world.limits.vacate(route())
        assert world.limits._calls == {}

    def test_rates_of_address_and_principal_are_off_unless_set(self) -> None:
        world = World()
        for _ in range(1000):
            world.limits.arrive("192.0.2.1")
            world.limits.enter(ALICE)
            world.limits.leave(ALICE)

    @pytest.mark.parametrize(
        ("cap", "method", "own", "other"),
        [
            ("address_requests", "arrive", ("192.0.2.1",), ("192.0.2.2",)),
            ("principal_requests", "enter", (ALICE,), (BOB,)),
        ],
    )
    def test_a_rate_limits_its_own_key_alone(self, cap: str, method: str, own: Any, other: Any) -> None:
        world = World(**{cap: 1})
        for _ in range(2):
            assert world.refused(method, *own) is None
        error = world.refused(method, *own)
        assert error is not None and error.code == "rate_limited"
        assert world.refused(method, *other) is None


class TestSessions:
    def test_a_principal_has_so_many_in_use(self) -> None:
        world = World()
        for number in range(3):
            world.limits.open_session(bytes([number]), ALICE)
        error = world.refused("open_session", b"x", ALICE)
        assert error is not None and (error.code, error.status) == ("too_many_sessions", 429)
        world.limits.close_session(b"\x00")
        assert world.refused("open_session", b"x", ALICE) is None

    def test_all_together_have_so_many(self) -> None:
        world = World()
        for number, who in enumerate([ALICE, ALICE, ALICE, BOB, BOB, BOB]):
            world.limits.open_session(bytes([number]), who)
        error = world.refused("open_session", b"x", CAROL)
        assert error is not None and (error.code, error.status) == ("gateway_full", 503)

    def test_one_that_is_silent_counts_no_more_and_one_in_use_does(self) -> None:
        world = World()
        for number in range(3):
            world.limits.open_session(bytes([number]), ALICE)
        world.clock.now += SESSION_COUNTS_SECONDS
        world.limits.use_session(b"\x00")
        world.limits.use_session(b"\x01")
        world.clock.now += 1
        assert world.refused("open_session", b"x", ALICE) is None
        world.clock.now += 2
        assert world.refused("open_session", b"y", ALICE)

    def test_closing_what_is_not_counted_changes_nothing(self) -> None:
        world = World()
        world.limits.open_session(b"a", ALICE)
        for session in (b"a", b"a", b"b"):
            world.limits.close_session(session)
        assert world.limits._sessions == {} and world.limits._sessions_of == {}


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("a socket", ""),
    ],
)
def test_one_customer_is_one_place(address: str, place: str) -> None:
    assert place_of(address) == place
