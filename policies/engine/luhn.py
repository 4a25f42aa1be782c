"""Payment card numbers: what an expression finds, and the Luhn checksum agrees with (ISO/IEC 7812-1, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .expressions import next_place

SHORTEST, LONGEST = 13, 19
MAX_RETRIES = 2_000
"""Digit groups tried in one text before a match counts as a card without the checksum: hostile text cannot make the
search slow, and what was not checked is masked."""

_GROUP = re.compile(rb"[0-9]+")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_card_number(digits: bytes) -> bool:
    """Tell whether ASCII `digits`, 13 to 19 of them, carry a valid Luhn checksum."""
    if not SHORTEST <= len(digits) <= LONGEST:
        return False
    total = sum(digits[-1::-2]) - 0x30 * len(digits[-1::-2])
    total += sum(_DOUBLED[digit - 0x30] for digit in digits[-2::-2])
    return total % 10 == 0


def card_spans(expression: Any, text: bytes) -> Iterator[tuple[int, int]]:
    """Every span that `expression` finds in `text` and whose digits pass the checksum.

    An expression for cards takes in neighbouring numbers ("2 4111 1111 1111 1111"). So when a span fails, shorter
    ones are tried that drop whole groups of digits: first at its end, then by searching again after its first group.
    """
    position, retries = 0, 0
    while (place := next_place(expression, text, position)) is not None:
        start, end = place
        groups = [group.span() for group in _GROUP.finditer(text, start, end)]
        ends = [end] if len(groups) < 2 else [end, *(last for _, last in reversed(groups[:-1]))]
        retries += len(ends) - 1
        if retries > MAX_RETRIES:
            hit = end
        else:
            hit = next((stop for stop in ends if is_card_number(_digits(text[start:stop]))), 0)
        if hit:
            yield start, hit
            position = max(hit, start + 1)
        else:
            position = groups[1][0] if len(groups) > 1 else max(end, start + 1)


def _digits(text: bytes) -> bytes:
    return b"".join(_GROUP.findall(text))
