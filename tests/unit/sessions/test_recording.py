"""The file of a recording: whatever is written is read back, and whatever is changed is found."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions import chain, recording
from sessions.recording import Header, Recording, RecordingDamaged, Signature, Sound, Unsound, Writer
from sessions.recording_frames import Recorded, decode, encode

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
TRUSTED = {"k1": PUBLIC}
DATA_KEY = bytes(range(1, 33))
SESSION = b"s" * 16
INSTANCES = (b"i" * 16, b"j" * 16)


class Bytes:
    """A recording in memory that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.was_read = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self.was_read += length
        return self.data[offset : offset + length]


def sign(message: bytes) -> Signature:
    return Signature("k1", PUBLIC, KEY.sign(recording.DOMAIN + message))


def header(**values: Any) -> Header:
    return Header(**{"recording": "r", "session": "s", "part": 1, "created_at_us": 1, **values})


def written(events: list[Recorded], *, key: bytes | None = None, about: dict[str, Any] | None = None) -> bytes:
    parts: list[bytes] = []
    encryption = recording.ENCRYPTION if key else ""
    writer = Writer(parts.append, header(encryption=encryption, about=about or {}), key=key)
    for event in events:
        writer.add(event)
    summary = writer.finish(sign)
    data = b"".join(parts)
    assert summary.size == len(data)
    assert summary.events == len(events)
    return data


def chained(entries: list[tuple[int, bytes, str, bytes, bytes | None]]) -> list[Recorded]:
    """Return events of two processes, each with a chain of its own, from (process, call, name, body, message)."""
    heads = dict.fromkeys(INSTANCES, (chain.GENESIS, 0))
    events = []
    for place, (process, call, name, body, payload) in enumerate(entries):
        instance = INSTANCES[process]
        prev_hash, seq = heads[instance]
        entry = chain.Entry(seq + 1, 1_000_000 + place * 7, SESSION, call, name, body, payload)
        own = chain.link(instance, prev_hash, entry)
        heads[instance] = (own, seq + 1)
        events.append(Recorded(100 + place, instance, entry, prev_hash, own))
    return events


