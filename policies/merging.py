"""Two changes of one policy brought together: what a draft changed, on top of what was published meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import documents
from .documents import Change


@dataclass(frozen=True, slots=True)
class Merged:
    """The document with both changes. Where both changed one entry otherwise, the draft's stands in it."""

    document: dict[str, list[dict[str, Any]]]
    conflicts: tuple[Change, ...]


def merged(base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Merged:
    """Return `theirs` with the changes from `base` to `mine`; all three are canonical documents.

    A conflict is an entry that both changed, and not to the same; it is told with what `theirs` has before and what
    `mine` has after.
    """
    changed = {(change.section, change.key): change for change in documents.diff(base, theirs)}
    entries = {
        section: {documents.key_of(section, entry): entry for entry in theirs.get(section, [])}
        for section in documents.SECTIONS
    }
    conflicts: list[Change] = []
    for change in documents.diff(base, mine):
        other = changed.get((change.section, change.key))
        if other is not None and other.after != change.after:
            conflicts.append(Change(change.section, change.key, other.after, change.after))
        if change.after is None:
            entries[change.section].pop(change.key, None)
        else:
            entries[change.section][change.key] = dict(change.after)
    document = documents.canonical({section: list(found.values()) for section, found in entries.items()})
    return Merged(document, tuple(conflicts))
