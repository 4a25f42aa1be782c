"""An address that knocks too often is answered before anything is done for it."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.client_address import TrustedProxies
from gateway_project.doors import GuardedDoors

PER_SECOND = 3
NEAR = TrustedProxies.parse(["10.0.0.0/8"], 1)
DOORS = [
    "/oauth/token",
    "/oauth/revoke",
    "/oidc/backchannel-logout",
    "/events/push",
    "/saml/3f2b8c1e-5a77-4a63-9a0e-1f7f6f0c2b11/login",
    "/saml/3f2b8c1e-5a77-4a63-9a0e-1f7f6f0c2b11/acs",
    "/admin/login/",
    "/admin/login/oidc/3f2b8c1e-5a77-4a63-9a0e-1f7f6f0c2b11/",
]


class Site:
    """The doors, a clock, and what came through."""

    def __init__(self, per_second: float = PER_SECOND) -> None:
        self.now, self.passed = 100.0, 0
        self.doors = GuardedDoors(self.inner, per_second=per_second, proxies=NEAR, clock=lambda: self.now)

    async def inner(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def knock(self, path: str, address: str = "192.0.2.7", *forwarded: bytes) -> dict[str, Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("the body is not read")

        headers = [(b"x-forwarded-for", value) for value in forwarded]
        scope = {"type": "http", "path": path, "headers": headers, "client": (address, 1)}
        await self.doors(scope, receive, send)
        return {"status": sent[0]["status"], **dict(sent[0]["headers"])}

    async def statuses(self, count: int, *arguments: Any) -> list[int]:
        return [(await self.knock(*arguments))["status"] for _ in range(count)]


@pytest.mark.parametrize("path", DOORS)
async def test_two_seconds_of_the_rate_pass_at_once_and_what_is_more_waits(path: str) -> None:
    site = Site()
    assert await site.statuses(8, path) == [200] * 6 + [429] * 2
    assert site.passed == 6
    refused = await site.knock(path)
    assert refused[b"retry-after"] == b"1"
    site.now += 1.01 / PER_SECOND
    assert await site.statuses(2, path) == [200, 429]


async def test_all_doors_of_one_address_count_together_and_other_addresses_go_on() -> None:
    site = Site()
    assert [(await site.knock(path))["status"] for path in DOORS[:7]] == [200] * 6 + [429]
    assert await site.statuses(2, "/oauth/token", "192.0.2.8") == [200, 200]


async def test_a_network_of_ipv6_is_one_address() -> None:
    site = Site()
    answers = [(await site.knock("/oauth/token", f"2001:db8::{number}"))["status"] for number in range(8)]
    assert answers == [200] * 6 + [429] * 2
    assert (await site.knock("/oauth/token", "2001:db8:1::1"))["status"] == 200


async def test_a_client_behind_a_trusted_proxy_is_counted_and_anybody_elses_header_is_not() -> None:
    site = Site()
    assert await site.statuses(7, "/oauth/token", "10.0.0.1", b"198.51.100.1") == [200] * 6 + [429]
    assert (await site.knock("/oauth/token", "10.0.0.1", b"198.51.100.2"))["status"] == 200
    spoofed = [await site.knock("/oauth/token", "192.0.2.9", b"198.51.100.%d" % number) for number in range(7)]
    assert [answer["status"] for answer in spoofed] == [200] * 6 + [429]


async def test_everything_else_passes() -> None:
    site = Site()
    for path in ("/", "/api/v1/locks/", "/admin/", "/scim/v2/x/Users", "/static/console/console.css"):
        assert await site.statuses(20, path) == [200] * 20


async def test_a_rate_of_zero_is_no_limit() -> None:
    assert await Site(0).statuses(50, "/oauth/token") == [200] * 50
