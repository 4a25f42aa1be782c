"""What answers before Django, in a running gateway: every place and its spellings, methods and callers (A11)."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest

from tests.integration.proxy.calls import ACCEPT, tool
from tests.security import route_table as table
from tests.support.gateway import LiveGateway
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.usefixtures("clean_upstream")
CALLERS = ("none", "garbage", "wrong audience", "expired", "other principal", "valid")
NOBODIES = CALLERS[:4]
CALL = json.dumps(tool("get_order")).encode()
PLACES = {place: place.replace("<slug>", "orders") for place in sorted(table.ASGI)}
SPELLINGS = (
    "/mcp",
    "/mcp/",
    "/mcp/orders/",
    "/mcp//orders",
    "//mcp/orders",
    "/./mcp/orders",
    "/MCP/orders",
    "/mcp/Orders",
    "/mcp/orders?a=b",
    "/mcp/orders;a=b",
    "/mcp/orders%2f",
    "/mcp%2forders",
    "/%6dcp/orders",
    "/mcp/orders/../orders",
    "/healthz/../mcp/orders",
    "/healthz/mcp/orders",
    "/healthz?x",
    "/.well-known/mcp/orders",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/",
    "/.well-known/oauth-protected-resource/mcp/orders/",
    "/.well-known/oauth-protected-resource/mcp/orders/../../../mcp/orders",
    "/.well-known/oauth-protected-resource/../../mcp/orders",
    "/api/v1/../../mcp/orders",
    "/static/../mcp/orders",
    "/admin/mcp/orders",
)
"""Other ways to write the places, none of which leads to a connection."""
MAGIC = {
    "X-Forwarded-User": "alice",
    "X-Forwarded-Email": "alice@example.com",
    "X-Remote-User": "alice",
    "Remote-User": "alice",
    "X-Auth-Request-User": "alice",
    "X-User": "alice",
    "X-Groups": "sre",
    "X-Internal": "true",
    "X-Original-URL": "/healthz",
    "X-Rewrite-URL": "/healthz",
    "X-HTTP-Method-Override": "GET",
    "X-Api-Key": "alice",
    "Cookie": "wardgate=alice; access_token=alice",
    "Forwarded": "for=127.0.0.1",
    "X-Forwarded-For": "127.0.0.1",
}
"""Headers by which other gateways have let somebody in."""


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [{"slug": "orders", "upstream_url": upstream.url}],
        "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
    }


def credentials(gateway: LiveGateway, caller: str) -> dict[str, str]:
    """Return the Authorization header that `caller` sends."""
    moment = int(time.time())
    tokens = {
        "garbage": lambda: "garbage",
        "wrong audience": lambda: gateway.token(aud="https://elsewhere.example/mcp/orders"),
        "expired": lambda: gateway.token(iat=moment - 3600, nbf=moment - 3600, exp=moment - 1800),
        "other principal": lambda: gateway.token("mallory", groups=["nobody"]),
        "valid": lambda: gateway.token("alice", groups=["sre"]),
    }
    return {"Authorization": f"Bearer {tokens[caller]()}"} if caller in tokens else {}


def status(gateway: LiveGateway, method: str, path: str, headers: dict[str, str]) -> int:
    """Return the status of a tool call sent to `path`, to the letter."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)
    try:
        body = CALL if method in {"POST", "PUT", "PATCH"} else None
        connection.request(method, path, body, {**ACCEPT, "content-type": "application/json", **headers})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("caller", CALLERS)
def test_each_caller_gets_at_each_place_what_the_table_says(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, caller: str
) -> None:
    headers = credentials(live_gateway, caller)
    found = {
        (place, method): status(live_gateway, method, path, headers)
        for place, path in PLACES.items()
        for method in table.METHODS
        # A stream that a caller with a good token opens stays open; others have tests of their own.
        if not (caller == "valid" and method == "GET" and place == "/mcp/<slug>")
    }
    served = {at for at, code in found.items() if 200 <= code < 300}
    public = {(place, method) for place in PLACES for method in table.PUBLIC.get(place, ())}
    own = {("/mcp/<slug>", "POST")} if caller == "valid" else set()
    assert served == public | own
    of_connection = {method: code for (place, method), code in found.items() if place == "/mcp/<slug>"}
    if caller in NOBODIES:
        assert {of_connection[method] for method in ("GET", "POST", "DELETE")} == {401}
    if caller == "other principal":
        assert of_connection["POST"] == 404
    # A session's end is passed on to the upstream too, and answered as it answers.
    assert [seen.verb for seen in upstream.seen] == (["POST", "DELETE"] if caller == "valid" else [])


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_other_spelling_of_a_place_leads_to_a_connection(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, path: str
) -> None:
    good, nothing = credentials(live_gateway, "valid"), {}
    found = {
        (method, bool(headers)): status(live_gateway, method, path, headers)
        for method in table.METHODS
        for headers in (good, nothing)
    }
    # A query changes nothing about the health of the process, and the overview of an empty path is a redirect.
    allowed = {("GET", True), ("GET", False), ("HEAD", True), ("HEAD", False)} if path == "/healthz?x" else set()
    assert {at for at, code in found.items() if code < 300} <= allowed
    assert upstream.seen == []


@pytest.mark.parametrize("name", MAGIC)
def test_no_header_but_the_token_makes_a_caller_somebody(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, name: str
) -> None:
    path = "/mcp/orders"
    assert status(live_gateway, "POST", path, {name: MAGIC[name]}) == 401
    assert status(live_gateway, "POST", path, {name: MAGIC[name], **credentials(live_gateway, "garbage")}) == 401
    refused = status(live_gateway, "POST", path, {name: MAGIC[name], **credentials(live_gateway, "other principal")})
    assert refused in {400, 404}
    assert upstream.seen == []
