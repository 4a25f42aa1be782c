"""What a tool definition says, whether it is the one that was reviewed, and what in it a reviewer has to look at. Pure.

A definition is compared by a digest over everything that a model or a client may act on: name, title, description,
schemas, annotations, icons. The order of members and the spelling of the JSON are no change.

Sources: MCP specification, "Tools", data type Tool; RFC 8785 (canonical order); OWASP MCP03 (tool poisoning).
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

NOT_PINNED: Final = frozenset({"_meta"})
"""Members that are not compared. Everything else is, also what a later revision of the protocol adds."""
MAX_TEXT: Final = 4_000
"""A longer text in a definition is flagged: instructions hide well in what nobody reads to the end."""

TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")
"""What a tool may be called (MCP 2025-11-25, "Tool Names"); also what a call may ask for."""

_ANSI = re.compile(r"[\x1b\x9b]")
_COMMENT = re.compile(r"<!--")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2064\u206a-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0]"
)
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TAGS = re.compile("[\U000e0000-\U000e007f\U000e0100-\U000e01ef]")
_LOOK_ALIKE: Final = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "2": "z", "8": "b"})
_SEPARATORS = re.compile(r"[-_./]+")


@dataclass(frozen=True, slots=True)
class Pinned:
    """A tool as calls and lists are judged by it: which definition was accepted, which one was seen last."""

    digest: str
    seen_digest: str
    is_accepted: bool


def digest(definition: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical form of a definition, in hex."""
    pinned = {name: value for name, value in definition.items() if name not in NOT_PINNED}
    text = json.dumps(pinned, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def is_storable(definition: Mapping[str, Any]) -> bool:
    """Tell whether a definition can be kept and shown: its name is one that may be called, and no text has a NUL."""
    name = definition.get("name")
    if not isinstance(name, str) or TOOL_NAME.fullmatch(name) is None:
        return False
    return not any("\0" in text for _, text in _texts(definition, ""))


def flags(definition: Mapping[str, Any]) -> list[str]:
    """Return what a reviewer has to look at, each as `place: what`, in the order of the definition."""
    found: list[str] = []
    for place, text in _texts(definition, ""):
        found += [f"{place}: {what}" for what in _findings(text)]
    return found


def _findings(text: str) -> Iterator[str]:
    if _TAGS.search(text):
        yield "invisible tag characters"
    if _INVISIBLE.search(text):
        yield "invisible characters"
    if _DIRECTION.search(text):
        yield "characters that turn the direction of text"
    if _ANSI.search(text):
        yield "terminal control sequences"
    elif _CONTROL.search(text):
        yield "control characters"
    if _COMMENT.search(text):
        yield "an HTML comment"
    if len(text) > MAX_TEXT:
        yield f"a text of {len(text)} characters"
    if _mixes_scripts(text):
        yield "letters of several scripts within one word"


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a definition, member names included, with its place."""
    waiting: list[tuple[str, Any]] = [(place, value)]
    while waiting:
        where, found = waiting.pop()
        if isinstance(found, str):
            yield where or "definition", found
        elif isinstance(found, Mapping):
            for name, member in reversed(list(found.items())):
                waiting.append((f"{where}.{name}".lstrip("."), member))
                if not str(name).isascii() or "\0" in str(name):
                    waiting.append((f"{where} (a member's name)".strip(), str(name)))
        elif isinstance(found, list | tuple):
            waiting.extend((f"{where}[{index}]", entry) for index, entry in reversed(list(enumerate(found))))


def _mixes_scripts(text: str) -> bool:
    """Tell whether a word has Latin letters beside Cyrillic or Greek ones, which look the same."""
    if text.isascii():
        return False
    for word in re.findall(r"\w+", text):
        if word.isascii():
            continue
        scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in word if letter.isalpha()}
        if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL"}:
            return True
    return False


def skeleton(name: str) -> str:
    """Return what a name looks like at a glance: two names of one skeleton are taken for each other."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _SEPARATORS.sub("", folded).translate(_LOOK_ALIKE).replace("rn", "m").replace("vv", "w")


def twins(names: Iterable[str]) -> dict[str, str]:
    """Return the names that can be taken for another one of `names`, each with that other one."""
    by_skeleton: dict[str, list[str]] = {}
    for name in names:
        by_skeleton.setdefault(skeleton(name), []).append(name)
    return {
        name: next(other for other in alike if other != name)
        for alike in by_skeleton.values()
        if len(set(alike)) > 1
        for name in alike
    }


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return the members that differ between two definitions: place, old and new value as JSON, empty where none is."""
    old, new = (dict(_leaves(definition, "")) if definition else {} for definition in (before, after))
    return [
        (place, old.get(place, ""), new.get(place, ""))
        for place in [*old, *(place for place in new if place not in old)]
        if old.get(place) != new.get(place)
    ]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name in sorted(value):
            if place or name not in NOT_PINNED:
                yield from _leaves(value[name], f"{place}.{name}".lstrip("."))
    elif isinstance(value, list) and value and any(isinstance(entry, Mapping | list) for entry in value):
        for index, entry in enumerate(value):
            yield from _leaves(entry, f"{place}[{index}]")
    else:
        yield place, json.dumps(value, ensure_ascii=False, sort_keys=True)
