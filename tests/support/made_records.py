"""Exports of records made without a database, as large as one likes: chained, covered by checkpoints and signed."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sessions import chain
from sessions.statements import Heads, checkpoint_body, kid_of, signed_bytes, statement_hash

AT_US = 1_793_793_600_000_000


class MadeRecord:
    """A record of some gateway processes whose events are spread evenly, with a checkpoint every so many events.

    Args:
        events: how many in all.
        processes: how many chains.
        every: events between two checkpoints; the last checkpoint covers everything.
        payload_bytes: length of the message of each event.
    """

    def __init__(self, *, events: int, processes: int = 4, every: int = 1000, payload_bytes: int = 300) -> None:
        chance = random.Random(7)
        self.events, self.every = events, every
        self.instances = [chance.randbytes(16) for _ in range(processes)]
        self.payloads = [chance.randbytes(payload_bytes) for _ in range(50)]
        self.sessions = [chance.randbytes(16) for _ in range(20)]
        self.private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        self.public = self.private.public_key().public_bytes_raw()
        self.kid = kid_of(self.public)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the export."""
        checkpoints = self._checkpoints()
        yield json.dumps({"type": "wardgate-record", "v": 1, "made_at": "2026-11-03T12:00:00+00:00", "scope": "all"})
        yield json.dumps(
            {
                "type": "key",
                "kid": self.kid,
                "public_key": base64.b64encode(self.public).decode(),
                "created_at": "2026-11-03T12:00:00+00:00",
                "endorsed_by": "",
                "endorsement": "",
            }
        )
        count = 0
        for line in checkpoints:
            count += 1
            yield line
        for place in range(len(self.instances)):
            for entry, prev, digest in self._chain(place):
                yield json.dumps(self._event(place, entry, prev, digest), ensure_ascii=False)
        yield json.dumps({"type": "end", "events": self.events, "checkpoints": count})

    def _length(self, place: int, events: int) -> int:
        """Return how many of the first `events` belong to a chain."""
        return (events - place + len(self.instances) - 1) // len(self.instances)

    def _chain(self, place: int) -> Iterator[tuple[chain.Entry, bytes, bytes]]:
        head = chain.GENESIS
        for seq in range(1, self._length(place, self.events) + 1):
            number = (seq - 1) * len(self.instances) + place
            body = f'{{"method":"tools/call","name":"get_order","id":{number},"verdict":"allow","rule":"grant für Ada",'
            body += f'"policy_version":7,"received_us":{AT_US + number}}}'
            entry = chain.Entry(
                seq,
                AT_US + number * 100,
                self.sessions[number % len(self.sessions)],
                number.to_bytes(16, "big"),
                "gateway:call:intent",
                body.encode(),
                self.payloads[number % len(self.payloads)],
            )
            previous = head
            head = chain.link(self.instances[place], previous, entry)
            yield entry, previous, head

    def _event(self, place: int, entry: chain.Entry, prev: bytes, digest: bytes) -> dict[str, Any]:
        assert entry.payload is not None
        return {
            "type": "event",
            "instance": self.instances[place].hex(),
            "seq": entry.seq,
            "at_us": entry.at_us,
            "session": entry.session.hex(),
            "call": entry.call.hex(),
            "name": entry.name,
            "body": entry.body.decode(),
            "payload": base64.b64encode(entry.payload).decode(),
            "prev": prev.hex(),
            "hash": digest.hex(),
        }

    def _checkpoints(self) -> Iterator[str]:
        heads, prev_hash = Heads(), bytes(32)
        chains = [self._chain(place) for place in range(len(self.instances))]
        reached: list[tuple[int, bytes]] = [(0, chain.GENESIS)] * len(self.instances)
        covered = 0
        number = 0
        while covered < self.events:
            covered = min(covered + self.every, self.events)
            number += 1
            for place, events in enumerate(chains):
                seq, digest = reached[place]
                while seq < self._length(place, covered):
                    entry, _, digest = next(events)
                    seq = entry.seq
                reached[place] = (seq, digest)
            found = {self.instances[place]: head for place, head in enumerate(reached) if head[0]}
            moved = heads.moved(found)
            heads.put(moved)
            body = checkpoint_body(
                number=number,
                at_us=AT_US + covered * 100,
                prev_hash=prev_hash,
                kid=self.kid,
                heads=heads,
                moved=moved,
                releases=0,
                last_release=bytes(32),
            )
            prev_hash = statement_hash("checkpoint", body.encode())
            signature = self.private.sign(signed_bytes("checkpoint", body.encode()))
            yield json.dumps(
                {
                    "type": "checkpoint",
                    "number": number,
                    "body": body,
                    "kid": self.kid,
                    "signature": base64.b64encode(signature).decode(),
                }
            )
