"""Who called, as policy saw the caller: written into the record once a session, and named by every call.

Groups, kind, actors, audiences and the address of a caller decide, and any of them may change in the middle of a
session. Written into each event they would outweigh the call; so they are one event, and a call carries their tag.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

import orjson

from accounts.tokens import Identity

_REMEMBERED = 10_000
_TAG_CHARACTERS = 16


@dataclass(slots=True)
class Callers:
    """The tags that this process has written; what is forgotten is written again."""

    _tags: dict[tuple[bytes, bytes, str], str] = field(default_factory=dict)
    _written: set[tuple[bytes, str]] = field(default_factory=set)

    def known(self, session: bytes, identity: Identity, address: str) -> str | None:
        """Return the tag of a caller whom `session` has in the record already."""
        return self._tags.get((session, identity.token_digest, address))

    def enter(self, session: bytes, identity: Identity, address: str) -> tuple[str, bytes | None]:
        """Return the caller's tag, and what has to be written of the caller unless the session has it already."""
        body = orjson.dumps(facts(identity, address), option=orjson.OPT_SORT_KEYS)
        tag = sha256(body).hexdigest()[:_TAG_CHARACTERS]
        if len(self._tags) >= _REMEMBERED:
            self._tags.clear()
            self._written.clear()
        self._tags[session, identity.token_digest, address] = tag
        if (session, tag) in self._written:
            return tag, None
        self._written.add((session, tag))
        return tag, body


def facts(identity: Identity, address: str) -> dict[str, object]:
    """Return what rules may know of a caller; `groups` is None when the provider did not tell them."""
    found: dict[str, object] = {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "client_id": identity.client_id,
        "kind": identity.kind,
        "groups": None if identity.groups is None else sorted(identity.groups),
        "actors": list(identity.actors),
        "audiences": sorted(identity.audiences),
        "address": address,
    }
    if identity.narrowing is not None:
        found["narrowing"] = {"connection": identity.narrowing.connection, "tools": list(identity.narrowing.tools)}
    return found
