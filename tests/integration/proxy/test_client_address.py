"""Rules about networks see the client's address, and no header that a client writes moves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import LiveGateway, gateway_running
from tests.support.upstream import ScriptedUpstream

from .calls import post, tool

SPOOFS = [
    {"x-forwarded-for": "10.1.2.3"},
    {"x-forwarded-for": "10.1.2.3, 10.1.2.3"},
    {"X-FORWARDED-FOR": "10.1.2.3"},
    {"x_forwarded_for": "10.1.2.3"},
    {"x-real-ip": "10.1.2.3"},
    {"x-client-ip": "10.1.2.3"},
    {"true-client-ip": "10.1.2.3"},
    {"cf-connecting-ip": "10.1.2.3"},
    {"x-cluster-client-ip": "10.1.2.3"},
    {"forwarded": "for=10.1.2.3"},
    {"forwarded": 'for="10.1.2.3:80";proto=https'},
    {"x-forwarded": "for=10.1.2.3"},
    {"x-originating-ip": "10.1.2.3"},
    {"x-remote-addr": "10.1.2.3"},
    {"remote-addr": "10.1.2.3"},
    {"via": "1.1 10.1.2.3"},
    {"connection": "x-forwarded-for", "x-forwarded-for": "10.1.2.3"},
]


def seed_for(upstream: ScriptedUpstream, seed: dict[str, Any]) -> dict[str, Any]:
    inside = {"connection": "orders", "group": "inside", "tools": ["*"], "networks": ["10.0.0.0/8"]}
    return {**seed, "grants": [inside]}


@pytest.fixture(scope="module")
def direct(gateway_seed: dict[str, Any], upstream: ScriptedUpstream, tmp_path_factory: Any) -> Iterator[LiveGateway]:
    with gateway_running(seed_for(upstream, gateway_seed), tmp_path_factory.mktemp("direct")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def behind(gateway_seed: dict[str, Any], upstream: ScriptedUpstream, tmp_path_factory: Any) -> Iterator[LiveGateway]:
    environment = {"WARDGATE_TRUSTED_PROXIES": "127.0.0.0/8"}
    folder = tmp_path_factory.mktemp("behind")
    with gateway_running(seed_for(upstream, gateway_seed), folder, environment=environment) as gateway:
        yield gateway


@pytest.mark.parametrize("headers", SPOOFS, ids=lambda headers: ",".join(headers))
def test_no_header_moves_a_client_that_comes_directly(
    direct: LiveGateway, upstream: ScriptedUpstream, headers: dict[str, str]
) -> None:
    seen = len(upstream.seen)
    assert post(direct, tool("get_order"), ["inside"], **headers).status_code == 404
    assert len(upstream.seen) == seen


def test_behind_a_trusted_proxy_the_rules_see_the_client(behind: LiveGateway, upstream: ScriptedUpstream) -> None:
    inside = post(behind, tool("get_order"), ["inside"], **{"x-forwarded-for": "10.1.2.3"})
    assert "isError" not in inside.json()["result"]
    [session] = behind.sql("SELECT remote_address FROM gateway_sessions_session ORDER BY started_at DESC LIMIT 1")
    assert session["remote_address"] == "10.1.2.3"


@pytest.mark.parametrize("forwarded", ["192.0.2.1", "10.1.2.3, 192.0.2.1", "10.1.2.3,::ffff:192.0.2.1"])
def test_behind_a_trusted_proxy_what_the_client_wrote_itself_does_not_count(
    behind: LiveGateway, upstream: ScriptedUpstream, forwarded: str
) -> None:
    seen = len(upstream.seen)
    assert post(behind, tool("get_order"), ["inside"], **{"x-forwarded-for": forwarded}).status_code == 404
    assert len(upstream.seen) == seen


@pytest.mark.parametrize("forwarded", [None, "", "unknown", "10.1.2.3,", "127.1"])
def test_a_trusted_proxy_that_does_not_tell_is_refused_with_a_reason(
    behind: LiveGateway, upstream: ScriptedUpstream, forwarded: str | None
) -> None:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    seen = len(upstream.seen)
    answer = post(behind, tool("get_order"), ["inside"], **headers)
    assert (answer.status_code, answer.json()["error"]["data"]["reason"]) == (400, "client_address_unclear")
    assert len(upstream.seen) == seen
