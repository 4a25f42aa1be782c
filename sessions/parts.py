"""PURE: the parts of a recorded message that people read first: the arguments of a call, and the blocks of its result.

A part is cut out of the recorded text as it stands there and is never written anew, so that numbers, escapes and
duplicate members look as they were sent. What cannot be read is no error: the raw message is always there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .markup import TOKEN

MOST_BLOCKS = 200
SHOWN_CHARACTERS = 400_000
"""So much of one message stands on a page; the whole of it can be saved."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a result: `text` to be read as text or as JSON, or only a note of what is there."""

    kind: str
    text: str = ""
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as it stands on the page. `left_out` characters of it do not."""

    text: str
    left_out: int


def shown(text: str) -> Shown:
    """Return as much of `text` as a page takes."""
    return Shown(text[:SHOWN_CHARACTERS], max(0, len(text) - SHOWN_CHARACTERS))


def member(text: str, *path: str) -> str | None:
    """Return the value at `path` as it stands in the JSON text `text`, None when there is none.

    Of members of the same name the first counts.
    """
    tokens = [(found.lastgroup or "", found[0], found.start(), found.end()) for found in TOKEN.finditer(text)]
    tokens = [token for token in tokens if token[0] != "space"]
    begin, end = 0, len(tokens)
    for name in path:
        place = _value_of(tokens, begin, end, name)
        if place is None:
            return None
        begin, end = place
    return text[tokens[begin][2] : tokens[end - 1][3]] if begin < end else None


def arguments(request: str) -> str | None:
    """Return what a request asks for, without what belongs to the protocol."""
    if len(request) > SHOWN_CHARACTERS:
        return None
    return member(request, "params", "arguments") or member(request, "params")


def blocks(answer: str) -> list[Block]:
    """Return the blocks of the result of `answer`, at most `MOST_BLOCKS`; an error is one block.

    Nothing when it is no answer, or too long to be taken apart.
    """
    if len(answer) > SHOWN_CHARACTERS:
        return []
    for name in ("error", "params"):
        found = member(answer, name)
        if found is not None:
            return [Block(name, found, is_json=True)]
    result = member(answer, "result")
    if result is None:
        return []
    content = member(answer, "result", "content")
    structured = member(answer, "result", "structuredContent")
    listed = list(_content(content)) if content is not None else []
    if structured is not None:
        listed.append(Block("structured content", structured, is_json=True))
    return listed[:MOST_BLOCKS] or [Block("result", result, is_json=True)]


def _content(text: str) -> Iterator[Block]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        yield Block("content", text, is_json=True)
        return
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        kind = str(entry.get("type", "unknown"))[:40]
        words, data = entry.get("text"), entry.get("data")
        if kind == "text" and isinstance(words, str):
            yield Block("text", words)
        elif isinstance(data, str):
            media = str(entry.get("mimeType", "unknown type"))[:80]
            yield Block(f"{kind}: {media}, {len(data):,} characters of base64, not drawn here")
        else:
            yield Block(kind, json.dumps(entry, ensure_ascii=False), is_json=True)


def _value_of(tokens: Sequence[tuple[str, str, int, int]], begin: int, end: int, name: str) -> tuple[int, int] | None:
    """Return where in `tokens` the value of the member `name` of the object at `begin` stands."""
    if begin >= end or tokens[begin][1] != "{":
        return None
    place = begin + 1
    while place + 2 < end and tokens[place][0] == "text" and tokens[place + 1][1] == ":":
        after = _end_of_value(tokens, place + 2, end)
        if _is_named(tokens[place][1], name):
            return place + 2, after
        if after >= end or tokens[after][1] != ",":
            return None
        place = after + 1
    return None


def _end_of_value(tokens: Sequence[tuple[str, str, int, int]], place: int, end: int) -> int:
    depth = 0
    while place < end:
        lexeme = tokens[place][1] if tokens[place][0] == "sign" else ""
        if depth == 0 and lexeme in {",", "}", "]"}:
            return place
        depth += (lexeme in {"{", "["}) - (lexeme in {"}", "]"})
        place += 1
        if depth == 0:
            return place
    return end


def _is_named(token: str, name: str) -> bool:
    try:
        return bool(json.loads(token) == name)
    except ValueError:
        return False
