"""PURE: what a client is expected to do when its call is held, and the table of what it did.

An expectation follows from two numbers: how long the gateway keeps such a client waiting (`proxy/vehicles.py`), and
after how long the client gives up by itself. Whichever is less ends a call; the request lives on, and the same call is
made again: at once up to `AT_ONCE` calls, then when the decision is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Final

AT_ONCE: Final = 3
LEARNED_SHARE: Final = 0.8
"""A client that has given up twice after about the same time is held for this share of it."""
SLACK_SECONDS: Final = 1.0
"""A decision this close to the end of a call may come before it or after it."""

DENIED_BECAUSE: Final = "not in the change window"
_TEXTS: Final = {
    "result": r"transferred for {cell}",
    "pending": (
        r'NOT EXECUTED\. "transfer(_soon)?" on connection accounts needs approval APR-\w+ \(rule: transfers wait( '
        r"briefly)?\)\. Status: waiting for .+ until \d\d:\d\d UTC\. http://\S+/approvals/APR-\w+/\. Tell the user; "
        r"when it is approved, call the same tool again with exactly the same arguments\. Changing the arguments "
        r"starts a new approval\. Do not try another way to do this\."
    ),
    "denied": (
        r'NOT EXECUTED\. Denied by grace at \d\d:\d\d UTC: "'
        + DENIED_BECAUSE
        + r'" \(APR-\w+\)\. Do not retry or work '
        r"around; ask the user\."
    ),
    "expired": r"NOT EXECUTED\. Approval APR-\w+ expired without a decision\. Calling again asks anew\.",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How one call ended for the client: `kind`, and when, in seconds since the first call of the cell."""

    kind: str
    at: float
    text: str


def kind_of(cell: str, *, is_error: bool, text: str) -> str:
    """Return what an answer is; `other` unless it is word for word what the gateway or the upstream has said."""
    for kind, pattern in _TEXTS.items():
        if is_error == (kind != "result") and re.fullmatch(pattern.format(cell=re.escape(cell)), text.strip()):
            return kind
    return "other"


def predicted(
    *, held: float, gives_up: float, decided_at: float, decision: str = "result", learned_after: int = 2
) -> list[str]:
    """Return how the calls end, one after the other, when the decision comes after `decided_at` seconds.

    Args:
        held: for how long the gateway keeps this kind of client waiting.
        gives_up: after how long the client gives up, whatever the gateway does.
        decided_at: when the decision is made.
        decision: what ends the last call.
        learned_after: how often the client has to give up before the gateway knows.
    """
    kinds: list[str] = []
    now = 0.0
    while len(kinds) < AT_ONCE:
        learned = LEARNED_SHARE * gives_up if kinds.count("gave up") >= learned_after else math.inf
        ends = min(held, gives_up, learned)
        if decided_at < now + ends:
            break
        kinds.append("gave up" if ends == gives_up else "pending")
        now += ends
    if decision == "expired" and len(kinds) == AT_ONCE:
        # Nobody waited for the end, and the same call would ask anew.
        return kinds
    return [*kinds, decision]


def possible(*, held: float, gives_up: float, decided_at: float, decision: str = "result") -> list[list[str]]:
    """Return every way in which the calls may end, the likeliest first.

    A decision may just beat the end of a call, or just not. And two calls teach the gateway something only when they
    ended after much the same time, which on a busy machine they do not always.
    """
    ways: list[list[str]] = []
    for moved, learned_after in product((0.0, -SLACK_SECONDS, SLACK_SECONDS), (2, AT_ONCE)):
        way = predicted(
            held=held,
            gives_up=gives_up,
            decided_at=decided_at + moved,
            decision=decision,
            learned_after=learned_after,
        )
        if way not in ways:
            ways.append(way)
    return ways


def shown(endings: Sequence[Ending]) -> str:
    """Return the endings of a cell as a few words: `pending 50, 100 s, result 120 s`."""
    groups = [(kind, [f"{ending.at:.0f}" for ending in same]) for kind, same in groupby(endings, lambda end: end.kind)]
    return ", ".join(f"{kind} {', '.join(moments)} s" for kind, moments in groups)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
