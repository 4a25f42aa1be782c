"""Policy as a file: where in its text something is wrong, and what would change, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml

from . import documents
from .documents import MEMBERS, SECTIONS, Change, DocumentRefused
from .wording import SECTION_TITLES, shown, title_of

_PLACE = re.compile(r"line ([0-9]+)(?:, column ([0-9]+))?")
_ENTRY = re.compile(r"([a-z_]+), entry ([0-9]+)")
_MEMBER = re.compile(r"'?([a-z_]+)'?(?=:| is )")
_CHARACTER = re.compile(r"at character ([0-9]+)", re.IGNORECASE)
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a text, line and column from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


def spot_of(text: str, error: DocumentRefused) -> Spot:
    """Return where in `text` lies what `error` speaks of: the value, else its entry, its section, or the beginning."""
    told = _PLACE.match(error.place)
    if told is not None:
        return Spot(int(told[1]), int(told[2] or 1))
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return Spot(1, 1)
    numbered = _ENTRY.match(error.place)
    section = error.section or (numbered[1] if numbered else error.place.partition(",")[0])
    entries = _member(root, section) if section in SECTIONS else None
    if entries is None:
        key = _key(root, error.place)
        return Spot(1, 1) if key is None else _start(key)
    position = int(numbered[2]) - 1 if numbered else _position(text, section, error.key)
    if position is None or not isinstance(entries, yaml.SequenceNode) or position >= len(entries.value):
        return _start(entries)
    return _within(entries.value[position], section, error.hint)


def _within(entry: yaml.Node, section: str, hint: str) -> Spot:
    """Return the place of the member that `hint` begins with, and of its character if it names one."""
    named = _MEMBER.match(hint)
    value = _member(entry, named[1]) if named is not None and named[1] in MEMBERS[section] else None
    if value is None:
        unknown = re.match(r"'([^']*)' is not known", hint)
        key = _key(entry, unknown[1]) if unknown else None
        return _start(entry if key is None else key)
    spot = _start(value)
    character = _CHARACTER.search(hint)
    is_one_line = value.start_mark.line == value.end_mark.line
    if character is None or not isinstance(value, yaml.ScalarNode) or not is_one_line:
        return spot
    # Escapes inside quotes shift what stands behind them; the line is right all the same.
    return Spot(spot.line, spot.column + int(character[1]) - 1 + (value.style in {"'", '"'}))


def _position(text: str, section: str, key: str) -> int | None:
    """Return which entry of the text has the key."""
    if not key:
        return None
    try:
        entries = documents.load(text).get(section, [])
        keys = [documents.key_of(section, documents.entry_of(section, entry)) for entry in entries]
    except (DocumentRefused, AttributeError, TypeError):
        return None
    return keys.index(key) if key in keys else None


def _start(node: yaml.Node) -> Spot:
    return Spot(node.start_mark.line + 1, node.start_mark.column + 1)


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if getattr(key, "value", None) == name), None)


def _key(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((key for key, _ in node.value if getattr(key, "value", None) == name), None)


def told(changes: Iterable[Change]) -> Iterator[str]:
    """Yield the lines that say what changes, section by section."""
    by_section: dict[str, list[Change]] = {}
    for change in changes:
        by_section.setdefault(change.section, []).append(change)
    for section in SECTIONS:
        found = by_section.get(section, [])
        if found:
            yield SECTION_TITLES[section]
        for change in found:
            yield f"  {_SIGNS[change.kind]} {title_of(change)}"
            if change.kind == "changed":
                for name, before, after in change.members:
                    yield f"      {name}: {_worded(before)} -> {_worded(after)}"


def _worded(value: object) -> str:
    return shown(value) or "(nothing)"
