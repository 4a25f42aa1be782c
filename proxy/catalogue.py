"""The catalogue of tools on the data path: what an upstream lists is compared with what was reviewed.

A listing that says nothing new costs a digest for each tool, remembered by its bytes. One that does is written to the
catalogue before a byte of it is released, so that two processes, or two pages, never disagree about what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError

from connections import catalogue, definitions
from connections.definitions import Pinned
from policies.engine import review
from policies.engine.review import UNKNOWN_TOOL
from policies.engine.verdicts import Deny
from proxy.ports import Call, RecordUnavailable
from proxy.protocol import mcp
from proxy.store import Store

__all__ = ["UNKNOWN_TOOL", "StoredCatalogue", "refusal"]

_REMEMBERED = 2_000
_REMEMBERED_BYTES = 8_192


class StoredCatalogue:
    """Compares listings with the catalogue, and adds to it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: dict[bytes, str | None] = {}

    async def look(self, call: Call, data: bytes) -> None:
        """Note in `call` which of the tools that `data` lists may be shown.

        Raises:
            AnswerInvalid: it is no listing.
            RecordUnavailable: the catalogue cannot be written.
        """
        listed = mcp.listed_tools(data)
        if listed is None:
            return
        digests = {
            name: digest
            for name, (raw, definition) in listed.items()
            if (digest := self._digest(raw, definition)) is not None
        }
        known = call.route.catalogue
        if any(name not in known or known[name].seen_digest != digest for name, digest in digests.items()):
            known = await self._seen(call, [listed[name][1] for name in digests])
        call.shown = frozenset(
            name
            for name, digest in digests.items()
            if (tool := known.get(name)) is not None and tool.is_accepted and tool.digest == digest
        )

    async def _seen(self, call: Call, seen: list[Mapping[str, Any]]) -> Mapping[str, Pinned]:
        is_later_page = isinstance(call.message, mcp.Request) and call.message.params.get("cursor") is not None
        try:
            return await self._store.run(
                catalogue.tools_seen,
                connection_id=call.route.connection_id,
                seen=seen,
                is_later_page=is_later_page,
                now=datetime.now(UTC),
            )
        except DatabaseError:
            raise RecordUnavailable(maybe_recorded=False) from None

    def _digest(self, raw: bytes, definition: Mapping[str, Any]) -> str | None:
        """Return the digest of a definition; None when it cannot be kept, and so never be shown."""
        if raw in self._digests:
            return self._digests[raw]
        try:
            found = definitions.digest(definition) if definitions.is_storable(definition) else None
        except (ValueError, RecursionError):
            found = None
        if len(self._digests) >= _REMEMBERED:
            self._digests.clear()
        if len(raw) <= _REMEMBERED_BYTES:
            self._digests[raw] = found
        return found


def refusal(call: Call) -> Deny | None:
    """Return why a tool may not be called although policy might allow it; None when nothing is against it."""
    return review.refusal(call.asked, call.route.catalogue)
