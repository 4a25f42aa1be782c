"""PURE: one frame of a recording: events in columns, so that they compress well and a reader can leave messages out.

A frame has two sections that are compressed apart: everything but the messages, and the messages. All integers are
big-endian. The first section, once it is unpacked:

    u32 n
    u16 count, 16 bytes each          instances
    u16 count, 16 bytes each          sessions; 16 zero bytes stand for none
    u32 count, 16 bytes each          calls; 16 zero bytes stand for none
    u16 count, u16 length and UTF-8   names
    n x u16 | n x u16 | n x u16 | n x u32    each event's instance, session, name and call, by place in those tables
    n x i64 | n x i64 | n x i64       row id, seq and time, each as the difference from the event before
    n x u8                            flags: 1 = the previous hash is written out, 2 = the own hash is written out
    n x u32 | n x u32                 length of body, length of message (0xFFFFFFFF: there is none)
    32 bytes each                     previous hashes written out, then own hashes written out
    bytes                             bodies

The second section is the messages, one after the other, as the events have them.

A previous hash is left out where it is the hash of the event just before it in the frame, and that event is the one
before in the chain of the same instance. An own hash is left out where it follows from the event: a reader computes it.
It is written out for an event that did not verify when it was sealed, so that sealing hides nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from .chain import NO_PAYLOAD, NOTHING, Entry, link

MAX_FRAME_EVENTS: Final = 4096
_HAS_PREV: Final = 1
_HAS_HASH: Final = 2
_I64: Final = 2**63
_U64: Final = 2**64


class RecordingDamaged(ValueError):
    """What was read is no recording, or not the one that was written. `code` is stable, the text a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Recorded(NamedTuple):
    """One event with everything that its row had; `id` is the row's.

    `left_out` is the length of a message that was not read.
    """

    id: int
    instance: bytes
    entry: Entry
    prev_hash: bytes
    hash: bytes
    left_out: int = 0

    @property
    def payload_bytes(self) -> int:
        """Length of the message as it is stored, whether it was read or not."""
        return self.left_out if self.entry.payload is None else len(self.entry.payload)

    @property
    def is_intact(self) -> bool:
        """Whether the hash is the one that follows from the event."""
        return link(self.instance, self.prev_hash, self.entry) == self.hash


