"""The text leaves of one JSON message, found without building the tree, and put back without touching the rest.

In valid JSON a quotation mark begins or ends a string unless a backslash escapes it. So after escaped backslashes and
escaped quotation marks have been set aside, splitting at quotation marks leaves the content of every string, keys
included, at the odd positions; everything at the even positions goes back as it came. All of it is a handful of calls
that run in C, whatever the number of leaves.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import orjson

_VALIDATOR = msgspec.json.Decoder(msgspec.Raw)

# NUL cannot stand in valid JSON, so nothing is mistaken for a mark; two bytes stand for two bytes.
_BACKSLASH, _BACKSLASH_MARK = b"\\\\", b"\x00\x01"
_QUOTE, _QUOTE_MARK = b'\\"', b"\x00\x02"


class JsonLeaves:
    """The strings of one JSON text, in order, as UTF-8.

    Raises:
        ValueError, msgspec.DecodeError, RecursionError: from the constructor, when the message is not one JSON text
            in UTF-8, or has a string that no UTF-8 stands for (lone surrogates).
    """

    __slots__ = ("_parts", "_with_escapes", "texts")

    def __init__(self, message: bytes) -> None:
        # The decoder checks the grammar, escapes included, but passes over the bytes of strings.
        _VALIDATOR.decode(message)
        if not message.isascii():
            message.decode()
        self._with_escapes = b"\\" in message
        if self._with_escapes:
            marked = message.replace(_BACKSLASH, _BACKSLASH_MARK).replace(_QUOTE, _QUOTE_MARK)
            self._parts = marked.split(b'"')
            self.texts = _decoded(self._parts[1::2])
        else:
            self._parts = message.split(b'"')
            self.texts = self._parts[1::2]

    def is_key(self, position: int) -> bool:
        """Tell whether the leaf is a member's name."""
        return self._parts[2 * position + 2].lstrip()[:1] == b":"

    def replaced(self, changed: Mapping[int, str]) -> bytes:
        """The message with the leaves at the positions in `changed` replaced, every other byte as it was."""
        parts = self._parts.copy()
        for position, text in changed.items():
            parts[2 * position + 1] = orjson.dumps(text)[1:-1]
        message = b'"'.join(parts)
        return _unmarked(message) if self._with_escapes else message


def _unmarked(text: bytes) -> bytes:
    return text.replace(_QUOTE_MARK, _QUOTE).replace(_BACKSLASH_MARK, _BACKSLASH)


def _decoded(contents: list[bytes]) -> list[bytes]:
    if not contents:
        return []
    strings: list[str] = orjson.loads(b'["' + _unmarked(b'","'.join(contents)) + b'"]')
    if len(strings) != len(contents):
        raise ValueError("the strings of the message cannot be told apart")
    return [string.encode() for string in strings]
