"""A flood in a process of its own, so that it does not slow the callers that a test measures.

    python -m tests.support.flood PORT SLUG PER_SECOND SECONDS < tokens

Reads tokens, one a line, and posts a tool call with each in turn, at the given rate over a few connections. Prints how
many answers had which status, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

from tests.support.callers import Caller

CONNECTIONS = 16


async def flood(port: int, slug: str, per_second: float, seconds: float, tokens: list[str]) -> Counter[int]:
    """Post calls at `per_second` for `seconds`; a late answer makes its connection skip what it missed."""
    statuses: Counter[int] = Counter()
    pause = CONNECTIONS / per_second
    end = time.monotonic() + seconds

    async def run(index: int) -> None:
        caller = Caller(port, slug)
        due = time.monotonic() + pause * index / CONNECTIONS
        turn = index
        while due < end:
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            answer = await caller.call(tokens[turn % len(tokens)])
            statuses[answer.status] += 1
            turn += CONNECTIONS
            due += pause
        await caller.close()

    await asyncio.gather(*(run(index) for index in range(CONNECTIONS)))
    return statuses


if __name__ == "__main__":
    port, slug, per_second, seconds = sys.argv[1:]
    found = asyncio.run(flood(int(port), slug, float(per_second), float(seconds), sys.stdin.read().split()))
    print(json.dumps(found))