class Table:
    """Distinct values and their places, in the order of their first use."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}

    def place(self, value: bytes) -> int:
        """Return the place of `value`, adding it where it is new."""
        return self._places.setdefault(value, len(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def joined(self) -> bytes:
        """Return all values one after the other."""
        return b"".join(self._places)

    def prefixed(self) -> bytes:
        """Return all values, each behind its length."""
        return b"".join(len(value).to_bytes(2, "big") + value for value in self._places)


def encode(events: Sequence[Recorded]) -> tuple[bytes, bytes]:
    """Return the two sections of a frame.

    Raises:
        struct.error: a value does not fit its column.
    """
    count = len(events)
    instances, sessions, calls, names = Table(), Table(), Table(), Table()
    places = [
        (
            instances.place(event.instance),
            sessions.place(event.entry.session),
            names.place(event.entry.name.encode()),
            calls.place(event.entry.call),
        )
        for event in events
    ]
    flags, previous, own = _hashes(events)
    payloads = [event.entry.payload for event in events]
    head = b"".join(
        (
            struct.pack(">I", count),
            struct.pack(">H", len(instances)) + instances.joined(),
            struct.pack(">H", len(sessions)) + sessions.joined(),
            struct.pack(">I", len(calls)) + calls.joined(),
            struct.pack(">H", len(names)) + names.prefixed(),
            struct.pack(f">{count}H", *(place[0] for place in places)),
            struct.pack(f">{count}H", *(place[1] for place in places)),
            struct.pack(f">{count}H", *(place[2] for place in places)),
            struct.pack(f">{count}I", *(place[3] for place in places)),
            _differences([event.id for event in events]),
            _differences([event.entry.seq for event in events]),
            _differences([event.entry.at_us for event in events]),
            flags,
            struct.pack(f">{count}I", *(len(event.entry.body) for event in events)),
            struct.pack(f">{count}I", *(NO_PAYLOAD if payload is None else len(payload) for payload in payloads)),
            *previous,
            *own,
            *(event.entry.body for event in events),
        )
    )
    return head, b"".join(payload for payload in payloads if payload is not None)


def decode(head: bytes, messages: bytes | None) -> list[Recorded]:
    """Return the events of a frame; without `messages` they lack theirs, and their hashes are empty.

    Raises:
        RecordingDamaged: the sections do not fit together.
    """
    cursor = Cursor(head)
    count = cursor.number(4)
    if not 0 < count <= MAX_FRAME_EVENTS:
        raise RecordingDamaged("bad_frame", "A frame says that it has no events, or too many.")
    instances = cursor.pieces(cursor.number(2), 16)
    sessions = cursor.pieces(cursor.number(2), 16)
    calls = cursor.pieces(cursor.number(4), 16)
    names = [cursor.text(cursor.number(2)) for _ in range(cursor.number(2))]
    by_instance = cursor.places("H", count, len(instances))
    by_session = cursor.places("H", count, len(sessions))
    by_name = cursor.places("H", count, len(names))
    by_call = cursor.places("I", count, len(calls))
    ids, seqs, times = (cursor.sums(count) for _ in range(3))
    flags = cursor.take(count)
    body_lengths = cursor.column("I", count)
    payload_lengths = cursor.column("I", count)
    previous = iter(cursor.pieces(sum(1 for flag in flags if flag & _HAS_PREV), 32))
    own = iter(cursor.pieces(sum(1 for flag in flags if flag & _HAS_HASH), 32))
    bodies = cursor.pieces_of(body_lengths)
    cursor.end()
    payloads = _payloads(payload_lengths, messages)
    sizes = [0 if messages is not None or length == NO_PAYLOAD else length for length in payload_lengths]
    events: list[Recorded] = []
    last_hash = b""
    for place in range(count):
        entry = Entry(
            seqs[place],
            times[place],
            sessions[by_session[place]],
            calls[by_call[place]],
            names[by_name[place]],
            bodies[place],
            payloads[place],
        )
        if flags[place] & _HAS_PREV:
            prev_hash = next(previous)
        elif place:
            prev_hash = last_hash
        else:
            raise RecordingDamaged("bad_frame", "The first event of a frame lacks the hash before it.")
        instance = instances[by_instance[place]]
        written = next(own) if flags[place] & _HAS_HASH else b""
        if messages is None:
            prev_hash = own_hash = b""
        else:
            own_hash = written or _linked(instance, prev_hash, entry)
        last_hash = own_hash
        events.append(Recorded(ids[place], instance, entry, prev_hash, own_hash, sizes[place]))
    return events


def _linked(instance: bytes, prev_hash: bytes, entry: Entry) -> bytes:
    try:
        return link(instance, prev_hash, entry)
    except struct.error:
        raise RecordingDamaged("bad_frame", "A frame has an event that no chain could have.") from None


def _hashes(events: Sequence[Recorded]) -> tuple[bytes, list[bytes], list[bytes]]:
    """Return the flags of each event, and the hashes that do not follow from what else is in the frame."""
    flags = bytearray()
    previous: list[bytes] = []
    own: list[bytes] = []
    before: Recorded | None = None
    for event in events:
        flag = 0
        follows = (
            before is not None
            and before.instance == event.instance
            and before.entry.seq + 1 == event.entry.seq
            and before.hash == event.prev_hash
        )
        if not follows:
            flag |= _HAS_PREV
            previous.append(event.prev_hash)
        if not event.is_intact:
            flag |= _HAS_HASH
            own.append(event.hash)
        flags.append(flag)
        before = event
    if any(len(digest) != 32 for digest in (*previous, *own)):
        raise struct.error("a hash has 32 bytes")
    return bytes(flags), previous, own


def _differences(values: Sequence[int]) -> bytes:
    before = [0, *values[:-1]]
    return struct.pack(f">{len(values)}q", *(value - last for value, last in zip(values, before, strict=True)))


def _payloads(lengths: Sequence[int], messages: bytes | None) -> list[bytes | None]:
    if messages is None:
        return [None] * len(lengths)
    sizes = [0 if length == NO_PAYLOAD else length for length in lengths]
    if sum(sizes) != len(messages):
        raise RecordingDamaged("bad_frame", "The messages of a frame do not have the length that it says.")
    pieces = Cursor(messages).pieces_of(sizes)
    return [None if length == NO_PAYLOAD else piece for length, piece in zip(lengths, pieces, strict=True)]


class Cursor:
    """Reads binary columns and never beyond their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes.

        Raises:
            RecordingDamaged: there are fewer.
        """
        end = self._at + length
        if end > len(self._data):
            raise RecordingDamaged("cut_off", "A part of the recording is shorter than it says.")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, size: int) -> int:
        """Return the next integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def text(self, length: int) -> str:
        """Return the next `length` bytes as text."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise RecordingDamaged("bad_frame", "A name in the recording is not UTF-8.") from None

    def pieces(self, count: int, size: int) -> list[bytes]:
        """Return `count` pieces of `size` bytes."""
        data = self.take(count * size)
        return [data[at : at + size] for at in range(0, len(data), size)]

    def pieces_of(self, lengths: Sequence[int]) -> list[bytes]:
        """Return a piece of each length."""
        data = self.take(sum(lengths))
        ends = list(accumulate(lengths))
        return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def column(self, kind: str, count: int) -> tuple[int, ...]:
        """Return `count` integers of a kind of `struct`."""
        layout = struct.Struct(f">{count}{kind}")
        return layout.unpack(self.take(layout.size))

    def places(self, kind: str, count: int, size: int) -> tuple[int, ...]:
        """Return `count` places in a table of `size` entries."""
        found = self.column(kind, count)
        if max(found) >= size:
            raise RecordingDamaged("bad_frame", "A frame points beyond one of its tables.")
        return found

    def sums(self, count: int) -> list[int]:
        """Return `count` integers that are written as differences."""
        found = list(accumulate(self.column("q", count)))
        if max(found) >= _I64 or min(found) < -_I64:
            raise RecordingDamaged("bad_frame", "A frame has a number that no row could have.")
        return found

    def end(self) -> None:
        """Require that everything was read.

        Raises:
            RecordingDamaged: something is left.
        """
        if self._at != len(self._data):
            raise RecordingDamaged("bad_frame", "A part of the recording is longer than it says.")


__all__ = ["MAX_FRAME_EVENTS", "NOTHING", "Cursor", "Recorded", "RecordingDamaged", "decode", "encode"]
