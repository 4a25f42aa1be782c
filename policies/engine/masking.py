"""Masking: no pattern and no credential leaves the gateway in any text of any message.

How a message is masked, and why it costs microseconds:

1. The message is validated and its text leaves, keys included, are found in a few calls that run in C (`leaves`).
2. The leaves are joined by a separator that no text can run through unnoticed: NUL between two line ends, so that
   `^` and `$` see the border of a leaf and `\\s` stops there. One `re2.Set` looks for all patterns and credentials at
   once. Nearly every message ends here, and then the very same bytes are handed back.
3. Only the patterns that the set names look for their spans. A pattern whose span crosses the border of a leaf is run
   again, leaf by leaf: what it saw across the border may have hidden what is inside.
4. Only the leaves with a span are written anew; every other byte of the message stays.

Anything unexpected is `MaskFailed`: the caller withholds the message.
"""

from __future__ import annotations

import hashlib
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import re2

from .exceptions import PatternRefused
from .expressions import MAX_REPLACEMENT_CHARACTERS, compile_expression, options, places, source
from .leaves import JsonLeaves
from .literals import forms
from .luhn import card_spans

__all__ = ["MAX_PATTERNS", "MaskFailed", "Masked", "Masker", "Pattern", "PatternRefused"]

MAX_PATTERNS = 200
MAX_SPANS = 50_000
"""Most hits in one message. A message with more is withheld: each costs about a microsecond of everybody's time."""

SET_MEMORY_BYTES = 64 * 1024 * 1024
CREDENTIAL = "[MASKED:credential]"

_SEPARATOR = b"\n\x00\n"
_SENTINEL = b"\x00"
_NO_HITS: Mapping[str, int] = MappingProxyType({})

Check = Literal["none", "luhn"]


class MaskFailed(Exception):
    """The message could not be masked and must be withheld. Carries a stable `code` and nothing of the message."""

    def __init__(self, code: str = "mask_failed") -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Pattern:
    """One thing to mask: an RE2 expression, a further check, and what stands there instead."""

    name: str
    pattern: str
    check: Check = "none"
    replacement: str = ""


class Masked(NamedTuple):
    """What may leave: the message, and how often each pattern was hit. Never what it hit."""

    value: bytes
    hits: Mapping[str, int]


@dataclass(frozen=True, slots=True, repr=False)
class _Search:
    """One compiled search: an expression, or the forms of a credential."""

    name: str
    replacement: bytes
    expression: Any = None
    check: Check = "none"
    forms: tuple[bytes, ...] = ()

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Every place in `text`, leftmost first for expressions; credentials' forms may overlap each other."""
        if self.expression is None:
            return _form_spans(self.forms, text)
        if self.check == "luhn":
            return card_spans(self.expression, text)
        return places(self.expression, text)

    def is_in(self, text: bytes) -> bool:
        if self.expression is None:
            return any(form in text for form in self.forms)
        return self.expression.search(text) is not None