def plain(count: int, *, calls: int = 0) -> list[Recorded]:
    """Return `count` events of `calls` calls, one call after the other; each event has a message of its own."""
    per_call = max(1, count // (calls or count or 1))
    return chained(
        [
            (
                0,
                sha256(b"%d" % (place // per_call)).digest()[:16],
                "gateway:call:intent",
                b'{"n":%d}' % place,
                b"message %d" % place,
            )
            for place in range(count)
        ]
    )


ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([chain.NOTHING, b"a" * 16, b"b" * 16, b"a" * 15 + b"c"]),
        st.text(max_size=30).filter(lambda text: len(text.encode("utf-8", "surrogatepass")) < 60000),
        st.binary(max_size=200),
        st.none() | st.binary(max_size=300),
    ).filter(lambda entry: not any("\ud800" <= letter <= "\udfff" for letter in entry[2])),
    max_size=40,
)


@given(entries=ENTRIES, is_encrypted=st.booleans(), frame=st.integers(1, 9))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_is_read_back(
    entries: list[Any], is_encrypted: bool, frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FRAME_EVENTS", frame)
    events = chained(entries)
    key = DATA_KEY if is_encrypted else None
    data = written(events, key=key, about={"who": "ada"})
    found = Recording(Bytes(data), key=key)
    assert list(found.entries()) == events
    assert found.header.about == {"who": "ada"}
    assert isinstance(found.verify(TRUSTED), Sound)
    assert list(recording.salvage(Bytes(data), key=key)) == events
    bare = [event.entry._replace(payload=None) for event in events]
    sizes = [event.payload_bytes for event in events]
    assert [event.payload_bytes for event in found.entries(has_messages=False)] == sizes
    assert [event.entry for event in found.entries(has_messages=False)] == bare
    for call in {event.entry.call for event in events} - {chain.NOTHING}:
        assert found.call(call) == [event for event in events if event.entry.call == call]


def test_a_range_of_events_is_read_from_its_frames_alone() -> None:
    events = plain(5000, calls=2500)
    source = Bytes(written(events))
    found = Recording(source)
    source.was_read = 0
    assert list(found.entries(1700, 1710)) == events[1700:1710]
    assert source.was_read <= 2 * max(frame.head_length + frame.message_length + 16 for frame in found.frames)


def test_one_call_is_read_without_reading_the_rest() -> None:
    events = plain(5000, calls=2500)
    source = Bytes(written(events))
    found = Recording(source)
    wanted = events[3000].entry.call
    source.was_read = 0
    assert [event.id for event in found.call(wanted)] == [3100, 3101]
    assert source.was_read < source.size / 8
    assert found.call(b"x" * 16) == []


def test_a_call_is_found_by_its_whole_id_alone() -> None:
    ids = [b"\1" * 16, b"\1" * 8 + b"\2" * 8, b"\2" * 8 + b"\1" * 8, b"\0" + b"\1" * 15]
    events = chained([(0, call, "a:b:c", b"{}", b"%d" % place) for place, call in enumerate(ids * 2)])
    found = Recording(Bytes(written(events)))
    assert len(found.calls) == 4
    assert [found.calls[place] for place in range(4)] == list(found.calls)
    for place, call in enumerate(ids):
        assert [event.id for event in found.call(call)] == [100 + place, 104 + place]
    assert found.call(b"\1" * 8) == []
    with pytest.raises(IndexError):
        found.calls[4]


def test_calls_are_listed_in_the_order_in_which_they_began() -> None:
    events = plain(1200, calls=600)
    found = Recording(Bytes(written(events)))
    assert [call.first for call in found.calls] == list(range(0, 1200, 2))
    assert [call.prefix for call in found.calls] == [event.entry.call[:8] for event in events[::2]]


def test_an_event_that_was_changed_before_it_was_sealed_is_kept_and_named() -> None:
    events = plain(1000)
    changed = events[700]
    events[700] = changed._replace(entry=changed.entry._replace(body=b"{}"))
    found = Recording(Bytes(written(events)))
    assert list(found.entries()) == events
    verdict = found.verify(TRUSTED)
    assert isinstance(verdict, Sound)
    assert verdict.suspect == (700,)


def test_every_changed_byte_is_found() -> None:
    data = written(plain(40, calls=10))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        assert not is_sound(bytes(damaged)), place


def test_every_length_to_which_it_is_cut_is_found_and_what_is_left_can_be_salvaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording, "FRAME_EVENTS", 8)
    events = plain(40)
    data = written(events)
    frames = Recording(Bytes(data)).frames
    for length in range(len(data)):
        assert not is_sound(data[:length])
        whole = sum(frame.events for frame in frames if frame.offset + _length(frame) <= length)
        if length >= frames[0].offset:
            assert list(recording.salvage(Bytes(data[:length]))) == events[:whole]


def test_a_change_is_located_at_its_frame() -> None:
    data = written(plain(2000))
    frame = Recording(Bytes(data)).frames[2]
    damaged = bytearray(data)
    damaged[frame.offset + 40] ^= 1
    verdict = Recording(Bytes(bytes(damaged))).verify(TRUSTED)
    assert isinstance(verdict, Unsound)
    assert (verdict.code, verdict.event) == ("frame_changed", frame.first)


def test_a_recording_that_somebody_else_signed_is_not_believed() -> None:
    data = written(plain(3))
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert _code(data, {"k1": other}) == "bad_signature"
    assert _code(data, {}) == "unknown_key"


def test_a_recording_that_was_written_anew_without_one_event_has_another_seal() -> None:
    events = plain(100)
    whole, shorter = Recording(Bytes(written(events))), Recording(Bytes(written(events[:50] + events[51:])))
    assert whole.manifest["chain"] != shorter.manifest["chain"]


def test_an_encrypted_recording_shows_nothing_and_opens_with_its_key_alone() -> None:
    events = plain(50)
    data = written(events, key=DATA_KEY)
    assert b"message 7" not in data
    with pytest.raises(RecordingDamaged) as missing:
        Recording(Bytes(data))
    assert missing.value.code == "no_key"
    with pytest.raises(RecordingDamaged) as wrong:
        Recording(Bytes(data), key=bytes(32))
    assert wrong.value.code == "cannot_decrypt"


def test_frames_of_an_encrypted_recording_cannot_change_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FRAME_EVENTS", 1)
    events = [event._replace(entry=event.entry._replace(payload=b"x" * 40)) for event in plain(2)]
    data = written(events, key=DATA_KEY)
    first, second = Recording(Bytes(data), key=DATA_KEY).frames
    one = data[first.offset : first.offset + _length(first)]
    two = data[second.offset : second.offset + _length(second)]
    if len(one) == len(two):
        swapped = data.replace(one + two, two + one)
        with pytest.raises(RecordingDamaged):
            list(Recording(Bytes(swapped), key=DATA_KEY).entries())


def test_a_section_that_claims_to_be_huge_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(recording.MAX_SECTION_BYTES + 1))
    data = written(plain(3))
    found = Recording(Bytes(data))
    frame = found.frames[0]
    head = struct.pack(">4sIII", b"FRME", len(bomb), 0, 3)
    forged = data[: frame.offset] + head + bomb
    assert list(recording.salvage(Bytes(forged))) == []


