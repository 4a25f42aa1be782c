"""Thousands of slow sockets: good calls go on, and every slow one is cut in time (E8).

    python3 run.py test tests/slow/sockets.py -s

2,000 connections from ten addresses: a third sends nothing, a third drips a head, a third drips a body.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.callers import percentile, steady_load
from tests.support.gateway import LiveGateway
from tests.support.upstream import ScriptedUpstream

SOCKETS = 2000
ADDRESSES = 10
HEAD_SECONDS, BODY_SECONDS = 10, 30
LATE_SECONDS = 2
CALLS_PER_SECOND = 100
QUIET_SECONDS = 10.0


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [{"slug": "orders", "upstream_url": upstream.url}],
        "grants": [{"connection": "orders", "group": "sre", "tools": ["*"]}],
    }


async def slow(gateway: LiveGateway, number: int) -> tuple[str, float]:
    """Hold one connection as slowly as its kind does; return the kind, and after how many seconds it was cut."""
    kind = ("silent", "head", "body")[number % 3]
    address = f"127.0.2.{number % ADDRESSES + 1}"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=(address, 0))
    began_at = time.monotonic()
    if kind != "silent":
        writer.write(f"POST /mcp/orders HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\n".encode())
    if kind == "body":
        head = f"authorization: Bearer {gateway.token(f'slow-{number}')}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}accept: application/json, text/event-stream\r\ncontent-length: 1000\r\n\r\n".encode())
    end = asyncio.create_task(reader.read())
    try:
        while not end.done() and time.monotonic() < began_at + BODY_SECONDS + 5 * LATE_SECONDS:
            await asyncio.wait([end], timeout=1)
            if kind != "silent" and not end.done():
                writer.write(b"x" if kind == "head" else b" ")
    except ConnectionError:
        pass
    finally:
        writer.close()
    assert end.done(), f"{kind} was never cut"
    return kind, time.monotonic() - began_at


async def test_thousands_of_slow_sockets_are_cut_in_time_and_good_calls_go_on(live_gateway: LiveGateway) -> None:
    tokens = {f"good-{number}": live_gateway.token(f"good-{number}") for number in range(8)}
    async with steady_load(tokens, [live_gateway.port], calls_per_second=CALLS_PER_SECOND) as quiet:
        await asyncio.sleep(QUIET_SECONDS)
    async with steady_load(tokens, [live_gateway.port], calls_per_second=CALLS_PER_SECOND) as busy:
        found = await asyncio.gather(*(slow(live_gateway, number) for number in range(SOCKETS)))
    for kind, allowed in (("silent", HEAD_SECONDS), ("head", HEAD_SECONDS), ("body", BODY_SECONDS)):
        took = [seconds for which, seconds in found if which == kind]
        print(f"{kind}: {len(took)} cut after {percentile(took, 0.5):.1f} s, the last after {max(took):.1f} s")
        assert max(took) <= allowed + LATE_SECONDS
    print(
        f"p99 of good calls: {1000 * quiet.p99():.1f} ms without, {1000 * busy.p99():.1f} ms with {SOCKETS} slow ones"
    )
    assert quiet.refused() == busy.refused() == []
    assert busy.p99() <= 2 * quiet.p99()
