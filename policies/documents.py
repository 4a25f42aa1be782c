"""Policy as one document: how it is written, compared and read back. Pure.

A document is an object with the sections grants, guardrails, masking_patterns and tests, each a list of objects whose
members stand in a fixed order and are left out when they have their default. The same policy is therefore always the
same text, so that it can live in a repository and be compared line by line. It holds no secret: credentials, keys and
identity providers are not policy.

The text is YAML without its surprises: no anchors, no tags, no member twice, at most 2 MiB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

SECTIONS: Final = ("grants", "guardrails", "masking_patterns", "tests")
MAX_BYTES: Final = 2 * 1024 * 1024
MAX_ENTRIES: Final = 10_000

MEMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "grants": {
        "connection": None,
        "labels": [],
        "principal": None,
        "group": None,
        "condition": "",
        "tools": [],
        "prompts": [],
        "resources": [],
        "windows": [],
        "networks": [],
        "valid_from": None,
        "valid_until": None,
        "note": "",
        "is_active": True,
    },
    "guardrails": {
        "name": "",
        "effect": "",
        "connection": None,
        "labels": [],
        "principals": [],
        "groups": [],
        "methods": ["*"],
        "names": ["*"],
        "annotations": {},
        "condition": "",
        "is_observed": False,
        "approval_rule": None,
        "pack": "",
        "reason": "",
        "is_active": True,
    },
    "masking_patterns": {
        "name": "",
        "pattern": "",
        "check": "none",
        "replacement": "",
        "connection": None,
        "is_active": True,
    },
    "tests": {"name": "", "given": {}, "expected": "", "rule": "", "is_active": True},
}
"""The members of an entry of each section, in their order, with their defaults."""

_WHOLE = frozenset({"name", "effect", "pattern", "given", "expected"})
_GRANT_KEY = ("connection", "labels", "principal", "group", "condition", "tools", "prompts", "resources", "windows",
              "networks", "valid_from", "valid_until", "note")  # fmt: skip


class DocumentRefused(ValueError):
    """The text or object is no policy document; `place` says where, `hint` what to write."""

    def __init__(self, place: str, hint: str) -> None:
        super().__init__(f"{place}: {hint}")
        self.place, self.hint = place, hint


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two documents. `before` None: added; `after` None: removed."""

    section: str
    key: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def members(self) -> list[tuple[str, Any, Any]]:
        """The members that differ, with both values; a default stands for what is left out."""
        defaults = MEMBERS[self.section]
        before, after = self.before or {}, self.after or {}
        return [
            (name, before.get(name, default), after.get(name, default))
            for name, default in defaults.items()
            if before.get(name, default) != after.get(name, default)
        ]


def canonical(document: object) -> dict[str, list[dict[str, Any]]]:
    """Return `document` with everything in its fixed order and defaults left out.

    Raises:
        DocumentRefused: it has other sections or members, an entry twice, or too many.
    """
    if not isinstance(document, Mapping):
        raise DocumentRefused("document", f"write an object with {', '.join(SECTIONS)}")
    for name in document:
        if name not in SECTIONS:
            raise DocumentRefused(str(name)[:40], f"there is no such section; there are {', '.join(SECTIONS)}")
    return {section: _section(section, document.get(section) or []) for section in SECTIONS}


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a canonical document, in hex."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def key_of(section: str, entry: Mapping[str, Any]) -> str:
    """Return what tells an entry from the others of its section: its name, or for a grant all that it says."""
    if section != "grants":
        return str(entry.get("name", ""))
    return json.dumps([entry.get(name) for name in _GRANT_KEY], sort_keys=True, ensure_ascii=False)


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what changes from one canonical document to another, section by section, by key."""
    changes: list[Change] = []
    for section in SECTIONS:
        old = {key_of(section, entry): entry for entry in before.get(section, [])}
        new = {key_of(section, entry): entry for entry in after.get(section, [])}
        keys = sorted(old.keys() | new.keys())
        changes += [Change(section, key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
    return changes


def read(text: str) -> dict[str, list[dict[str, Any]]]:
    """Return the canonical document that is written in `text`, YAML or JSON.

    Raises:
        DocumentRefused: with the place and what is wrong there.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentRefused("document", "it is longer than 2 MiB")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = 0 if event.start_mark is None else event.start_mark.line
                raise DocumentRefused(f"line {line + 1}", "anchors and aliases are not allowed")
        return canonical(yaml.load(text, Loader=_Loader) or {})  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "document" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
        raise DocumentRefused(place, str(getattr(error, "problem", None) or "this is not YAML")) from None
    except RecursionError:
        raise DocumentRefused("document", "it is nested too deeply") from None


def write(document: Mapping[str, Any]) -> str:
    """Return a document as YAML; the same policy is always the same text, in whatever order a database kept it."""
    ordered = canonical(document)
    filled = {section: ordered[section] for section in SECTIONS if ordered[section]}
    if not filled:
        return "{}\n"
    text: str = yaml.dump(filled, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Loader(yaml.SafeLoader):
    """Reads plain values only: dates stay texts, and a member that stands twice is refused."""


class _Dumper(yaml.SafeDumper):
    """Writes without aliases, lists of texts in one line and texts of many lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _once(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the member {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _once)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _section(section: str, entries: object) -> list[dict[str, Any]]:
    if not isinstance(entries, list):
        raise DocumentRefused(section, "write a list")
    if len(entries) > MAX_ENTRIES:
        raise DocumentRefused(section, f"there can be at most {MAX_ENTRIES} entries")
    found: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries, start=1):
        tidy = entry_of(section, entry, f"{section}, entry {number}")
        key = key_of(section, tidy)
        if key in found:
            raise DocumentRefused(f"{section}, entry {number}", "the same entry stands in the document already")
        found[key] = tidy
    return [found[key] for key in sorted(found)]


def entry_of(section: str, entry: object, place: str = "entry") -> dict[str, Any]:
    """Return one entry with its members in their order and defaults left out.

    Raises:
        DocumentRefused: it is no object, or has a member that its section does not have, or lacks its name.
    """
    members = MEMBERS[section]
    if not isinstance(entry, Mapping):
        raise DocumentRefused(place, f"write an object with {', '.join(members)}")
    for name in entry:
        if name not in members:
            raise DocumentRefused(place, f"{str(name)[:40]!r} is not known; there are {', '.join(members)}")
    for name in sorted(_WHOLE & members.keys()):
        if section != "grants" and not entry.get(name):
            raise DocumentRefused(place, f"{name!r} is missing")
    return {name: entry[name] for name, default in members.items() if name in entry and (entry[name] != default)}
