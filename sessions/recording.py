"""PURE: the file that a finished session becomes: written once, sealed, read at any place. See docs/recordings.md.

    magic 8 | u32 length | header, JSON | frame ... | index | manifest, JSON | trailer 16

    frame    "FRME" | u32 length | u32 length | u32 events | section | section      (`recording_frames`)
    trailer  u32 length of the index | u32 length of the manifest | "WGREND" CR LF

Sections and index are zstd; in an encrypted recording each is then AES-256-GCM under the recording's own data key,
with the nonce (u32 kind, u64 place) and the SHA-256 of the header as additional data. The key is used for one file
only, so a nonce never comes twice.

The sealing: the chain value starts as SHA-256("wardgate.recording.v1" NUL | SHA-256 of the header) and becomes, for
each event, SHA-256(chain value | hash of the event). The index has it at the end of every frame, so one frame can be
proved without the others. The manifest has the last value and the SHA-256 of all bytes before it; both are signed with
Ed25519.

Lengths are bounded before anything is allocated, and whatever is wrong with a file is `RecordingDamaged`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .recording_frames import MAX_FRAME_EVENTS, NOTHING, Cursor, Recorded, RecordingDamaged, decode, encode

MAGIC: Final = b"\x89WGR\r\n\x1a\n"
END: Final = b"WGREND\r\n"
DOMAIN: Final = b"wardgate.recording.v1\0"
VERSION: Final = 1
ENCRYPTION: Final = "AES-256-GCM"

FRAME_EVENTS: Final = 512
FRAME_BYTES: Final = 1024 * 1024
"""A frame is closed at this many events, or bytes before compression, whichever comes first."""
MAX_SECTION_BYTES: Final = 128 * 1024 * 1024
MAX_TEXT_BYTES: Final = 64 * 1024
"""Longest header and manifest."""
LEVEL: Final = 12

_FRAME_HEAD = struct.Struct(">4sIII")
_FRAME_MARK = b"FRME"
_TRAILER = struct.Struct(">II8s")
_FRAME_INDEX = struct.Struct(">QIIIIqq32s32s")
_NONCE = struct.Struct(">IQ")
_SEAL = struct.Struct(">32s32s32sQ")
_HEAD_SECTION, _MESSAGE_SECTION, _INDEX = 1, 2, 3
_PREFIX_BYTES = 8
_PIECE = 1024 * 1024


class Source(Protocol):
    """Where the bytes of a recording are."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end."""


class Signature(NamedTuple):
    """An Ed25519 signature, the id of its key, and the raw public key."""

    key_id: str
    public_key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording is of. `about` is for people: who, where to, from when; `session` is empty for several."""

    recording: str
    session: str
    part: int
    created_at_us: int
    encryption: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written. `suspect` counts events whose hash did not verify when they were sealed."""

    events: int
    frames: int
    calls: int
    suspect: int
    raw_bytes: int
    size: int
    content_sha256: bytes
    chain: bytes
    signature: Signature


class Frame(NamedTuple):
    """One frame as the index has it; `chain` is the chain value after its last event."""

    offset: int
    head_length: int
    message_length: int
    first: int
    events: int
    first_at_us: int
    last_at_us: int
    sha256: bytes
    chain: bytes


class Call(NamedTuple):
    """One call as the index has it: the beginning of its id, its first event, and the frames that it is in."""

    prefix: bytes
    first: int
    frames: tuple[int, ...]


