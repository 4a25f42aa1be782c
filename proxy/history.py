"""What a caller did before, kept in the database while any rule asks for it.

A decision that looks at it is made inside one transaction which holds a lock of that caller: the calls that count are
read, the decision is made, and an allowed call is written, so that two processes cannot both let through what is only
good once. A call costs one such transaction more than others, and only while there are such rules.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from policies.engine import rules
from policies.engine.facts import History, Past
from policies.engine.rules import Decision
from policies.engine.verdicts import Deny
from proxy.ports import Call, RecordUnavailable
from proxy.store import Store
from sessions import activity
from sessions.models import Activity

_VALUES = 50
_VALUE_CHARACTERS = 4096
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class HistoryBounds:
    """How far back a history goes: seconds, and calls; how long a decision may wait, in seconds.

    `key` makes the digests of argument values worthless to whoever reads the table.
    """

    seconds: float
    calls: int
    wait_seconds: float
    key: bytes = field(repr=False)


class StoredHistory:
    """Decides with the history of the caller, over all connections and all gateway processes."""

    def __init__(self, store: Store, bounds: HistoryBounds) -> None:
        self._store, self._bounds = store, bounds
        self._later: set[asyncio.Task[None]] = set()

    async def decide(self, call: Call) -> Decision:
        """Return the decision on `call`, and add it to the history unless it is denied."""
        now = time.time()
        try:
            async with asyncio.timeout(self._bounds.wait_seconds):
                return await self._store.run(self._decide, call, now)
        except (DatabaseError, TimeoutError):
            raise RecordUnavailable(maybe_recorded=False) from None

    def answered(self, call: Call) -> None:
        """Note how much the answer held; a figure that is lost only makes the history look smaller."""
        task = asyncio.ensure_future(self._answered(call))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _answered(self, call: Call) -> None:
        try:
            await self._store.run(activity.activity_answered, call_id=UUID(bytes=call.call_id), size=call.bytes_out)
        except DatabaseError:
            return

    def _decide(self, call: Call, now: float) -> Decision:
        caller = caller_key(call)
        since = datetime.fromtimestamp(now - self._bounds.seconds, UTC)
        with activity.activity_of(caller=caller, since=since, limit=self._bounds.calls + 1) as found:
            is_whole = len(found) <= self._bounds.calls
            history = History([_past(row) for row in found]) if is_whole else None
            decision = rules.decision(call.policy, call.identity, call.asked, call.facts(now, history))
            if not isinstance(decision.verdict, Deny):
                activity.activity_add(
                    caller=caller,
                    call_id=UUID(bytes=call.call_id),
                    connection_slug=call.route.slug,
                    name=call.name or "",
                    labels=labels_of(call),
                    values=values_of(call.facts(now).arguments or {}, self._bounds.key),
                    now=datetime.fromtimestamp(now, UTC),
                )
        return decision


def _past(row: Activity) -> Past:
    return Past(row.at.timestamp(), row.connection_slug, row.name, row.bytes, tuple(row.labels), row.values)


def caller_key(call: Call) -> bytes:
    """Return whose history a call belongs to: its principal together with its client; lengths first."""
    parts = (call.identity.issuer, call.identity.subject, call.identity.client_id)
    return sha256(b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)).digest()


def labels_of(call: Call) -> list[str]:
    """Return the labels that the call leaves behind: those of its connection and of its tool."""
    own = call.route.tool_taints.get(call.name or "", ()) if call.kind == "tool" else ()
    return sorted({*call.route.taints, *own})


def values_of(arguments: Mapping[str, Any], key: bytes) -> dict[str, str]:
    """Return digests of the scalar arguments, by name: enough to count different values, too little to read them."""
    found: dict[str, str] = {}
    for name, value in arguments.items():
        if len(found) == _VALUES:
            break
        if isinstance(value, str | int | float | bool) and len(name) <= 128:
            text = f"{type(value).__name__}:{value}"[:_VALUE_CHARACTERS]
            found[name] = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:_DIGEST]
    return found
