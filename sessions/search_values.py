"""PURE: keyed digests of argument values, by which calls are found and from which nobody reads a value.

Each scalar below `arguments` gives two numbers: one of its value alone, and one of its value under its name. A name is
the path of members without positions, such as `items.sku`. The number is the first eight bytes of HMAC-SHA-256 under a
key that is not in the database: whoever holds the table alone cannot try values.

A number that is written with or without a fraction of zero is the same value; a text of digits is another one, so a
search looks for both.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

MOST_VALUES = 100
MOST_CHARACTERS = 1024
"""Longer texts are no values that somebody looks for by themselves; their words are in the full text."""
MOST_DEPTH = 12

_MASKED = "[MASKED:"


def digests_of(arguments: object, key: bytes) -> list[int]:
    """Return the numbers of the scalars of `arguments`, of the first `MOST_VALUES` of them."""
    found: dict[int, None] = {}
    for count, (name, canonical) in enumerate(_scalars(arguments, "", 0)):
        if count == MOST_VALUES:
            break
        found[_number(key, "", canonical)] = None
        if name:
            found[_number(key, name, canonical)] = None
    return list(found)


def wanted(name: str, text: str, keys: Sequence[bytes]) -> list[int]:
    """Return the numbers that a value typed as `text` may have, under each of `keys`; `name` may be empty."""
    given: list[Any] = [text]
    with suppress(ValueError, RecursionError):
        given.append(json.loads(text))
    spellings = {spelling for value in given if (spelling := _canonical(value)) is not None}
    return [_number(key, name, spelling) for key in keys for spelling in sorted(spellings)]


def _scalars(value: object, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from _scalars(inner, f"{name}.{member}" if name else str(member), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _scalars(inner, name, depth + 1)
    else:
        canonical = _canonical(value)
        if canonical is not None:
            yield name, canonical


def _canonical(value: Any) -> str | None:
    """Return the one spelling of a scalar, with its kind; None of what is none, too long, or masked."""
    if isinstance(value, bool):
        return f"b{int(value)}"
    if isinstance(value, int):
        return f"n{value}" if value.bit_length() < 4096 else None
    if isinstance(value, float):
        return f"n{int(value)}" if value.is_integer() else f"n{value!r}"
    if isinstance(value, str) and len(value) <= MOST_CHARACTERS and _MASKED not in value:
        return f"s{value}"
    return None


def _number(key: bytes, name: str, canonical: str) -> int:
    encoded = name.encode("utf-8", "surrogatepass")
    message = len(encoded).to_bytes(4, "big") + encoded + canonical.encode("utf-8", "surrogatepass")
    return int.from_bytes(hmac.digest(key, message, "sha256")[:8], "big", signed=True)
