"""One strict reading of JSON, so that nobody behind the gateway reads the same bytes differently.

Parsers disagree about duplicate keys, NaN, UTF-16, lone surrogates and numbers that overflow, and such disagreements
have been ways around gateways (GHSA-4gph-2hhr-5mwg, CVE-2026-27896). So whatever two parsers could read in two ways is
refused here, at any depth, before anything is decided.

The work is done by the scanner of the standard library, which is strict about the grammar itself. What it lets through
is caught by hooks (duplicate keys, constants, overflow) and, only where a cheap upper bound says that a limit could be
exceeded, by one exact walk over the tree.

Numbers keep their spelling: a float that would be written differently from how it was read is a `Number`, and `-0` is
`NEGATIVE_ZERO`; `encode` writes both as they were spelt. Everything else is a plain dict, list, str, int, float, bool
or None.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import JSONDecoder
from typing import Any, Final

import msgspec

_MESSAGES: Final[Mapping[str, str]] = {
    "json_invalid": "The body is not valid JSON.",
    "json_not_utf8": "The body is not UTF-8.",
    "json_bom": "The body starts with a byte order mark.",
    "json_duplicate_key": "An object has the same key twice.",
    "json_reserved_key_variant": "A key differs only in case or width from a protocol key.",
    "json_number": "A number is out of range.",
    "json_surrogate": "A string holds a lone surrogate.",
    "json_too_deep": "The body is nested too deeply.",
    "json_too_many_keys": "The body has too many members.",
    "json_too_large": "The body is too large.",
    "json_string_too_long": "A string is too long.",
}


class JsonRefused(ValueError):
    """JSON that the gateway does not read. `code` is stable; the message never repeats the content."""

    def __init__(self, code: str) -> None:
        super().__init__(_MESSAGES[code])
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """What one body may be. `containers` bounds empty objects and arrays, which have no keys to count."""

    bytes: int = 4 * 1024 * 1024
    depth: int = 64
    keys: int = 10_000
    string_characters: int = 1024 * 1024
    containers: int = 50_000


class Number(float):
    """A float that remembers how it was spelt, because its shortest spelling is another one (`1.50`, `1E5`)."""

    __slots__ = ("lexeme",)
    lexeme: str


class _NegativeZero(int):
    """The integer that was spelt `-0`; equal to 0, written as `-0`."""

    __slots__ = ()


NEGATIVE_ZERO: Final = _NegativeZero(0)

DEFAULT_LIMITS: Final = Limits()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; refuse a key that occurs twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonRefused("json_duplicate_key")
    return members


def _float(lexeme: str) -> float:
    """Read a number with a fraction or an exponent, keeping its spelling where `repr` would lose it."""
    value = float(lexeme)
    if math.isinf(value):
        raise JsonRefused("json_number")
    # msgspec writes exponents without the plus sign that `repr` has, so those keep their spelling too.
    if "e" not in lexeme and repr(value) == lexeme:
        return value
    number = Number(value)
    number.lexeme = lexeme
    return number


def _integer(lexeme: str) -> int:
    return NEGATIVE_ZERO if lexeme == "-0" else int(lexeme)


def _constant(name: str) -> Any:
    """Refuse NaN, Infinity and -Infinity, which are not JSON."""
    raise JsonRefused("json_invalid")


_decoder = JSONDecoder(object_pairs_hook=_members, parse_float=_float, parse_constant=_constant)
_decoder_negative_zero = JSONDecoder(
    object_pairs_hook=_members, parse_float=_float, parse_int=_integer, parse_constant=_constant
)
# A surrogate can only come from an escape: the strict UTF-8 decoder refuses encoded ones.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_STRING_OR_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]++|[\]}]++', re.DOTALL)


def loads(body: bytes, limits: Limits = DEFAULT_LIMITS) -> object:
    """Return the tree of `body`.

    Args:
        body: the exact bytes, UTF-8.
        limits: what is read at most; checked exactly.

    Raises:
        JsonRefused: for anything that is not JSON (RFC 8259), or that two parsers may read differently.

    Source: RFC 8259, RFC 7493 (I-JSON) section 2.
    """
    if len(body) > limits.bytes:
        raise JsonRefused("json_too_large")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonRefused("json_not_utf8") from None
    if text.startswith("\ufeff"):
        raise JsonRefused("json_bom")
    containers = text.count("{") + text.count("[")
    if containers > limits.containers:
        _refuse_containers(text, limits)
    # Each of these is an upper bound that costs nanoseconds; only a text that could exceed a limit is walked.
    is_suspect = containers > limits.depth or text.count(":") > limits.keys or _may_hold_long_string(text, limits)
    tree = _parse(text)
    if is_suspect:
        _measure(tree, limits)
    if "\\u" in text and _SURROGATE_ESCAPE.search(text):
        _refuse_surrogates(tree)
    return tree


def _parse(text: str) -> object:
    """Run the scanner and translate its errors."""
    try:
        decoder = _decoder_negative_zero if "-0" in text else _decoder
        if text.startswith("{") and text.endswith("}"):
            # `decode` allows for white space on both sides, which a message hardly ever has, and looks for it twice.
            tree, end = decoder.raw_decode(text)
            if end != len(text):
                raise JsonRefused("json_invalid")
            return tree
        return decoder.decode(text)
    except JsonRefused:
        raise
    except json.JSONDecodeError:
        raise JsonRefused("json_invalid") from None
    except RecursionError:
        raise JsonRefused("json_too_deep") from None
    except ValueError:
        # CPython refuses to convert more than 4300 digits, because that is quadratic.
        raise JsonRefused("json_number") from None


def _refuse_containers(text: str, limits: Limits) -> None:
    """Refuse a text that opens too many containers outside of its strings, before any of them is built.

    Stops at the first one too many, so that a bomb costs no more than its beginning.
    """
    depth = opened = 0
    for token in _STRING_OR_BRACKETS.finditer(text):
        start, end = token.span()
        if text[start] in "[{":
            depth += end - start
            opened += end - start
            if depth > limits.depth:
                raise JsonRefused("json_too_deep")
            if opened > limits.containers:
                raise JsonRefused("json_too_many_keys")
        elif text[start] in "]}":
            depth -= end - start


def _may_hold_long_string(text: str, limits: Limits) -> bool:
    """Tell, without a walk, whether a string can be too long; an escaped quote makes it a perhaps."""
    most = limits.string_characters
    return len(text) > most and ('\\"' in text or any(len(string) > most for string in text.split('"')[1::2]))


def _measure(tree: object, limits: Limits) -> None:
    """Walk the tree level by level and refuse what exceeds a limit."""
    level: list[object] = [tree]
    depth = keys = 0
    while level:
        below: list[object] = []
        containers = False
        for node in level:
            if isinstance(node, dict):
                containers = True
                keys += len(node)
                if keys > limits.keys:
                    raise JsonRefused("json_too_many_keys")
                below.extend(node)
                below.extend(node.values())
            elif isinstance(node, list):
                containers = True
                below.extend(node)
            elif isinstance(node, str) and len(node) > limits.string_characters:
                raise JsonRefused("json_string_too_long")
        depth += containers
        if depth > limits.depth:
            raise JsonRefused("json_too_deep")
        level = below


def _refuse_surrogates(tree: object) -> None:
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JsonRefused("json_surrogate") from None


def _spelling(value: object) -> msgspec.Raw:
    """Write the numbers that remember their spelling."""
    if isinstance(value, Number):
        return msgspec.Raw(value.lexeme.encode())
    if isinstance(value, _NegativeZero):
        return msgspec.Raw(b"-0")
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(enc_hook=_spelling)


def encode(tree: object) -> bytes:
    """Return `tree` as compact UTF-8 JSON: key order and the spelling of every number as they were read."""
    return _encoder.encode(tree)


# Zero-width and formatting characters are category Cf, controls (NUL among them) Cc; U+0307 is what casefold makes of
# the Turkish capital I with a dot.
_DROPPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Mn", "Zs"})


def fold(key: str) -> str:
    """Return `key` as the most lenient reader would compare it: no case, no width, nothing invisible.

    Covers what Go (`encoding/json`: simple folding, with U+017F and U+212A), Java (`equalsIgnoreCase`: dotless i) and
    readers that cut at NUL or strip invisible characters would take for the same key.
    """
    if key.isascii() and key.isprintable():
        return key.replace(" ", "").lower()
    visible = "".join(
        character
        for character in unicodedata.normalize("NFKD", key)
        if unicodedata.category(character) not in _DROPPED_CATEGORIES
    )
    return unicodedata.normalize("NFKC", visible.casefold()).replace("\u0131", "i")


class Reserved:
    """A set of protocol keys, with their foldings ready.

    Args:
        keys: the exact keys.
        prefix: when given, any key that folds to this prefix has to start with it exactly.
    """

    __slots__ = ("folded", "keys", "prefix")

    def __init__(self, keys: frozenset[str], prefix: str = "") -> None:
        self.keys = keys
        self.folded = frozenset(fold(key) for key in keys)
        self.prefix = prefix

    def refuse_variants(self, members: Mapping[str, Any]) -> None:
        """Refuse members whose key is not one of `keys` but could be taken for one.

        Raises:
            JsonRefused: `json_reserved_key_variant`.
        """
        if self.keys.issuperset(members):
            return
        for key in members:
            if key in self.keys:
                continue
            folded = fold(key)
            if folded in self.folded:
                raise JsonRefused("json_reserved_key_variant")
            if self.prefix and folded.startswith(fold(self.prefix)) and not key.startswith(self.prefix):
                raise JsonRefused("json_reserved_key_variant")


def refuse_variants(message: Mapping[str, Any], keys: frozenset[str]) -> None:
    """Refuse members of `message` that differ only in case, width or invisible characters from one of `keys`.

    Use a `Reserved` where the same set is checked often.

    Raises:
        JsonRefused: `json_reserved_key_variant`.
    """
    Reserved(keys).refuse_variants(message)
