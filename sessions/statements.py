"""PURE: what is signed about the record: checkpoints of all chains, and the tombstones of what was released.

A statement is JSON text, compact, with sorted members. What is hashed and signed (Ed25519, RFC 8032) is

    "wardgate." purpose ".v1" NUL | the text in UTF-8

with the purpose `checkpoint`, `release`, `recording`, `export` or `key`, so that a signature for one purpose is good
for no other. The hash of a statement is the SHA-256 of the same bytes; each checkpoint and each release names the hash
of the one before.

A checkpoint says how far every chain had come: `heads` lists those that moved since the checkpoint before, each as
[instance, leaf, number of the last event, its hash], and `root` is over all of them. The tree is that of RFC 9162: the
hash of a leaf is SHA-256(0x00 | instance | number as u64 | hash), of a node SHA-256(0x01 | left | right), and what has
no neighbour is its own parent.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

GENESIS = bytes(32)
EMPTY_ROOT = sha256(b"").digest()
_LEAF = struct.Struct(">c16sQ32s")


class Head(NamedTuple):
    """How far a chain of events has come: the number and the hash of its last event, and its leaf in the tree."""

    leaf: int
    seq: int
    hash: bytes


def signed_bytes(purpose: str, body: bytes) -> bytes:
    """Return what is hashed and signed for a statement."""
    return b"wardgate." + purpose.encode() + b".v1\0" + body


def statement_hash(purpose: str, body: bytes) -> bytes:
    """Return the hash by which the next statement names this one."""
    return sha256(signed_bytes(purpose, body)).digest()


def kid_of(public_key: bytes) -> str:
    """Return the name of a key: the first 32 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return sha256(public_key).hexdigest()[:32]


def encoded(members: Mapping[str, Any]) -> str:
    """Return a statement as it is signed."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(slots=True)
class Tree:
    """A Merkle tree whose leaves are replaced and appended one at a time, each in the logarithm of their number."""

    _levels: list[list[bytes]] = field(default_factory=lambda: [[]])

    def __len__(self) -> int:
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """The hash over all leaves."""
        return self._levels[-1][0] if self._levels[0] else EMPTY_ROOT

    def put(self, leaf: int, instance: bytes, head: Head) -> None:
        """Set a leaf, or append it when it is the next one.

        Raises:
            IndexError: it is neither.
        """
        if not 0 <= leaf <= len(self):
            raise IndexError("a leaf comes after the last one")
        digest = sha256(_LEAF.pack(b"\0", instance, head.seq, head.hash)).digest()
        for depth in range(len(self._levels) + 1):
            nodes = self._levels[depth]
            if leaf < len(nodes):
                nodes[leaf] = digest
            else:
                nodes.append(digest)
            if len(nodes) == 1:
                return
            if depth + 1 == len(self._levels):
                self._levels.append([])
                # A new top: its first node is what the tree was before.
                if leaf // 2 > 0:
                    self._levels[depth + 1].append(_node(nodes, 0))
            leaf //= 2
            digest = _node(nodes, leaf)


def _node(below: Sequence[bytes], place: int) -> bytes:
    pair = below[2 * place : 2 * place + 2]
    return pair[0] if len(pair) == 1 else sha256(b"\x01" + pair[0] + pair[1]).digest()


@dataclass(slots=True)
class Heads:
    """All chains as the checkpoints up to `number` cover them; grows with each checkpoint."""

    number: int = 0
    hash: bytes = GENESIS
    at_us: int = 0
    events: int = 0
    tree: Tree = field(default_factory=Tree)
    by_instance: dict[bytes, Head] = field(default_factory=dict)

    def moved(self, found: Mapping[bytes, tuple[int, bytes]]) -> dict[bytes, Head]:
        """Return the chains of `found` (instance to number and hash) that have moved, in a fixed order.

        Raises:
            WentBack: a chain is shorter than it was, or its last event is another one.
        """
        moved: dict[bytes, Head] = {}
        leaf = len(self.tree)
        for instance in sorted(found):
            seq, digest = found[instance]
            known = self.by_instance.get(instance)
            if known is None:
                moved[instance] = Head(leaf, seq, digest)
                leaf += 1
            elif seq < known.seq or (seq == known.seq and digest != known.hash):
                raise WentBack(instance, known.seq)
            elif seq > known.seq:
                moved[instance] = Head(known.leaf, seq, digest)
        return moved

    def put(self, moved: Mapping[bytes, Head]) -> None:
        """Take over what moved; `number`, `hash` and `at_us` are the caller's."""
        for instance, head in sorted(moved.items(), key=lambda item: item[1].leaf):
            known = self.by_instance.get(instance)
            self.events += head.seq - (known.seq if known else 0)
            self.tree.put(head.leaf, instance, head)
            self.by_instance[instance] = head


class WentBack(Exception):
    """A chain is not what the last checkpoint says that it was."""

    def __init__(self, instance: bytes, seq: int) -> None:
        super().__init__(f"the chain of {instance.hex()} is not what it was at event {seq}")
        self.instance, self.seq = instance, seq


def checkpoint_body(
    *,
    number: int,
    at_us: int,
    prev_hash: bytes,
    kid: str,
    heads: Heads,
    moved: Mapping[bytes, Head],
    releases: int,
    last_release: bytes,
) -> str:
    """Return the text of a checkpoint; `heads` has taken over what `moved` already."""
    return encoded(
        {
            "v": 1,
            "number": number,
            "at_us": at_us,
            "prev": prev_hash.hex(),
            "key": kid,
            "events": heads.events,
            "leaves": len(heads.tree),
            "root": heads.tree.root.hex(),
            "heads": [
                [instance.hex(), head.leaf, head.seq, head.hash.hex()]
                for instance, head in sorted(moved.items(), key=lambda item: item[1].leaf)
            ],
            "releases": [releases, last_release.hex()],
        }
    )


def heads_of(body: str) -> dict[bytes, Head]:
    """Return what moved, as a checkpoint says."""
    return {
        bytes.fromhex(instance): Head(leaf, seq, bytes.fromhex(digest))
        for instance, leaf, seq, digest in json.loads(body)["heads"]
    }