@given(data=st.binary(max_size=400), head=st.sampled_from([b"", recording.MAGIC]))
@settings(deadline=None)
def test_no_bytes_crash_the_reader(data: bytes, head: bytes) -> None:
    survive(head + data)


@given(head=st.binary(max_size=300), messages=st.none() | st.binary(max_size=50))
@settings(deadline=None)
def test_no_frame_crashes_the_reader(head: bytes, messages: bytes | None) -> None:
    with pytest.raises(RecordingDamaged):
        decode(head, messages)


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=150)
def test_no_mutation_of_a_frame_crashes_the_reader(seed: int) -> None:
    head, messages = encode(plain(12, calls=4))
    mutated = mutate(head, random.Random(seed))
    try:
        decode(mutated, messages)
    except RecordingDamaged:
        pass


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=150)
def test_no_mutation_of_a_recording_crashes_the_reader_or_passes_for_sound(seed: int) -> None:
    data = written(plain(30, calls=10))
    mutated = mutate(data, random.Random(seed))
    if mutated != data:
        assert not is_sound(mutated)
        survive(mutated)


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Return `data` after up to four of: a bit flipped, a byte put in, a piece taken out, doubled or set to 0xFF."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at, length = dice.randrange(len(changed)), dice.randint(1, 40)
        steps: list[Callable[[], Any]] = [
            lambda at=at: changed.__setitem__(at, changed[at] ^ (1 << dice.randrange(8))),
            lambda at=at: changed.insert(at, dice.randrange(256)),
            lambda at=at, length=length: changed.__delitem__(slice(at, at + length)),
            lambda at=at, length=length: changed.__setitem__(slice(at, at), changed[at : at + length]),
            lambda at=at: changed.__setitem__(slice(at, at + 4), b"\xff" * 4),
        ]
        dice.choice(steps)()
        if not changed:
            return b""
    return bytes(changed)


def survive(data: bytes) -> None:
    """Do everything that a reader can do; only `RecordingDamaged` may come of it."""
    for attempt in (
        lambda: list(recording.salvage(Bytes(data))),
        lambda: list(Recording(Bytes(data)).entries()),
        lambda: [Recording(Bytes(data)).call(call.prefix * 2) for call in list(Recording(Bytes(data)).calls)[:5]],
        lambda: Recording(Bytes(data)).verify(TRUSTED),
    ):
        try:
            attempt()
        except RecordingDamaged:
            pass


def is_sound(data: bytes) -> bool:
    try:
        return isinstance(Recording(Bytes(data)).verify(TRUSTED), Sound)
    except RecordingDamaged:
        return False


def _length(frame: recording.Frame) -> int:
    return 16 + frame.head_length + frame.message_length


def _code(data: bytes, keys: dict[str, bytes]) -> str:
    verdict = Recording(Bytes(data)).verify(keys)
    assert isinstance(verdict, Unsound)
    return verdict.code
