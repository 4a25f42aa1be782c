"""PURE: events as the parameters of the insert, in PostgreSQL's binary format.

Built by hand because a batch is written thousands of times a second: an adapter for each value costs three times the
whole statement (bench/steps/record.py).
"""

from __future__ import annotations

import struct

from psycopg import pq

from sessions import chain

_EPOCH_2000_US = 946_684_800_000_000
INSERT = b"""
INSERT INTO gateway_sessions_event
    (instance_id, seq, at, session_id, call_id, name, body, payload, prev_hash, hash)
SELECT $1::uuid, * FROM unnest(
    $2::bigint[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
    $8::bytea[], $9::bytea[], $10::bytea[])
"""
INSERT_ONE = b"""
INSERT INTO gateway_sessions_event
    (instance_id, seq, at, session_id, call_id, name, body, payload, prev_hash, hash)
VALUES ($1::uuid, $2::bigint, $3::timestamptz, $4::uuid, $5::uuid, $6::text, $7::text, $8::bytea, $9::bytea, $10::bytea)
"""
INSERT_CLAIM = (
    b"WITH consumed AS (UPDATE policies_approvaluse SET consumed_at = clock_timestamp() "
    b"WHERE id = ANY($11::uuid[]) AND consumed_at IS NULL) " + INSERT.strip()
)
"""The same, and the uses of approvals are consumed by it: an intent and its use are durable together or not at all."""
_OID_BYTEA, _OID_INT8, _OID_TEXT, _OID_TIMESTAMPTZ, _OID_UUID = 17, 20, 25, 1184, 2950
_ARRAY_HEAD = struct.Struct(">iiIii")
_LENGTH_INT8 = struct.Struct(">iq")
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)
_SIXTEEN = _LENGTH.pack(16)
_THIRTY_TWO = _LENGTH.pack(32)
FORMATS = [pq.Format.BINARY] * 10
FORMATS_CLAIM = [pq.Format.BINARY] * 11


_INT8 = struct.Struct(">q")


def row(instance: bytes, entry: chain.Entry, prev_hash: bytes, own_hash: bytes) -> list[bytes | None]:
    """Return the ten binary parameters of the insert of one event."""
    return [
        instance,
        _INT8.pack(entry.seq),
        _INT8.pack(entry.at_us - _EPOCH_2000_US),
        None if entry.session == chain.NOTHING else entry.session,
        None if entry.call == chain.NOTHING else entry.call,
        entry.name.encode(),
        entry.body,
        entry.payload,
        prev_hash,
        own_hash,
    ]


def parameters(instance: bytes, batch: list[tuple[chain.Entry, bytes, bytes]]) -> list[bytes]:
    """Return the ten binary parameters of the insert; arrays in PostgreSQL's binary format."""
    seqs: list[bytes] = []
    times: list[bytes] = []
    sessions: list[bytes] = []
    calls: list[bytes] = []
    names: list[bytes] = []
    bodies: list[bytes] = []
    payloads: list[bytes] = []
    previous: list[bytes] = []
    hashes: list[bytes] = []
    length, numbered = _LENGTH.pack, _LENGTH_INT8.pack
    for (seq, at_us, session, call, name, body, payload), prev_hash, own_hash in batch:
        encoded = name.encode()
        seqs.append(numbered(8, seq))
        times.append(numbered(8, at_us - _EPOCH_2000_US))
        sessions.append(_NULL if session == chain.NOTHING else _SIXTEEN + session)
        calls.append(_NULL if call == chain.NOTHING else _SIXTEEN + call)
        names += (length(len(encoded)), encoded)
        bodies += (length(len(body)), body)
        if payload is None:
            payloads.append(_NULL)
        else:
            payloads += (length(len(payload)), payload)
        previous += (_THIRTY_TWO, prev_hash)
        hashes += (_THIRTY_TWO, own_hash)
    count = len(batch)
    columns = (
        (_OID_INT8, seqs),
        (_OID_TIMESTAMPTZ, times),
        (_OID_UUID, sessions),
        (_OID_UUID, calls),
        (_OID_TEXT, names),
        (_OID_TEXT, bodies),
        (_OID_BYTEA, payloads),
        (_OID_BYTEA, previous),
        (_OID_BYTEA, hashes),
    )
    return [instance, *(b"".join((_ARRAY_HEAD.pack(1, 1, oid, count, 1), *parts)) for oid, parts in columns)]


def uuids(values: list[bytes]) -> bytes:
    """Return UUIDs of 16 bytes each as a binary array."""
    parts = [_SIXTEEN + value for value in values]
    return b"".join((_ARRAY_HEAD.pack(1, 1, _OID_UUID, len(parts), 1), *parts))
