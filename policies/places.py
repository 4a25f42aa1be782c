"""Where in the text of a policy document an entry stands. Pure."""

from __future__ import annotations

import re

import yaml

_ENTRY = re.compile(r"(?P<section>[a-z_]+)(?:, (?:entry (?P<number>[0-9]+)|(?P<name>.+)))?", re.DOTALL)
_LINE = re.compile(r"line ([0-9]+)")
_NAMED_BY = ("name", "note")


def line_of(text: str, place: str) -> int | None:
    """Return the line, from 1, of a `place` as `DocumentRefused` names it; None when the text has no such place."""
    told = _LINE.match(place)
    if told is not None:
        return int(told[1])
    found = _ENTRY.fullmatch(place)
    if found is None:
        return None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    entries = _member(root, found["section"])
    if entries is None:
        return None
    entry = _entry(entries, found["number"], found["name"])
    line: int = (entry or entries).start_mark.line + 1
    return line


def _entry(entries: yaml.Node, number: str | None, name: str | None) -> yaml.Node | None:
    if not isinstance(entries, yaml.SequenceNode):
        return None
    if number is not None:
        return entries.value[int(number) - 1] if 0 < int(number) <= len(entries.value) else None
    for entry in entries.value:
        if any(getattr(_member(entry, member), "value", None) == name for member in _NAMED_BY):
            found: yaml.Node = entry
            return found
    return None


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if getattr(key, "value", None) == name), None)
