#!/usr/bin/env python3
"""wardgate-verify: prove that a record of Wardgate is as it was written, or name what is not.

    wardgate-verify record.jsonl                     the whole record, a range of it, or the record of a session
    wardgate-verify --witness copies.jsonl record.jsonl
    wardgate-verify --trust KID record.jsonl
    wardgate-verify --keys copies.jsonl session.wgr  a sealed recording

One file that needs Python 3.9 or newer and the package `cryptography`, and nothing of Wardgate. What it reads is
described in docs/record.md; `manage.py record_export` and deploy/record_export.sql make it. A file may be gzip; `-` is
standard input.

`--witness` names copies of checkpoints that left the gateway's machine (the files, objects or messages of a sink). Only
they can show that everything was put back to an older state. `--trust` names the key that you know to be the record's;
keys that it vouches for, directly or through others, are trusted with it.

Exit code: 0 when everything holds, 1 when something does not, 2 when nothing could be checked.
"""

import argparse
import base64
import binascii
import gzip
import json
import re
import struct
import sys
import time
from array import array
from hashlib import sha256

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("wardgate-verify needs the Python package `cryptography`: pip install cryptography")

VERSION = 1
GENESIS = bytes(32)
NOTHING = bytes(16)
MARGIN_SECONDS = 900
MOST_PROBLEMS = 20
PROGRESS_EVENTS = 100_000
RECORDING_MAGIC = b"\x89WGR\r\n\x1a\n"

_EVENT = re.compile(rb'\s*\{\s*"type"\s*:\s*"event"')
_EVENT_DOMAIN = b"wardgate.event.v1\0"
_EVENT_HEAD = struct.Struct(">16s32sQq16s16sHII")
_NO_PAYLOAD = 0xFFFFFFFF
_LEAF = struct.Struct(">c16sQ32s")
RECORDING_END = b"WGREND\r\n"
_RECORDING_END = struct.Struct(">II8s")
_RECORDING_FRAME = struct.Struct(">4sIII")
_SEAL = struct.Struct(">32s32s32sQ")


class Unreadable(Exception):
    """The file is not what it should be, and nothing can be said about the record."""


class Problem:
    """Something that does not hold: where, and why in a sentence."""

    def __init__(self, kind, text, **where):
        self.kind, self.text, self.where = kind, text, where

    def __str__(self):
        return f"{self.kind}: {self.text}"

    def as_dict(self):
        return {"kind": self.kind, "text": self.text, **self.where}


class Report:
    """What was found; keeps the first problems and counts the others."""

    def __init__(self, most=MOST_PROBLEMS):
        self.most, self.problems, self.count = most, [], 0
        self.events = self.checkpoints = self.releases = self.uncovered = 0
        self.notes = []

    def problem(self, kind, text, **where):
        self.count += 1
        if len(self.problems) < self.most:
            self.problems.append(Problem(kind, text, **where))

    @property
    def holds(self):
        return self.count == 0


def signed_bytes(purpose, body):
    return b"wardgate." + purpose.encode() + b".v1\0" + body


def kid_of(public):
    return sha256(public).hexdigest()[:32]


