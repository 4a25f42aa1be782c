"""PURE: the hash chain of one gateway process's events.

Each event's hash covers every stored column of it and the hash of the event before it, so that a change, an insertion,
a deletion or a swap breaks every later link. What is hashed is a fixed binary layout, not a re-encoding: the verifier
needs SHA-256 and `struct`, nothing else.

    "wardgate.event.v1" NUL | instance 16 | previous hash 32 | seq u64 | at i64 (microseconds since 1970, UTC)
    | session 16 | call 16 | length of name u16 | length of body u32 | length of payload u32 | name | body | payload

Integers are big-endian. An absent session or call is 16 zero bytes; an absent payload has length 0xFFFFFFFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

DOMAIN = b"wardgate.event.v1\0"
GENESIS = bytes(32)
NOTHING = bytes(16)
NO_PAYLOAD = 0xFFFFFFFF

_HEAD = struct.Struct(">16s32sQq16s16sHII")


class Entry(NamedTuple):
    """One event as it is stored; `at_us` is microseconds since 1970 in UTC."""

    seq: int
    at_us: int
    session: bytes
    call: bytes
    name: str
    body: bytes
    payload: bytes | None


class Stored(NamedTuple):
    """An entry together with the two hashes that its row carries."""

    entry: Entry
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Intact:
    """Every link holds; `head` is the last hash and `count` the number of events."""

    count: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """The first event that does not fit, and why: `gap`, `unlinked` or `changed`."""

    seq: int
    reason: str


def link(instance: bytes, prev_hash: bytes, entry: Entry) -> bytes:
    """Return the hash of `entry` in the chain of `instance` after `prev_hash`.

    Raises:
        struct.error: a field does not fit its place (an id that is not 16 bytes, a name over 65,535 bytes).
    """
    name, body, payload = entry.name.encode(), entry.body, entry.payload
    digest = sha256(DOMAIN)
    digest.update(
        _HEAD.pack(
            instance,
            prev_hash,
            entry.seq,
            entry.at_us,
            entry.session,
            entry.call,
            len(name),
            len(body),
            NO_PAYLOAD if payload is None else len(payload),
        )
    )
    digest.update(name)
    digest.update(body)
    if payload is not None:
        digest.update(payload)
    return digest.digest()


def verify(instance: bytes, events: Iterable[Stored], *, prev_hash: bytes = GENESIS, seq: int = 1) -> Intact | Broken:
    """Check events that should start with number `seq` after `prev_hash`; stop at the first that does not fit."""
    count = 0
    for event in events:
        if event.entry.seq != seq:
            return Broken(seq, "gap")
        if event.prev_hash != prev_hash:
            return Broken(seq, "unlinked")
        if link(instance, prev_hash, event.entry) != event.hash:
            return Broken(seq, "changed")
        prev_hash, seq, count = event.hash, seq + 1, count + 1
    return Intact(count, prev_hash)