class Masker:
    """The compiled patterns and credentials of one connection; immutable, and safe to share between threads."""

    __slots__ = ("__weakref__", "_match", "_searches", "patterns_count")

    def __init__(
        self, searches: tuple[_Search, ...], match: Callable[[bytes], Sequence[int] | None], patterns_count: int
    ) -> None:
        self._searches = searches
        self._match = match
        self.patterns_count = patterns_count

    def __repr__(self) -> str:
        return f"<Masker of {self.patterns_count} patterns>"

    @classmethod
    def compile(cls, patterns: Sequence[Pattern], literals: Sequence[tuple[str, bytes]] = ()) -> Masker:
        """Compile `patterns`, and `literals`: (name, secret) of the credentials that must never appear in an answer.

        Connections with the same patterns and credentials share one masker.

        Raises:
            PatternRefused: names the pattern that cannot be compiled, or says that there are more than 200.
        """
        key = _digest(patterns, literals)
        masker = _COMPILED.get(key)
        if masker is None:
            masker = _COMPILED[key] = _compile(patterns, literals)
        return masker

    def mask(self, message: bytes, keep: frozenset[str] = frozenset()) -> Masked:
        """Mask every text leaf of `message`, one JSON text in UTF-8; without a hit, the very same bytes come back.

        Args:
            message: masked wherever it is text; numbers, white space, order and untouched escapes stay to the byte.
            keep: leaves that are the client's own values (its request id, its progress token) and stay as they are.

        Raises:
            MaskFailed: not valid JSON, lone surrogates, more than 50,000 hits, or anything else that was not expected.
        """
        try:
            leaves = JsonLeaves(message)
            changed, hits = self._changes(leaves.texts, keep)
            if not changed:
                return Masked(message, _NO_HITS)
            return Masked(leaves.replaced(_numbered_keys(leaves, changed)), hits)
        except MaskFailed:
            raise
        except Exception:  # Whatever went wrong, the answer is to withhold; the cause could quote the message.
            raise MaskFailed from None

    def mask_text(self, text: bytes) -> Masked:
        """Mask a body that is not JSON: the whole text is one leaf, and what is not UTF-8 becomes U+FFFD.

        Raises:
            MaskFailed: as from `mask`.
        """
        try:
            valid = text if text.isascii() else text.decode("utf-8", "replace").encode()
            changed, hits = self._changes([valid], frozenset())
            return Masked(changed[0].encode() if changed else valid, hits)
        except MaskFailed:
            raise
        except Exception:  # See `mask`.
            raise MaskFailed from None

    def _changes(self, texts: list[bytes], keep: frozenset[str]) -> tuple[dict[int, str], Mapping[str, int]]:
        """The new text of every leaf that changes, by position, and the hits."""
        joined = _SEPARATOR.join([*texts, _SENTINEL])
        matched = self._matched(joined)
        if not matched:
            return {}, _NO_HITS
        spans = _spans_by_leaf(matched, joined, texts)
        changed: dict[int, str] = {}
        hits: dict[str, int] = {}
        for position, found in spans.items():
            text = texts[position]
            if keep and text.decode() in keep:
                continue
            changed[position] = _written_anew(text, found)
            for _, _, search in found:
                hits[search.name] = hits.get(search.name, 0) + 1
        return changed, hits

    def _matched(self, joined: bytes) -> list[_Search]:
        """The searches that match somewhere.

        The set answers "nothing" also when it runs out of memory. So its last entry matches the sentinel that ends
        every text: when that is missing, the set has not looked, and each search looks for itself.
        """
        searches = self._searches
        matched = self._match(joined) or ()
        sentinel = len(searches)
        if sentinel not in matched:
            return [search for search in searches if search.is_in(joined)]
        return [searches[index] for index in matched if index != sentinel] if len(matched) > 1 else []


_COMPILED: weakref.WeakValueDictionary[bytes, Masker] = weakref.WeakValueDictionary()


def _compile(patterns: Sequence[Pattern], literals: Sequence[tuple[str, bytes]]) -> Masker:
    if len(patterns) > MAX_PATTERNS:
        raise PatternRefused("masking patterns", f"more than {MAX_PATTERNS} patterns on one connection")
    gate = re2.Set.SearchSet(options(SET_MEMORY_BYTES))
    searches = []
    for pattern in patterns:
        searches.append(_search_for(pattern))
        gate.Add(source(pattern.pattern))
    for name, secret in literals:
        found = forms(secret)
        if found:
            searches.append(_Search(name, CREDENTIAL.encode(), forms=found))
            gate.Add(b"|".join(re2.escape(form) for form in found))
    gate.Add(re2.escape(_SENTINEL + b"\n" + _SENTINEL))
    try:
        gate.Compile()
    except re2.error:
        raise PatternRefused("masking patterns", "too large together; remove patterns or repetitions") from None
    # RE2's own function, without the wrapper around it.
    return Masker(tuple(searches), gate._set.Match, len(patterns))


