"""A client of the legacy era whose GET stream policy denies works without it, and does not ask again for ever."""

from __future__ import annotations

import copy

import httpx2

from tests.e2e.clients.conftest import SLUG
from tests.e2e.clients.test_cancellation import client_of, legacy_session
from tests.support.gateway import Seed, StartGateway


async def test_a_denied_stream_is_answered_as_one_that_the_server_does_not_offer(
    gateway_seed: Seed, start_gateway: StartGateway
) -> None:
    seed = copy.deepcopy(dict(gateway_seed))
    seed["guardrails"].append({"name": "no streams", "effect": "deny", "methods": ["session/stream"]})
    gateway = start_gateway(seed)
    url = gateway.url(SLUG)

    async with client_of(gateway, "listener") as client, legacy_session(client, url) as headers:
        answer: httpx2.Response = await client.get(url, headers=headers)
        listed = await client.post(url, headers=headers, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"})

    assert answer.status_code == 405
    assert listed.status_code == 200
    denied = gateway.events("gateway:call:denied")
    assert [(event["body"]["method"], event["body"]["rule"]) for event in denied] == [("session/stream", "no streams")]