def is_signed(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Keys:
    """Public keys by name, and which of them are trusted."""

    def __init__(self, trusted=()):
        self.public, self.trusted, self.endorsed_by = {}, set(trusted), {}

    def add(self, members, report, trusted=False):
        try:
            public = base64.b64decode(members["public_key"])
            kid, by = members["kid"], members.get("endorsed_by") or ""
            endorsement = base64.b64decode(members.get("endorsement") or "")
        except (KeyError, TypeError, ValueError):
            report.problem("key", "a key cannot be read")
            return
        if kid != kid_of(public):
            report.problem("key", f"key {kid} is not the one of that name", key=kid)
            return
        if kid in self.public and self.public[kid] != public:
            report.problem("key", f"there are two keys {kid}", key=kid)
            return
        self.public[kid] = public
        if by:
            self.endorsed_by.setdefault(kid, (by, endorsement))
        if trusted:
            self.trusted.add(kid)

    def is_trusted(self, kid):
        """Tell whether a key is trusted, or vouched for by one that is."""
        seen = set()
        while kid not in self.trusted:
            by, endorsement = self.endorsed_by.get(kid, ("", b""))
            if kid in seen or by not in self.public or kid not in self.public:
                return False
            if not is_signed(self.public[by], endorsement, signed_bytes("key", self.public[kid])):
                return False
            seen.add(kid)
            kid = by
        return True


class Tree:
    """The Merkle tree over the heads of all chains (RFC 9162, section 2.1), one leaf at a time."""

    def __init__(self):
        self.levels = [[]]

    def __len__(self):
        return len(self.levels[0])

    def root(self):
        return self.levels[-1][0] if self.levels[0] else sha256(b"").digest()

    def put(self, leaf, instance, seq, digest):
        if not 0 <= leaf <= len(self):
            raise IndexError
        value, depth = sha256(_LEAF.pack(b"\0", instance, seq, digest)).digest(), 0
        while True:
            nodes = self.levels[depth]
            if leaf < len(nodes):
                nodes[leaf] = value
            else:
                nodes.append(value)
            if len(nodes) == 1:
                return
            if depth + 1 == len(self.levels):
                self.levels.append([self._node(nodes, 0)] if leaf // 2 > 0 else [])
            leaf //= 2
            value, depth = self._node(nodes, leaf), depth + 1

    @staticmethod
    def _node(below, place):
        pair = below[2 * place : 2 * place + 2]
        return pair[0] if len(pair) == 1 else sha256(b"\x01" + pair[0] + pair[1]).digest()


class Claims:
    """What checkpoints say about one chain: at these numbers it had these hashes. Compact, ascending."""

    def __init__(self):
        self.seqs, self.numbers, self.hashes, self.place = array("q"), array("q"), bytearray(), 0

    def add(self, seq, digest, number):
        self.seqs.append(seq)
        self.numbers.append(number)
        self.hashes += digest

    def last(self):
        return self.seqs[-1] if self.seqs else 0

    def hash_at(self, place):
        return bytes(self.hashes[32 * place : 32 * place + 32])


class Chain:
    """One chain of events while it is read: what comes next, and what was proved last."""

    __slots__ = ("claims", "instance", "prev", "proved", "seq", "uncovered_at_us")

    def __init__(self, instance, claims):
        self.instance, self.claims = instance, claims
        self.seq, self.prev, self.proved, self.uncovered_at_us = 1, GENESIS, 0, None


class Verifier:
    """Checks lines in their order; everything about keys, checkpoints and releases comes before the first event."""

    def __init__(self, report, trusted=(), margin_seconds=MARGIN_SECONDS):
        self.report, self.keys = report, Keys(trusted)
        self.margin_us = margin_seconds * 1_000_000
        self.head = None
        self.is_part = False
        self.checkpoints = {}
        self.first_checkpoint = self.last_checkpoint = 0
        self.last_hash, self.last_at_us = GENESIS, 0
        self.tree, self.heads, self.covered = Tree(), {}, 0
        self.has_whole_tree = True
        self.used_kids = []
        self.release_hashes, self.released = [GENESIS], {}
        self.stated_releases = (0, GENESIS)
        self.claims, self.chains = {}, {}
        self.witnesses = {}
        self.ended = None

    # -- the lines before the events ----------------------------------------------------------------------------

    def header(self, members):
        if members.get("type") != "wardgate-record" or members.get("v") != VERSION:
            raise Unreadable("The file does not begin as an export of a record, or is of a newer version.")
        self.head = members
        self.is_part = members.get("scope") != "all"

    def key(self, members):
        self.keys.add(members, self.report)

    def checkpoint(self, members):
        report = self.report
        statement = self._statement("checkpoint", members, self.last_checkpoint + 1 if self.last_checkpoint else None)
        if statement is None:
            return
        number, body, digest = statement
        if not self.first_checkpoint:
            self.first_checkpoint = number
            self.has_whole_tree = number == 1
            if number != 1 and not self.is_part:
                report.problem("checkpoint", f"the first checkpoint is number {number} and not 1", checkpoint=number)
        elif body["prev"] != self.last_hash.hex():
            report.problem("checkpoint", f"checkpoint {number} does not follow from the one before", checkpoint=number)
        if body["at_us"] < self.last_at_us:
            report.notes.append(f"checkpoint {number} is older than the one before: the clock went back")
        self._one_key_after_the_other(number, members["kid"])
        self._take_heads(number, body)
        self._take_stated_releases(number, body)
        report.checkpoints += 1
        self.checkpoints[number] = digest
        self.last_checkpoint, self.last_hash, self.last_at_us = number, digest, body["at_us"]

    def release(self, members):
        report = self.report
        statement = self._statement("release", members, len(self.release_hashes))
        if statement is None:
            return
        number, body, digest = statement
        if body["prev"] != self.release_hashes[-1].hex():
            report.problem("release", f"release {number} does not follow from the one before", release=number)
        self.release_hashes.append(digest)
        report.releases += 1
        for instance, first, last, before, after in body["chains"]:
            self.released.setdefault(bytes.fromhex(instance), []).append(
                (first, last, bytes.fromhex(before), bytes.fromhex(after))
            )

    def witness(self, members):
        """Take over a copy of a checkpoint that left the machine; its key is trusted, for it comes from there."""
        key = members.get("key")
        if isinstance(key, dict):
            self.keys.add(key, self.report, trusted=True)
        try:
            number, body, kid = members["number"], members["body"].encode(), members["kid"]
            signature = base64.b64decode(members["signature"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return
        public = self.keys.public.get(kid)
        if public is None or not is_signed(public, signature, signed_bytes("checkpoint", body)):
            self.report.problem("witness", f"the copy of checkpoint {number} is not signed", checkpoint=number)
            return
        self.witnesses[number] = (sha256(signed_bytes("checkpoint", body)).digest(), body)

    def _statement(self, kind, members, expected):
        """Return number, body and hash of a statement that is signed as it says, None when it says nothing."""
        report = self.report
        try:
            number, raw, kid = members["number"], members["body"].encode(), members["kid"]
            signature = base64.b64decode(members["signature"])
            body = json.loads(raw)
            is_itself = body["number"] == number and body["key"] == kid and body["v"] == VERSION
        except (KeyError, TypeError, ValueError, AttributeError):
            report.problem(kind, f"a {kind} cannot be read")
            return None
        where = {kind: number}
        if expected is not None and number != expected:
            missing = f"{kind} {expected} is missing" if number > expected else f"{kind} {number} comes twice"
            report.problem(kind, missing, **{kind: expected})
        if not is_itself:
            report.problem(kind, f"{kind} {number} does not say what its line says", **where)
        public = self.keys.public.get(kid)
        if public is None:
            report.problem(kind, f"{kind} {number} is signed by a key that is not there", **where)
        elif not is_signed(public, signature, signed_bytes(kind, raw)):
            report.problem(kind, f"{kind} {number} was changed: its signature does not fit", **where)
            return None
        return number, body, sha256(signed_bytes(kind, raw)).digest()

    def _one_key_after_the_other(self, number, kid):
        if self.used_kids and self.used_kids[-1] == kid:
            return
        if kid in self.used_kids:
            self.report.problem(
                "checkpoint", f"checkpoint {number} is signed by a key that had been replaced", checkpoint=number
            )
            return
        self.used_kids.append(kid)

    def _take_heads(self, number, body):
        report = self.report
        try:
            for written, leaf, seq, digest in body["heads"]:
                instance, head = bytes.fromhex(written), bytes.fromhex(digest)
                known_leaf, known_seq = self.heads.get(instance, (None, 0))
                if seq <= known_seq or (known_leaf is not None and known_leaf != leaf):
                    report.problem(
                        "checkpoint", f"checkpoint {number} takes back what one before said", checkpoint=number
                    )
                self.heads[instance] = (leaf, seq)
                self.covered += seq - known_seq
                self.claims.setdefault(instance, Claims()).add(seq, head, number)
                if self.has_whole_tree:
                    self.tree.put(leaf, instance, seq, head)
            stated = (bytes.fromhex(body["root"]), body["leaves"], body["events"])
        except (KeyError, TypeError, ValueError, IndexError, struct.error):
            report.problem("checkpoint", f"the heads of checkpoint {number} cannot be read", checkpoint=number)
            return
        if self.has_whole_tree and stated != (self.tree.root(), len(self.tree), self.covered):
            report.problem("checkpoint", f"the root of checkpoint {number} does not fit its heads", checkpoint=number)

    def _take_stated_releases(self, number, body):
        count, digest = body["releases"][0], bytes.fromhex(body["releases"][1])
        if count < self.stated_releases[0]:
            self.report.problem(
                "checkpoint", f"checkpoint {number} knows fewer releases than before", checkpoint=number
            )
        self.stated_releases = (count, digest)

    def everything_but_events_is_there(self):
        """Compare with copies and releases, once all of them are known."""
        report = self.report
        count, digest = self.stated_releases
        known = self.release_hashes[count] if count < len(self.release_hashes) else None
        if known != digest and not (self.is_part and known is None):
            report.problem(
                "release", f"the checkpoints know {count} releases, and the record has others", release=count
            )
        self._compare_witnesses()
        if self.keys.trusted:
            for kid in self.used_kids:
                if not self.keys.is_trusted(kid):
                    report.problem("key", f"key {kid} is neither trusted nor vouched for", key=kid)
        elif self.used_kids:
            report.notes.append(
                f"no key was named as trusted: compare {self.used_kids[0]} with the one that you know, or use --trust"
            )

    def _compare_witnesses(self):
        report = self.report
        for number in sorted(self.witnesses):
            digest, body = self.witnesses[number]
            if number in self.checkpoints:
                if self.checkpoints[number] != digest:
                    report.problem(
                        "witness", f"checkpoint {number} is not the one that left the machine", checkpoint=number
                    )
            elif number > self.last_checkpoint and not self.is_part:
                report.problem(
                    "witness",
                    f"checkpoint {number} left the machine, and the record ends at {self.last_checkpoint}: "
                    "it was cut or put back to an older state",
                    checkpoint=number,
                )
                for written, _, seq, head in json.loads(body)["heads"]:
                    claims = self.claims.setdefault(bytes.fromhex(written), Claims())
                    if seq > claims.last():
                        claims.add(seq, bytes.fromhex(head), number)

    # -- events -------------------------------------------------------------------------------------------------

    def event(self, members):
        instance = bytes.fromhex(members["instance"])
        chain = self.chains.get(instance)
        if chain is None:
            chain = self.chains[instance] = Chain(instance, self.claims.get(instance, Claims()))
            self._begin(chain, members)
        seq, prev, stated = members["seq"], bytes.fromhex(members["prev"]), bytes.fromhex(members["hash"])
        session, call, payload = members["session"], members["call"], members["payload"]
        name, body = members["name"].encode(), members["body"].encode()
        content = None if payload is None else binascii.a2b_base64(payload)
        digest = sha256(_EVENT_DOMAIN)
        digest.update(
            _EVENT_HEAD.pack(
                instance,
                prev,
                seq,
                members["at_us"],
                NOTHING if session is None else bytes.fromhex(session),
                NOTHING if call is None else bytes.fromhex(call),
                len(name),
                len(body),
                _NO_PAYLOAD if content is None else len(content),
            )
        )
        digest.update(name)
        digest.update(body)
        if content is not None:
            digest.update(content)
        if seq != chain.seq or prev != chain.prev or digest.digest() != stated:
            self._misfit(chain, members, prev, digest.digest() == stated)
        claims = chain.claims
        if claims.place < len(claims.seqs) and seq >= claims.seqs[claims.place]:
            self._compare_claims(chain, seq, stated)
        elif claims.place == len(claims.seqs):
            self.report.uncovered += 1
            if chain.uncovered_at_us is None:
                chain.uncovered_at_us = (members["at_us"], seq)
        chain.seq, chain.prev = seq + 1, stated
        self.report.events += 1

    def _begin(self, chain, members):
        """Find where the chain may begin: at 1, after what was released, or anywhere in a part of the record."""
        for first, last, before, after in sorted(self.released.get(chain.instance, [])):
            if first == chain.seq and before == chain.prev:
                chain.seq, chain.prev, chain.proved = last + 1, after, last
        self._skip_released_claims(chain)
        if self.is_part and members["seq"] >= chain.seq:
            claims = chain.claims
            while claims.place < len(claims.seqs) and claims.seqs[claims.place] < members["seq"]:
                claims.place += 1
            place = claims.place - 1
            is_claimed = place >= 0 and claims.seqs[place] == members["seq"] - 1
            prev = claims.hash_at(place) if is_claimed else bytes.fromhex(members["prev"])
            chain.seq, chain.prev, chain.proved = members["seq"], prev, members["seq"] - 1

    @staticmethod
    def _skip_released_claims(chain):
        claims = chain.claims
        while claims.place < len(claims.seqs) and claims.seqs[claims.place] < chain.seq:
            claims.place += 1

    def _misfit(self, chain, members, prev, is_itself):
        seq = members["seq"]
        named = self._name(chain.instance, seq, members)
        if not is_itself:
            self._bad(chain.instance, seq, "changed", f"{named} was changed: it does not have the hash that it states")
        if seq > chain.seq:
            missing = f"{chain.seq}" if seq == chain.seq + 1 else f"{chain.seq} to {seq - 1}"
            self._bad(
                chain.instance,
                chain.seq,
                "missing",
                f"event {missing} of {_id(chain.instance)} is missing before {named}",
            )
        elif seq < chain.seq:
            self._bad(chain.instance, seq, "order", f"{named} comes twice or out of order")
        elif prev != chain.prev:
            self._bad(
                chain.instance,
                seq,
                "unlinked",
                f"{named} does not follow from the event before it: one of the two was replaced",
            )

    def _compare_claims(self, chain, seq, stated):
        claims = chain.claims
        while claims.place < len(claims.seqs) and claims.seqs[claims.place] <= seq:
            claimed, number = claims.seqs[claims.place], claims.numbers[claims.place]
            if claimed == seq and claims.hash_at(claims.place) != stated:
                self._bad(
                    chain.instance,
                    chain.proved + 1,
                    "rewritten",
                    f"events {chain.proved + 1} to {seq} of {_id(chain.instance)} are not those that checkpoint "
                    f"{number} covers: one of them was changed and the later ones were linked anew",
                    last=seq,
                    checkpoint=number,
                )
            chain.proved = claimed
            claims.place += 1

    def end(self, members):
        self.ended = members

    def finish(self):
        """Report what is missing at the ends of the chains."""
        report = self.report
        for instance, claims in self.claims.items():
            chain = self.chains.get(instance)
            if chain is None:
                chain = Chain(instance, claims)
                for first, last, before, after in sorted(self.released.get(instance, [])):
                    if first == chain.seq and before == chain.prev:
                        chain.seq, chain.prev = last + 1, after
                self._skip_released_claims(chain)
                if self.is_part:
                    continue
            if claims.place < len(claims.seqs):
                reached, number = claims.last(), claims.numbers[-1]
                if chain.seq <= reached and not self._ends_here(chain):
                    self._bad(
                        instance,
                        chain.seq,
                        "cut",
                        f"the chain {_id(instance)} ends before event {chain.seq}, and checkpoint {number} says that "
                        f"it had {reached}; up to event {chain.proved} everything is proved",
                        last=reached,
                        proved=chain.proved,
                        checkpoint=number,
                    )
        for chain in self.chains.values():
            if chain.uncovered_at_us and chain.uncovered_at_us[0] < self.last_at_us - self.margin_us:
                _, seq = chain.uncovered_at_us
                if not self.is_part:
                    self._bad(
                        chain.instance,
                        seq,
                        "uncovered",
                        f"events from {seq} of {_id(chain.instance)} are older than the last checkpoint, and no "
                        "checkpoint covers them: they were put in later",
                    )
        if self.ended is None:
            report.problem("export", "the export has no end: it was cut off, make it again")
        elif self.ended.get("events") != report.events or self.ended.get("checkpoints") != report.checkpoints:
            report.problem("export", "the export states another number of lines than it has: make it again")
        if not self.checkpoints:
            report.notes.append("there is no checkpoint: whoever could change everything at once would not be found")
        elif report.uncovered:
            report.notes.append(f"{report.uncovered} newest events are not covered by a checkpoint yet")

    def _ends_here(self, chain):
        """Tell whether a part of the record may end where the chain does."""
        if not self.is_part:
            return False
        ranges = self.head.get("chains") or {}
        stated = ranges.get(chain.instance.hex())
        return bool(stated) and chain.seq == stated[1] + 1

    def _bad(self, instance, seq, reason, text, **more):
        self.report.problem("event", text, instance=_id(instance), seq=seq, reason=reason, **more)

    @staticmethod
    def _name(instance, seq, members):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(members["at_us"] / 1e6))
        return f"event {seq} of {_id(instance)} ({members['name'][:64]!r} at {at} UTC)"


def _id(instance):
    """Return an id as it is usually written."""
    text = instance.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def verify_lines(lines, report, witnesses=(), trusted=(), margin_seconds=MARGIN_SECONDS, progress=None):
    """Check an export given as lines of bytes.

    Raises:
        Unreadable: it is no export, or a line of it is not what it should be.
    """
    verifier = Verifier(report, trusted, margin_seconds)
    for members in witnesses:
        verifier.witness(members)
    others = {
        "key": verifier.key,
        "checkpoint": verifier.checkpoint,
        "release": verifier.release,
        "instance": lambda members: None,
        "end": verifier.end,
    }
    is_event, loads, event = _EVENT.match, json.loads, verifier.event
    has_events = False
    number = 0
    for number, line in enumerate(lines, start=1):
        if has_events or is_event(line):
            if not has_events:
                if number == 1:
                    raise Unreadable("The file does not begin as an export of a record.")
                has_events = True
                verifier.everything_but_events_is_there()
            if is_event(line):
                try:
                    event(loads(line))
                except (KeyError, TypeError, ValueError, AttributeError, struct.error, OverflowError):
                    report.problem("event", f"line {number} is an event that cannot be read", line=number)
                if progress is not None and report.events % PROGRESS_EVENTS == 0:
                    progress(report.events)
                continue
        if not line.strip():
            continue
        members = _object(line, number)
        if number == 1:
            verifier.header(members)
            continue
        if verifier.head is None:
            raise Unreadable("The file does not begin as an export of a record.")
        if has_events and members.get("type") != "end":
            raise Unreadable(f"Line {number} comes after events and is none.")
        act = others.get(members.get("type"))
        if act is None:
            raise Unreadable(f"Line {number} is of a kind that this version does not know.")
        act(members)
    if verifier.head is None:
        raise Unreadable("The file is empty.")
    if not has_events:
        verifier.everything_but_events_is_there()
    verifier.finish()
    return verifier


def verify_recording(path, report, trusted=(), known=()):
    """Check a sealed recording (docs/recordings.md): every byte against the signed digest, and the signature.

    What is inside is compressed and perhaps encrypted; that each event is the one of its chain was checked when the
    recording was sealed, and is checked again by `manage.py compact_recordings --verify`.

    Raises:
        Unreadable: it is no recording.
    """
    keys = Keys(trusted)
    for members in known:
        keys.add(members, report, trusted=True)
    with open(path, "rb") as file:
        if file.read(len(RECORDING_MAGIC)) != RECORDING_MAGIC:
            raise Unreadable("The file is no recording.")
        size = file.seek(0, 2)
        file.seek(max(size - _RECORDING_END.size, 0))
        trailer = file.read(_RECORDING_END.size)
        index_length, length, end = (
            _RECORDING_END.unpack(trailer) if len(trailer) == _RECORDING_END.size else (0, 0, b"")
        )
        manifest_at = size - _RECORDING_END.size - length
        if end != RECORDING_END or length > 65_536 or manifest_at < len(RECORDING_MAGIC) + 4 + index_length:
            report.problem("recording", "the recording has no end: it was cut off, or its last bytes were changed")
            return
        file.seek(manifest_at)
        try:
            raw = file.read(length)
            manifest = json.loads(raw)
            chain, stated = bytes.fromhex(manifest["chain"]), manifest["content_sha256"]
            events, frames, kid = manifest["events"], manifest["frames"], manifest["key"]
            public, signature = base64.b64decode(manifest["public_key"]), base64.b64decode(manifest["signature"])
        except (KeyError, TypeError, ValueError):
            report.problem("recording", "the manifest of the recording cannot be read")
            return
        header, found = _walked(file, manifest_at - index_length)
        content = sha256()
        file.seek(0)
        left = manifest_at
        while left:
            piece = file.read(min(left, 1024 * 1024))
            content.update(piece)
            left -= len(piece)
    if content.hexdigest() != stated:
        where = "a frame" if found is None else "its bytes"
        report.problem("recording", f"the recording was changed: {where} are not those that were sealed")
    elif found != (frames, events) or raw != _canonical(manifest, public, signature):
        report.problem("recording", "the recording does not have the frames and events that its manifest states")
    message = b"wardgate.recording.v1\0" + _SEAL.pack(header, content.digest(), chain, events)
    if kid != kid_of(public) or not is_signed(public, signature, message):
        report.problem("recording", "the signature of the recording does not fit", key=kid)
    keys.public.setdefault(kid, public)
    if keys.trusted and (not keys.is_trusted(kid) or keys.public[kid] != public):
        report.problem("key", f"the recording is signed by {kid}, which is neither trusted nor vouched for", key=kid)
    elif not keys.trusted:
        report.notes.append(f"no key was named as trusted: compare {kid} with the one that you know, or use --trust")
    report.events = events


def _canonical(manifest, public, signature):
    """Return the manifest as it was written, so that not one byte of it can be another."""
    exact = {
        "algorithm": "Ed25519",
        "events": manifest["events"],
        "frames": manifest["frames"],
        "key": manifest["key"],
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(signature).decode(),
        "chain": manifest["chain"].lower(),
        "content_sha256": manifest["content_sha256"].lower(),
    }
    return json.dumps(exact, separators=(",", ":"), sort_keys=True).encode()


def _walked(file, until):
    """Return the SHA-256 of the header, and how many frames and events there are; None when they do not fit."""
    file.seek(len(RECORDING_MAGIC))
    (length,) = struct.unpack(">I", file.read(4))
    if length > 65_536:
        return b"\0" * 32, None
    header = sha256(file.read(length)).digest()
    at, frames, events = file.tell(), 0, 0
    while at < until:
        head = file.read(_RECORDING_FRAME.size)
        if len(head) < _RECORDING_FRAME.size:
            return header, None
        mark, first, second, count = _RECORDING_FRAME.unpack(head)
        if mark != b"FRME":
            return header, None
        frames, events = frames + 1, events + count
        at = file.seek(first + second, 1)
    return header, ((frames, events) if at == until else None)


def _object(line, number):
    try:
        members = json.loads(line)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise Unreadable(f"Line {number} is not a JSON object.")
    return members


def read_witness(path):
    """Yield the checkpoints of a file of copies: lines, or the body of a webhook; what is none of these is skipped."""
    for line in _lines(path):
        try:
            # A syslog line has its header before the JSON.
            members = json.loads(line[line.index(b"{") :])
        except ValueError:
            continue
        found = members.get("checkpoints") if isinstance(members, dict) and "checkpoints" in members else [members]
        for entry in found:
            if isinstance(entry, dict) and entry.get("type") == "checkpoint":
                yield entry


def read_keys(path):
    """Yield the public keys of an export or of copies of checkpoints."""
    for line in _lines(path):
        if _EVENT.match(line):
            return
        try:
            members = json.loads(line[line.index(b"{") :])
        except ValueError:
            continue
        key = members if members.get("type") == "key" else members.get("key")
        if isinstance(key, dict):
            yield key


def _is_recording(path):
    if path == "-":
        return False
    with open(path, "rb") as file:
        return file.read(len(RECORDING_MAGIC)) == RECORDING_MAGIC


def _lines(path):
    if path == "-":
        yield from sys.stdin.buffer
        return
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if is_gzip else open(path, "rb", buffering=1024 * 1024) as file:
        yield from file


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="wardgate-verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the export, or `-`")
    parser.add_argument("--witness", action="append", default=[], metavar="FILE", help="copies of checkpoints")
    parser.add_argument("--trust", action="append", default=[], metavar="KID", help="a key that you know")
    parser.add_argument(
        "--keys", action="append", default=[], metavar="FILE", help="an export or copies whose keys to trust"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--most", type=int, default=MOST_PROBLEMS, help="most problems to print (default 20)")
    parser.add_argument(
        "--margin",
        type=int,
        default=MARGIN_SECONDS,
        metavar="SECONDS",
        help="how much older than the last checkpoint an event may be that none covers (default 900)",
    )
    options = parser.parse_args(arguments)
    report, began = Report(options.most), time.monotonic()
    progress = None if options.json or not sys.stderr.isatty() else _progress
    try:
        witnesses = [entry for path in options.witness for entry in read_witness(path)]
        if options.witness and not witnesses:
            raise Unreadable("There is no checkpoint in what --witness names.")
        known = [members for path in options.keys for members in read_keys(path)]
        if _is_recording(options.file):
            verify_recording(options.file, report, options.trust, known)
            _print(report, time.monotonic() - began, options.json)
            return 0 if report.holds else 1
        options.trust += [members.get("kid", "") for members in known]
        verify_lines(
            _lines(options.file), report, witnesses, options.trust, margin_seconds=options.margin, progress=progress
        )
    except (Unreadable, OSError, EOFError, gzip.BadGzipFile) as error:
        print(f"wardgate-verify: {error}", file=sys.stderr)
        return 2
    _print(report, time.monotonic() - began, options.json)
    return 0 if report.holds else 1


def _progress(events):
    sys.stderr.write(f"\r{events:,} events ")
    sys.stderr.flush()


def _print(report, seconds, as_json):
    figures = {
        "holds": report.holds,
        "events": report.events,
        "checkpoints": report.checkpoints,
        "releases": report.releases,
        "uncovered": report.uncovered,
        "seconds": round(seconds, 2),
    }
    if as_json:
        problems = [problem.as_dict() for problem in report.problems]
        print(json.dumps({**figures, "problems": report.count, "first": problems[:1], "all": problems,
                          "notes": report.notes}, indent=1))  # fmt: skip
        return
    if sys.stderr.isatty():
        sys.stderr.write("\r")
    for problem in report.problems:
        print(f"BROKEN  {problem}")
    if report.count > len(report.problems):
        print(f"        and {report.count - len(report.problems)} more")
    for note in report.notes:
        print(f"note    {note}")
    verdict = "OK     " if report.holds else "BROKEN "
    rate = report.events / seconds if seconds else 0
    print(
        f"{verdict} {report.events:,} events, {report.checkpoints:,} checkpoints, {report.releases:,} releases "
        f"in {seconds:.1f} s ({rate:,.0f} events/s)"
    )


if __name__ == "__main__":
    sys.exit(main())