def _search_for(pattern: Pattern) -> _Search:
    place = f'masking pattern "{pattern.name}"'
    if pattern.check not in ("none", "luhn"):
        raise PatternRefused(place, "the check is neither none nor luhn")
    if len(pattern.replacement) > MAX_REPLACEMENT_CHARACTERS:
        raise PatternRefused(place, f"the replacement has more than {MAX_REPLACEMENT_CHARACTERS} characters")
    try:
        replacement = (pattern.replacement or f"[MASKED:{pattern.name}]").encode()
    except UnicodeEncodeError:
        raise PatternRefused(place, "the name or the replacement contains a lone surrogate") from None
    expression = compile_expression(pattern.pattern, place=place)
    return _Search(pattern.name, replacement, expression, pattern.check)


def _digest(patterns: Sequence[Pattern], literals: Sequence[tuple[str, bytes]]) -> bytes:
    """A key that tells sets of patterns and credentials apart and shows neither."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for field in (pattern.name, pattern.pattern, pattern.check, pattern.replacement):
            digest.update(b"%d:" % len(field))
            digest.update(field.encode("utf-8", "surrogatepass"))
    digest.update(b"|")
    for name, secret in literals:
        digest.update(b"%d:%d:" % (len(name), len(secret)) + name.encode("utf-8", "surrogatepass") + secret)
    return digest.digest()


_Found = list[tuple[int, int, _Search]]


def _spans_by_leaf(matched: list[_Search], joined: bytes, texts: list[bytes]) -> dict[int, _Found]:
    """Where each search hits, by leaf, relative to the leaf; never across the border of one."""
    starts = list(accumulate((len(text) + len(_SEPARATOR) for text in texts), initial=0))
    by_leaf: dict[int, _Found] = {}
    count = 0
    for search in matched:
        found = _within_leaves(search, joined, starts)
        if found is None:
            found = _leaf_by_leaf(search, texts)
        count += len(found)
        if count > MAX_SPANS:
            raise MaskFailed("too_many_hits")
        for position, start, end in found:
            by_leaf.setdefault(position, []).append((start, end, search))
    return by_leaf


def _within_leaves(search: _Search, joined: bytes, starts: list[int]) -> list[tuple[int, int, int]] | None:
    """The spans of `search` as (leaf, start, end), or None as soon as one of them leaves its leaf."""
    found = []
    last = len(starts) - 1
    position, start_of_leaf, end_of_leaf = -1, 0, -1
    for start, end in search.spans(joined):
        if not start_of_leaf <= start < end_of_leaf:
            position = bisect_right(starts, start) - 1
            if position == last:
                return None
            start_of_leaf, end_of_leaf = starts[position], starts[position + 1] - len(_SEPARATOR)
        if end > end_of_leaf:
            return None
        if start < end:
            found.append((position, start - start_of_leaf, end - start_of_leaf))
            if len(found) > MAX_SPANS:
                raise MaskFailed("too_many_hits")
    return found


def _leaf_by_leaf(search: _Search, texts: list[bytes]) -> list[tuple[int, int, int]]:
    """The spans of `search` as (leaf, start, end) when each leaf is looked at alone."""
    every = ((i, start, end) for i, text in enumerate(texts) for start, end in search.spans(text) if start < end)
    return list(islice(every, MAX_SPANS + 1))


def _written_anew(text: bytes, found: _Found) -> str:
    """`text` with every span replaced; overlapping ones become one, with the replacement of the first and longest."""
    found.sort(key=lambda span: (span[0], -span[1]))
    pieces: list[bytes] = []
    written = 0
    for start, end, search in found:
        if start >= written:
            pieces += (text[written:start], search.replacement)
        written = max(written, end)
    pieces.append(text[written:])
    return b"".join(pieces).decode()


def _numbered_keys(leaves: JsonLeaves, changed: dict[int, str]) -> dict[int, str]:
    """Number member names that became the same by masking: an object must not get the same name twice."""
    if len(changed) == 1:
        return changed
    seen: dict[str, int] = {}
    for position, text in changed.items():
        if leaves.is_key(position):
            seen[text] = seen.get(text, 0) + 1
            if seen[text] > 1:
                changed[position] = f"{text}#{seen[text]}"
    return changed


def _form_spans(found: Sequence[bytes], text: bytes) -> Iterator[tuple[int, int]]:
    for form in found:
        start = text.find(form)
        while start >= 0:
            yield start, start + len(form)
            start = text.find(form, start + len(form))
