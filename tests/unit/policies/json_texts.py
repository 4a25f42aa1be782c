"""JSON texts written in every way that the grammar allows, for hypothesis; and the slow, obvious way to mask one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import orjson
from hypothesis import strategies as st

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@st.composite
def json_texts(draw, leaves: st.SearchStrategy[str]) -> bytes:
    """One JSON text whose strings come from `leaves`, with any white space, escapes and repeated names."""
    return draw(_values(leaves, 3)).encode()


def _values(leaves: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[str]:
    space = st.sampled_from(["", "", " ", "\n\t", "\r\n"])
    numbers = st.sampled_from(["0", "-0", "1.50", "1e5", "123456789012345678901234567890", "-0.10E+2"])
    scalars = st.one_of(numbers, st.sampled_from(["true", "false", "null"]), written_strings(leaves))
    if not depth:
        return scalars
    inner = _values(leaves, depth - 1)
    items = st.lists(st.tuples(space, inner, space).map("".join), max_size=4).map(lambda parts: f"[{','.join(parts)}]")
    member = st.tuples(space, written_strings(leaves), space, st.just(":"), space, inner, space).map("".join)
    members = st.lists(member, max_size=4).map(lambda parts: f"{{{','.join(parts)}}}")
    return st.one_of(scalars, items, members)


@st.composite
def written_strings(draw, leaves: st.SearchStrategy[str]) -> str:
    """One JSON string, each character raw or escaped in one of its ways."""
    text = draw(leaves)
    ways = draw(
        st.lists(st.integers(0, 3), min_size=len(text), max_size=len(text)) if draw(st.booleans()) else st.none()
    )
    return '"' + "".join(_written(c, way) for c, way in zip(text, ways or [0] * len(text), strict=True)) + '"'


def _written(c: str, way: int) -> str:
    must = c in '"\\' or ord(c) < 0x20
    if way == 0 and not must:
        return c
    if way in (0, 1) and c in _SHORT:
        return _SHORT[c]
    escaped = json.dumps(c)[1:-1]
    if not escaped.startswith("\\u"):
        escaped = f"\\u{ord(c):04x}"
    return escaped.upper().replace("\\U", "\\u") if way == 3 else escaped


def strings_of(message: bytes) -> list[str]:
    """Every string of a JSON text, names of members and repeated ones included."""
    return [json.loads(found) for found in _STRING.findall(message.decode())]


def masked_slowly(message: bytes, mask: Callable[[str], str]) -> bytes:
    """`message` with every string that `mask` changes written anew."""

    def replace(found: re.Match[str]) -> str:
        text = json.loads(found.group())
        changed = mask(text)
        return found.group() if changed == text else orjson.dumps(changed).decode()

    return _STRING.sub(replace, message.decode()).encode()