class Calls:
    """The calls of a recording in the order in which they began; made one by one, for there may be very many.

    Args:
        prefixes: the first eight bytes of each id, one after the other.
        firsts: the place of each one's first event.
        counts: in how many frames each one is.
        frames: those frames, call after call.
    """

    def __init__(self, prefixes: bytes, firsts: Sequence[int], counts: Sequence[int], frames: Sequence[int]) -> None:
        self._prefixes, self._firsts, self._counts, self._frames = prefixes, firsts, counts, frames

    def __len__(self) -> int:
        return len(self._firsts)

    def __getitem__(self, place: int) -> Call:
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._call(place, sum(self._counts[:place]))

    def __iter__(self) -> Iterator[Call]:
        begin = 0
        for place, count in enumerate(self._counts):
            yield self._call(place, begin)
            begin += count

    def beginning_with(self, prefix: bytes) -> Iterator[Call]:
        """Yield the calls whose ids begin so: the one that is looked for, and hardly ever another."""
        at = self._prefixes.find(prefix)
        while at >= 0:
            if at % _PREFIX_BYTES == 0:
                yield self[at // _PREFIX_BYTES]
            at = self._prefixes.find(prefix, at + 1)

    def _call(self, place: int, begin: int) -> Call:
        prefix = self._prefixes[_PREFIX_BYTES * place : _PREFIX_BYTES * (place + 1)]
        return Call(prefix, self._firsts[place], tuple(self._frames[begin : begin + self._counts[place]]))


@dataclass(frozen=True, slots=True)
class Sound:
    """Everything fits. `suspect` are the places of events that did not verify when they were sealed already."""

    events: int
    chain: bytes
    key_id: str
    suspect: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsound:
    """The first thing that does not fit; `event` is the place of the first event concerned, None for the whole file."""

    code: str
    message: str
    event: int | None = None


class Writer:
    """Writes one recording through `write`, event by event.

    Args:
        write: takes the next bytes of the file.
        header: what is recorded.
        key: 32 bytes when the recording is encrypted, else None.
    """

    def __init__(self, write: Callable[[bytes], object], header: Header, *, key: bytes | None = None) -> None:
        if bool(header.encryption) != (key is not None):
            raise ValueError("a header says whether there is a key")
        text = json.dumps(asdict(header), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        if len(text) > MAX_TEXT_BYTES:
            raise ValueError("the header is too long")
        self._write_out, self._cipher = write, AESGCM(key) if key is not None else None
        self._header = sha256(text).digest()
        self._content, self.size = sha256(), 0
        self._chain = sha256(DOMAIN + self._header).digest()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._frames: list[Frame] = []
        self._calls: dict[bytes, tuple[int, list[int]]] = {}
        self._events = self._suspect = self._raw = 0
        self._waiting: list[Recorded] = []
        self._waiting_bytes = 0
        self._write(MAGIC + struct.pack(">I", len(text)) + text)

    def add(self, event: Recorded) -> None:
        """Add the next event."""
        entry = event.entry
        self._waiting.append(event)
        self._waiting_bytes += 128 + len(entry.body) + len(entry.payload or b"")
        if len(self._waiting) >= FRAME_EVENTS or self._waiting_bytes >= FRAME_BYTES:
            self._close_frame()

    def finish(self, sign: Callable[[bytes], Signature]) -> Summary:
        """Write what is left, and the seal; `sign` signs `DOMAIN` and the bytes that it is given with Ed25519."""
        self._close_frame()
        index = self._packed(self._index(), _INDEX, 0)
        self._write(index)
        content = self._content.digest()
        signature = sign(seal_of(self._header, content, self._chain, self._events))
        text = _manifest(content, self._chain, self._events, len(self._frames), signature)
        self._write(text + _TRAILER.pack(len(index), len(text), END))
        return Summary(
            events=self._events,
            frames=len(self._frames),
            calls=len(self._calls),
            suspect=self._suspect,
            raw_bytes=self._raw,
            size=self.size,
            content_sha256=content,
            chain=self._chain,
            signature=signature,
        )

    def _close_frame(self) -> None:
        events, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not events:
            return
        number = len(self._frames)
        head, messages = encode(events)
        if max(len(head), len(messages)) > MAX_SECTION_BYTES:
            raise ValueError("an event is too long for a recording")
        for place, event in enumerate(events, start=self._events):
            self._chain = sha256(self._chain + event.hash).digest()
            if not event.is_intact:
                self._suspect += 1
            if event.entry.call != NOTHING:
                _, frames = self._calls.setdefault(event.entry.call, (place, []))
                if not frames or frames[-1] != number:
                    frames.append(number)
        stored_head = self._packed(head, _HEAD_SECTION, number)
        stored_messages = self._packed(messages, _MESSAGE_SECTION, number)
        stored = _FRAME_HEAD.pack(_FRAME_MARK, len(stored_head), len(stored_messages), len(events))
        stored += stored_head + stored_messages
        times = [event.entry.at_us for event in events]
        self._frames.append(
            Frame(
                self.size,
                len(stored_head),
                len(stored_messages),
                self._events,
                len(events),
                min(times),
                max(times),
                sha256(stored).digest(),
                self._chain,
            )
        )
        self._events += len(events)
        self._raw += len(head) + len(messages)
        self._write(stored)

    def _index(self) -> bytes:
        calls = sorted(self._calls.items(), key=lambda item: item[1][0])
        count = len(calls)
        frames = [number for _, (_, numbers) in calls for number in numbers]
        return b"".join(
            (
                struct.pack(">II", len(self._frames), count),
                *(_FRAME_INDEX.pack(*frame) for frame in self._frames),
                *(call[:8] for call, _ in calls),
                struct.pack(f">{count}I", *(first for _, (first, _) in calls)),
                struct.pack(f">{count}I", *(len(numbers) for _, (_, numbers) in calls)),
                struct.pack(f">{len(frames)}I", *frames),
            )
        )

    def _packed(self, section: bytes, kind: int, place: int) -> bytes:
        stored = self._compressor.compress(section)
        if self._cipher is None:
            return stored
        return self._cipher.encrypt(_NONCE.pack(kind, place), stored, self._header)

    def _write(self, data: bytes) -> None:
        self._write_out(data)
        self._content.update(data)
        self.size += len(data)


class Recording:
    """Reads a recording; whatever it is asked, it reads only the frames that it needs.

    Args:
        source: where the bytes are.
        key: the data key of an encrypted recording.

    Raises:
        RecordingDamaged: header, index, manifest or trailer cannot be read. `salvage` may still find events.
    """

    def __init__(self, source: Source, *, key: bytes | None = None) -> None:
        self._source, self._size = source, source.size
        self.header, self._header, self._body_at = _header(source)
        self._cipher = _cipher(self.header, key)
        if self._size < self._body_at + _TRAILER.size:
            raise RecordingDamaged("cut_off", "The recording is cut off.")
        index_length, manifest_length, end = _TRAILER.unpack(self._read(self._size - _TRAILER.size, _TRAILER.size))
        self._manifest_at = self._size - _TRAILER.size - manifest_length
        self._index_at = self._manifest_at - index_length
        if end != END or manifest_length > MAX_TEXT_BYTES or self._index_at < self._body_at:
            raise RecordingDamaged("cut_off", "The recording is cut off.")
        self.manifest = _json(self._read(self._manifest_at, manifest_length))
        self.frames, self.calls = self._indexed(self._read(self._index_at, index_length))
        self._kept: tuple[int, bool, list[Recorded]] | None = None

    @property
    def events(self) -> int:
        """Number of events."""
        return self.frames[-1].first + self.frames[-1].events if self.frames else 0

    def entries(self, first: int = 0, last: int | None = None, *, has_messages: bool = True) -> Iterator[Recorded]:
        """Return the events from place `first` up to before `last`, in order.

        Without messages they are read quicker, and their hashes are empty.

        Raises:
            RecordingDamaged: a frame cannot be read.
        """
        last = self.events if last is None else last
        for number, frame in enumerate(self.frames):
            if frame.first + frame.events <= first or frame.first >= last:
                continue
            events = self._frame(number, has_messages)
            yield from events[max(0, first - frame.first) : last - frame.first]

    def call(self, call_id: bytes, *, has_messages: bool = True) -> list[Recorded]:
        """Return the events of one call, in order; none when it is not in the recording.

        Raises:
            RecordingDamaged: a frame cannot be read.
        """
        found = self.calls.beginning_with(call_id[:_PREFIX_BYTES]) if len(call_id) == 16 else ()
        numbers = {number for call in found for number in call.frames}
        return [
            event
            for number in sorted(numbers)
            for event in self._frame(number, has_messages)
            if event.entry.call == call_id
        ]

    def verify(self, keys: Mapping[str, bytes]) -> Sound | Unsound:
        """Check every byte, every event, every link and the signature, and name the first event that does not fit.

        Args:
            keys: raw Ed25519 public keys that are trusted, by their ids. The key in the file itself proves nothing.
        """
        chain = sha256(DOMAIN + self._header).digest()
        suspect: list[int] = []
        for number, frame in enumerate(self.frames):
            try:
                if sha256(self._stored(frame)).digest() != frame.sha256:
                    return Unsound("frame_changed", "The bytes of a frame were changed.", frame.first)
                events = self._frame(number, True)
            except RecordingDamaged as error:
                return Unsound(error.code, str(error), frame.first)
            for place, event in enumerate(events, start=frame.first):
                chain = sha256(chain + event.hash).digest()
                if not event.is_intact:
                    suspect.append(place)
            if chain != frame.chain:
                return Unsound("event_changed", "An event of a frame was changed.", frame.first)
        problem = self._seal_problem(chain, keys)
        return problem or Sound(self.events, chain, str(self.manifest.get("key", "")), tuple(suspect))

    def _seal_problem(self, chain: bytes, keys: Mapping[str, bytes]) -> Unsound | None:
        content = sha256()
        for at in range(0, self._manifest_at, _PIECE):
            content.update(self._read(at, min(_PIECE, self._manifest_at - at)))
        for name, value in (("chain", chain.hex()), ("content_sha256", content.hexdigest()), ("events", self.events)):
            if self.manifest.get(name) != value:
                return Unsound("manifest_changed", f"The manifest's {name} is not that of the recording.")
        key_id = str(self.manifest.get("key"))
        public_key = keys.get(key_id)
        if public_key is None:
            return Unsound("unknown_key", "The recording is signed with a key that is not trusted.")
        try:
            signature = base64.b64decode(str(self.manifest.get("signature")), validate=True)
            signed = DOMAIN + seal_of(self._header, content.digest(), chain, self.events)
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
        except (InvalidSignature, ValueError):
            return Unsound("bad_signature", "The signature is not that of the key.")
        # What the signature does not cover follows from what it does, so that not one byte can be another.
        given = Signature(key_id, public_key, signature)
        text = self._read(self._manifest_at, self._size - _TRAILER.size - self._manifest_at)
        if text != _manifest(content.digest(), chain, self.events, len(self.frames), given):
            return Unsound("manifest_changed", "The manifest is not the one that was written.")
        return None

    def _frame(self, number: int, has_messages: bool) -> list[Recorded]:
        kept = self._kept
        if kept is not None and kept[0] == number and kept[1] == has_messages:
            return kept[2]
        frame = self.frames[number]
        length = _FRAME_HEAD.size + frame.head_length
        stored = self._stored(frame) if has_messages else self._read(frame.offset, length)
        events = _frame_events(stored, self._cipher, self._header, number, has_messages)
        if len(events) != frame.events:
            raise RecordingDamaged("bad_frame", "A frame does not have the events that the index says.")
        self._kept = (number, has_messages, events)
        return events

    def _stored(self, frame: Frame) -> bytes:
        return self._read(frame.offset, _FRAME_HEAD.size + frame.head_length + frame.message_length)

    def _indexed(self, stored: bytes) -> tuple[list[Frame], Calls]:
        cursor = Cursor(_unpacked(stored, self._cipher, self._header, _INDEX, 0))
        frame_count, call_count = cursor.number(4), cursor.number(4)
        frames = [Frame(*_FRAME_INDEX.unpack(piece)) for piece in cursor.pieces(frame_count, _FRAME_INDEX.size)]
        prefixes = cursor.take(_PREFIX_BYTES * call_count)
        firsts = cursor.column("I", call_count)
        counts = cursor.column("I", call_count)
        numbers = cursor.column("I", sum(counts))
        cursor.end()
        at, first = self._body_at, 0
        for frame in frames:
            if frame.offset != at or frame.first != first or not 0 < frame.events <= MAX_FRAME_EVENTS:
                raise RecordingDamaged("bad_index", "The index does not fit the frames.")
            at += _FRAME_HEAD.size + frame.head_length + frame.message_length
            first += frame.events
        if at != self._index_at or max(numbers, default=-1) >= frame_count:
            raise RecordingDamaged("bad_index", "The index does not fit the frames.")
        return frames, Calls(prefixes, firsts, counts, numbers)

    def _read(self, offset: int, length: int) -> bytes:
        return _exactly(self._source, offset, length)


def seal_of(header: bytes, content: bytes, chain: bytes, events: int) -> bytes:
    """Return what, behind `DOMAIN`, the signature of a recording is over: three digests and the number of events."""
    return _SEAL.pack(header, content, chain, events)


def _manifest(content: bytes, chain: bytes, events: int, frames: int, signature: Signature) -> bytes:
    members = {
        "algorithm": "Ed25519",
        "chain": chain.hex(),
        "content_sha256": content.hex(),
        "events": events,
        "frames": frames,
        "key": signature.key_id,
        "public_key": base64.b64encode(signature.public_key).decode(),
        "signature": base64.b64encode(signature.value).decode(),
    }
    return json.dumps(members, separators=(",", ":"), sort_keys=True).encode()


def salvage(source: Source, *, key: bytes | None = None) -> Iterator[Recorded]:
    """Return the events of a recording whose end is missing or damaged, up to the first frame that cannot be read.

    Nothing of what it returns is proved.

    Raises:
        RecordingDamaged: not even the header can be read.
    """
    header, header_digest, at = _header(source)
    cipher = _cipher(header, key)
    number = 0
    while True:
        try:
            mark, head_length, message_length, _ = _FRAME_HEAD.unpack(_exactly(source, at, _FRAME_HEAD.size))
            if mark != _FRAME_MARK:
                return
            length = _FRAME_HEAD.size + head_length + message_length
            events = _frame_events(_exactly(source, at, length), cipher, header_digest, number, True)
        except RecordingDamaged:
            return
        yield from events
        at, number = at + length, number + 1


def _frame_events(
    stored: bytes, cipher: AESGCM | None, header: bytes, number: int, has_messages: bool
) -> list[Recorded]:
    mark, head_length, message_length, count = _FRAME_HEAD.unpack(stored[: _FRAME_HEAD.size])
    head_end = _FRAME_HEAD.size + head_length
    if mark != _FRAME_MARK or (has_messages and len(stored) != head_end + message_length) or head_end > len(stored):
        raise RecordingDamaged("bad_frame", "A frame does not begin as frames do.")
    head = _unpacked(stored[_FRAME_HEAD.size : head_end], cipher, header, _HEAD_SECTION, number)
    messages = _unpacked(stored[head_end:], cipher, header, _MESSAGE_SECTION, number) if has_messages else None
    events = decode(head, messages)
    if len(events) != count:
        raise RecordingDamaged("bad_frame", "A frame does not have the events that it says.")
    return events


def _header(source: Source) -> tuple[Header, bytes, int]:
    """Return the header, its digest, and where the frames begin."""
    if _exactly(source, 0, len(MAGIC)) != MAGIC:
        raise RecordingDamaged("no_recording", "This is no recording.")
    length = int.from_bytes(_exactly(source, len(MAGIC), 4), "big")
    if length > MAX_TEXT_BYTES:
        raise RecordingDamaged("bad_header", "The header is too long.")
    at = len(MAGIC) + 4
    text = _exactly(source, at, length)
    members = _json(text)
    if members.get("version") != VERSION:
        raise RecordingDamaged("unknown_version", "The recording has a version that this program does not know.")
    kinds: Sequence[tuple[str, type]] = (
        ("recording", str),
        ("session", str),
        ("part", int),
        ("created_at_us", int),
        ("encryption", str),
        ("about", dict),
    )
    if any(type(members.get(name)) is not kind for name, kind in kinds):
        raise RecordingDamaged("bad_header", "The header lacks something.")
    header = Header(**{name: members[name] for name, _ in kinds})
    return header, sha256(text).digest(), at + length


def _cipher(header: Header, key: bytes | None) -> AESGCM | None:
    if not header.encryption:
        return None
    if header.encryption != ENCRYPTION:
        raise RecordingDamaged("unknown_encryption", "The recording is encrypted in a way that is not known.")
    if key is None:
        raise RecordingDamaged("no_key", "The recording is encrypted, and its key is not there.")
    return AESGCM(key)


def _unpacked(stored: bytes, cipher: AESGCM | None, header: bytes, kind: int, place: int) -> bytes:
    """Return a section as it was before compression and encryption."""
    if cipher is not None:
        try:
            stored = cipher.decrypt(_NONCE.pack(kind, place), stored, header)
        except (InvalidTag, ValueError):
            raise RecordingDamaged("cannot_decrypt", "A part of the recording does not open with its key.") from None
    try:
        # A frame that does not say its size, or too much, is not unpacked: what it says is what gets allocated.
        size = zstandard.frame_content_size(stored)
        if not 0 <= size <= MAX_SECTION_BYTES:
            raise RecordingDamaged("too_large", "A part of the recording is larger than any could be.")
        section = zstandard.ZstdDecompressor().decompress(stored, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        raise RecordingDamaged("bad_compression", "A part of the recording cannot be unpacked.") from None
    return section


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise RecordingDamaged("bad_json", "Header or manifest of the recording cannot be read.") from None
    if not isinstance(found, dict):
        raise RecordingDamaged("bad_json", "Header or manifest of the recording cannot be read.")
    return found


def _exactly(source: Source, offset: int, length: int) -> bytes:
    if offset < 0 or length < 0 or offset + length > source.size:
        raise RecordingDamaged("cut_off", "The recording is cut off.")
    data = source.read(offset, length)
    if len(data) != length:
        raise RecordingDamaged("cut_off", "The recording is cut off.")
    return data
