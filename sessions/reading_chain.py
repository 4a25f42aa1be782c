"""PURE: the hash chain of who read the record.

Each entry's hash covers all of it and the hash of the one before, so that an entry that is changed, left out or put in
breaks every later link. What is hashed:

    "wardgate.reading.v1" NUL | previous hash 32 | seq u64 | at i64 (microseconds since 1970, UTC) | session 16
    | call 16 | for each of kind, user id, user name, via, address, detail: length u32, then the text in UTF-8

Integers are big-endian. An absent session or call is 16 zero bytes, an absent user id the empty text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

DOMAIN = b"wardgate.reading.v1\0"
GENESIS = bytes(32)
NOTHING = bytes(16)

_HEAD = struct.Struct(">32sQq16s16s")
_LENGTH = struct.Struct(">I")


class Reading(NamedTuple):
    """One entry as it is stored; `at_us` is microseconds since 1970 in UTC."""

    seq: int
    at_us: int
    session: bytes
    call: bytes
    texts: tuple[str, str, str, str, str, str]


class Kept(NamedTuple):
    """An entry together with the two hashes of its row."""

    reading: Reading
    prev_hash: bytes
    hash: bytes


def link(prev_hash: bytes, reading: Reading) -> bytes:
    """Return the hash of `reading` after `prev_hash`."""
    digest = sha256(DOMAIN)
    digest.update(_HEAD.pack(prev_hash, reading.seq, reading.at_us, reading.session, reading.call))
    for text in reading.texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(_LENGTH.pack(len(encoded)))
        digest.update(encoded)
    return digest.digest()


def first_broken(entries: Iterable[Kept]) -> int | None:
    """Return the number of the first entry that is not what was written, None when all are."""
    prev_hash = GENESIS
    for expected, entry in enumerate(entries, start=1):
        if (
            entry.reading.seq != expected
            or entry.prev_hash != prev_hash
            or link(prev_hash, entry.reading) != entry.hash
        ):
            return expected
        prev_hash = entry.hash
    return None
