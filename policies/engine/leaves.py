"""The text leaves of one JSON message, found in a few calls, and put back without touching the rest.

In valid JSON a quotation mark begins or ends a string unless a backslash escapes it. So once escaped backslashes and
escaped quotation marks are written in another way, splitting at quotation marks leaves the content of every string,
names of members included, at the odd positions; everything at the even positions goes back as it came.

Most messages have no backslash at all, or they are one long text with many. The first kind is split as it stands. For
the second kind a parsed tree is quicker, with one care: a tree forgets the values of repeated names, which the client
may well read. So it is only believed when its quotation marks add up to those of the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson

_VALIDATOR = msgspec.json.Decoder(msgspec.Raw)

_BACKSLASH, _QUOTE = b"\\\\", b'\\"'

_SAMPLE_BYTES = 4096
_BYTES_PER_LEAF = 64
"""A message with fewer bytes for each leaf is quicker to split than to walk."""

_TRIES = 8
"""How many places that look like a leaf are counted up to before the whole message is split."""


class JsonLeaves:
    """The strings of one JSON text, in order, as UTF-8.

    Raises:
        ValueError, msgspec.DecodeError, RecursionError: from the constructor, when the message is not one JSON text
            in UTF-8, or has a string that no UTF-8 stands for (lone surrogates).
    """

    __slots__ = ("_has_plain_marks", "_message", "_parts", "texts")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._parts: list[bytes] | None = None
        self._has_plain_marks = False
        if b"\\" not in message:
            _validate(message)
            self._parts = message.split(b'"')
            self.texts = self._parts[1::2]
        else:
            walked = _walked(message)
            self._has_plain_marks = bool(walked)
            self.texts = walked or _split(message)

    def is_key(self, position: int) -> bool:
        """Tell whether the leaf is the name of a member."""
        return self._exact_parts()[2 * position + 2].lstrip()[:1] == b":"

    def replaced(self, changed: Mapping[int, str]) -> bytes:
        """The message with the leaves at the positions in `changed` replaced, every other byte as it was."""
        if self._parts is None and self._has_plain_marks:
            spliced = self._spliced(changed)
            if spliced is not None:
                return spliced
        parts = self._exact_parts().copy()
        for position, text in changed.items():
            parts[2 * position + 1] = orjson.dumps(text)[1:-1]
        return b'"'.join(parts)

    def _spliced(self, changed: Mapping[int, str]) -> bytes | None:
        """Like `replaced`, without splitting the message; None when a leaf is not spelled in the usual way.

        Before a leaf stand two quotation marks for each leaf before it and one for each inside of those, for `_walked`
        made sure that none is written as \\u0022. So where the leaf's spelling follows that many, there it begins.
        """
        message, texts = self._message, self.texts
        pieces: list[bytes] = []
        written = marks = 0
        place = leaf = 0
        for position in sorted(changed):
            skipped = texts[leaf:position]
            wanted = marks + 2 * len(skipped) + b"".join(skipped).count(b'"')
            spelled = orjson.dumps(texts[position].decode())
            for _ in range(_TRIES):
                found = message.find(spelled, place)
                if found < 0:
                    return None
                marks += message.count(b'"', place, found)
                place = found
                if marks >= wanted:
                    break
                marks += 1
                place += 1
            if marks != wanted:
                return None
            pieces += (message[written:place], orjson.dumps(changed[position]))
            written = place = place + len(spelled)
            marks += 2 + texts[position].count(b'"')
            leaf = position + 1
        pieces.append(message[written:])
        return b"".join(pieces)

    def _exact_parts(self) -> list[bytes]:
        """The message split at the borders of its strings, byte for byte."""
        if self._parts is None:
            # Marks as long as what they stand for: the borders in the marked message are those in the message. NUL
            # cannot stand in valid JSON, so nothing is mistaken for a mark.
            marked = self._message.replace(_BACKSLASH, b"\x00\x01").replace(_QUOTE, b"\x00\x02")
            parts, start = [], 0
            for part in marked.split(b'"'):
                parts.append(self._message[start : start + len(part)])
                start += len(part) + 1
            if len(parts) != 2 * len(self.texts) + 1:
                raise ValueError("the strings of the message cannot be told apart")
            self._parts = parts
        return self._parts


def _validate(message: bytes) -> None:
    # The decoder checks the grammar, escapes included, but passes over the bytes of strings.
    _VALIDATOR.decode(message)
    if not message.isascii():
        message.decode()


def _split(message: bytes) -> list[bytes]:
    """Every string of `message`, whatever it looks like."""
    _validate(message)
    # The same strings with other escapes: no quotation mark is left inside a string.
    contents = message.replace(_BACKSLASH, b"\\u005c").replace(_QUOTE, b"\\u0022").split(b'"')[1::2]
    strings: list[str] = orjson.loads(b'["' + b'","'.join(contents) + b'"]')
    if len(strings) != len(contents):
        raise ValueError("the strings of the message cannot be told apart")
    return [string.encode() for string in strings]


def _walked(message: bytes) -> list[bytes] | None:
    """Every string of `message` from its tree; None when the tree is large or may have forgotten some."""
    if len(message) > _SAMPLE_BYTES:
        start = message[:_SAMPLE_BYTES]
        if start.count(b'"') - start.count(b"\\") > _SAMPLE_BYTES * 2 // _BYTES_PER_LEAF:
            return None
    strings: list[str] = []
    if not _collect((orjson.loads(message),), strings, len(message) // _BYTES_PER_LEAF + 64):
        return None
    texts = [string.encode() for string in strings]
    # With no quotation mark written as \u0022 each one inside a string is a byte of the message, and every string has
    # two more around it. A repeated name would take at least two away.
    if b"u0022" in message or message.count(b'"') != 2 * len(texts) + b"".join(texts).count(b'"'):
        return None
    return texts


def _collect(nodes: Iterable[Any], strings: list[str], room: int) -> bool:
    """Append every string in `nodes`, in the order of the message; False when they are more than about `room`."""
    for node in nodes:
        kind = type(node)
        if kind is str:
            strings.append(node)
        elif kind is dict:
            for name, value in node.items():
                strings.append(name)
                if type(value) is str:
                    strings.append(value)
                elif not _collect((value,), strings, room):
                    return False
        elif kind is list and not _collect(node, strings, room):
            return False
    return len(strings) <= room
