"""Masking patterns as administrators write them, checked and compiled with RE2.

One RE2 search takes time linear in the text; the price is that look-around and back-references do not exist. `^` and
`$` stand for the ends of a line: each text of a message begins and ends one.

Finding every place can still be quadratic: after each hit an expression such as `a([^z]*z)?` reads on to the end of the
text before it settles. So after the first places of a text the view of a search is limited (`places`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import re2

from .exceptions import PatternRefused

MAX_PATTERN_CHARACTERS = 1024
MAX_REPLACEMENT_CHARACTERS = 64
MAX_PROGRAM_SIZE = 2_000
"""Instructions of the compiled program; bounded repetitions multiply them, and the time per byte grows with them."""

WHOLE_SEARCHES = 32
"""Places of a text that are found with all of it in view."""

VIEW_BYTES = 16 * 1024
SURE_BYTES = VIEW_BYTES // 2
"""Afterwards each place is found with at least `SURE_BYTES` after its start in view. A longer match may go unnoticed
there, and only there; credentials are shorter."""

MEMORY_BYTES = 4 * 1024 * 1024

_UNANCHORED = re2._Anchor.UNANCHORED
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\\[gk][<{']|\(\?P=")
_SINGLE_LINE = re.compile(r"\(\?[A-Za-z]*-[A-Za-z]*m")
_TEXT_ENDS = frozenset({r"\A", r"\z", r"\Z"})
_PROBES = (b"", b"a", b"1", b" ", b"a b", b"1-1", b"a\nb", b"\x00", "\u00e9".encode())


def options(memory_bytes: int = MEMORY_BYTES) -> Any:
    """RE2 options of every masking pattern: quiet (its log would show the pattern), without captures."""
    chosen = re2.Options()
    chosen.log_errors = False
    chosen.never_capture = True
    chosen.max_mem = memory_bytes
    return chosen


def source(pattern: str) -> bytes:
    """The expression as RE2 gets it: `^` and `$` are line anchors."""
    return b"(?m)" + pattern.encode()


def compile_expression(pattern: str, *, place: str) -> Any:
    """Compile `pattern` for use on UTF-8 bytes; `place` names its owner in the refusal.

    Raises:
        PatternRefused: RE2 cannot compile it, it can match nothing at all, it asks for the ends of the whole text or
            for single bytes, or it is over 1024 characters or too large when compiled.
    """
    _check(pattern, place)
    try:
        compiled = re2.compile(source(pattern), options())
    except re2.error:
        raise PatternRefused(place, _why_refused(pattern)) from None
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise PatternRefused(place, "too large when compiled; use smaller numbers in repetitions such as {1,64}")
    if any(found.start() == found.end() for probe in _PROBES for found in compiled.finditer(probe)):
        raise PatternRefused(place, "matches the empty text; make at least one character obligatory")
    return compiled


def compile_search(pattern: str, *, place: str) -> Any:
    """Compile the pattern of `matches` in a condition, for a search in UTF-8 bytes.

    Other than in masking patterns, `^` and `$` are the ends of the whole text: `^/public/[a-z]+$` must not be met by a
    second line. It may match nothing.

    Raises:
        PatternRefused: RE2 cannot compile it, or it is over 1024 characters or too large when compiled.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise PatternRefused(place, f"the pattern has more than {MAX_PATTERN_CHARACTERS} characters")
    try:
        compiled = re2.compile(pattern.encode(), options())
    except (re2.error, UnicodeEncodeError):
        raise PatternRefused(place, _why_refused(pattern)) from None
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise PatternRefused(place, "too large when compiled; use smaller numbers in repetitions such as {1,64}")
    return compiled


def places(expression: Any, text: bytes) -> Iterator[tuple[int, int]]:
    """Every place where `expression` matches in `text`, leftmost first, none overlapping; empty ones among them."""
    # RE2's own search: its Python wrapper makes a generator and an object for each place.
    search, size = expression._regexp.Match, len(text)
    position = 0
    for _ in range(WHOLE_SEARCHES):
        start, end = search(_UNANCHORED, text, position, size)[0]
        if start < 0:
            return
        yield start, end
        if position == size:
            return
        position = end if end > position else position + 1
    while (place := next_place(expression, text, position)) is not None:
        yield place
        position = max(place[1], position + 1)


def next_place(expression: Any, text: bytes, position: int) -> tuple[int, int] | None:
    """The first place at or after `position`, at a price that does not grow with what comes after it."""
    size = len(text)
    while position <= size:
        stop = min(position + VIEW_BYTES, size)
        # What stands outside still counts for \b, ^ and $.
        found = expression.search(text, position, stop)
        if stop < size and (found is None or found.start() >= stop - SURE_BYTES):
            position = stop - SURE_BYTES
            continue
        if found is None:
            return None
        start, end = found.span()
        if end == stop < size:
            start, end = expression.search(text, start).span()
        return start, end
    return None


def _check(pattern: str, place: str) -> None:
    if not pattern:
        raise PatternRefused(place, "the pattern is empty")
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise PatternRefused(place, f"the pattern has more than {MAX_PATTERN_CHARACTERS} characters")
    if any(0xD800 <= ord(c) < 0xE000 for c in pattern):
        raise PatternRefused(place, "the pattern contains a lone surrogate")
    escapes = set(_ESCAPE.findall(pattern))
    if escapes & _TEXT_ENDS:
        raise PatternRefused(place, r"\A, \z and \Z are not possible; ^ and $ stand for the ends of each line")
    if r"\C" in escapes:
        raise PatternRefused(place, r"\C (a single byte) is not possible; use . or (?s:.)")
    if _SINGLE_LINE.search(_ESCAPE.sub("", pattern)):
        raise PatternRefused(place, "the flag m cannot be switched off; ^ and $ stand for the ends of each line")


def _why_refused(pattern: str) -> str:
    if _LOOK_AROUND.search(_ESCAPE.sub("", pattern)):
        return "look-around, such as (?=...) and (?<!...), is not possible in RE2"
    if _BACK_REFERENCE.search(pattern):
        return r"back-references, such as \1 and (?P=name), are not possible in RE2"
    return "not a regular expression that RE2 accepts; see its syntax page"
