"""Texts on which a masking pattern would show its worst, for whoever saves one to time before it is in force.

RE2 takes time linear in the text, yet its price for a byte is not the same for every expression. `a[ab]{100}z` costs
some five hundred times as much as `secret-[0-9]{4}` on a text of a and b, where it has to follow a hundred matches that
might still come. Nobody can tell from the outside, so it is measured, with texts made of what the pattern speaks about.
Time the first pass of a fresh masker over each text: the automaton remembers what it has seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from random import Random

PROBE_BYTES = 64 * 1024
MAX_CHARACTERS = 10
"""Most characters of a pattern that are tried in pairs."""

_CLASSES = {"d": "7", "D": "x", "w": "w", "W": "-", "s": " ", "S": "x", "b": " ", "n": "\n", "t": "\t"}
_TOKEN = re.compile(r"\\(.)|(\(\?[a-zA-Z-]*[:)])|\{[0-9,]*\}|([^\\])", re.DOTALL)
_SYNTAX = frozenset("()[]{}|?*+^$")


def worst_texts(pattern: str, *, size: int = PROBE_BYTES) -> Iterator[bytes]:
    """Yield texts of about `size` bytes, always the same ones for the same pattern.

    First every character that the pattern names, repeated; then all of them mixed, and every two of them mixed; then
    what the pattern spells when its syntax is left out, over and over.
    """
    spelt = "".join(_spelt(pattern))
    characters = list(dict.fromkeys(spelt)) or ["a"]
    for character in characters:
        yield _filled(character, size)
    # The mix decides nothing; it only has to be the same every time.
    random = Random(1)  # noqa: S311
    yield _mixed(random, characters, size)
    for pair in combinations(characters[:MAX_CHARACTERS], 2):
        yield _mixed(random, pair, size)
    yield _filled(spelt or "a", size)
    yield _filled(f"{spelt} ", size)


def _spelt(pattern: str) -> Iterator[str]:
    for token in _TOKEN.finditer(pattern):
        escaped, literal = token.group(1), token.group(3)
        if escaped is not None:
            yield _CLASSES.get(escaped, escaped)
        elif literal is not None and literal not in _SYNTAX:
            yield literal


def _filled(text: str, size: int) -> bytes:
    encoded = text.encode()
    return encoded * (size // len(encoded))


def _mixed(random: Random, characters: tuple[str, ...] | list[str], size: int) -> bytes:
    return "".join(random.choices(characters, k=size // max(len(c.encode()) for c in characters))).encode()
