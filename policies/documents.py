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
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from .engine.windows import DAYS

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
    """The text or object is no policy document; `place` says where, `hint` what to write.

    `section` and `key` (`key_of`) are the entry's, where that is known.
    """

    def __init__(self, place: str, hint: str, *, section: str = "", key: str = "") -> None:
        super().__init__(f"{place}: {hint}")
        self.place, self.hint = place, hint
        self.section, self.key = section, key


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
    return canonical(load(text))


def load(text: str) -> Any:
    """Return what is written in `text`, YAML or JSON, as it is written; an empty text is an empty object.

    Raises:
        DocumentRefused: it is too long or nested too deeply, is not YAML, or has what is not allowed here.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentRefused("document", "it is longer than 2 MiB")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = 0 if event.start_mark is None else event.start_mark.line
                raise DocumentRefused(f"line {line + 1}", "anchors and aliases are not allowed")
        found: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
        return {} if found is None else found
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


def _list(dumper: yaml.SafeDumper, entries: list[Any]) -> yaml.Node:
    is_one_line = all(isinstance(entry, str) for entry in entries) and sum(len(entry) + 4 for entry in entries) <= 90
    return dumper.represent_sequence("tag:yaml.org,2002:seq", entries, flow_style=is_one_line)


def _str(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _str)


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

    What is the same when it is written otherwise is written in one way: lists whose order means nothing are sorted,
    times are in UTC.

    Raises:
        DocumentRefused: it is no object, or has a member that its section does not have or that is of another kind, or
            lacks its name.
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
    tidy = {
        name: _tidy(name, _of_kind(name, entry[name], default, place))
        for name, default in members.items()
        if name in entry and entry[name] is not None
    }
    return {name: value for name, value in tidy.items() if value != members[name]}


_KINDS: Final = ((bool, "true or false"), (str, "a text; put it into quotes"), (list, "a list"), (dict, "an object"))
_SETS: Final = frozenset({"labels", "tools", "prompts", "resources", "networks", "methods", "names"})
_ROWS: Final = frozenset({"principals", "groups", "windows"})
_TIMES: Final = frozenset({"valid_from", "valid_until"})
_NAMES: Final = frozenset({"connection", "approval_rule"})


def _of_kind(name: str, value: Any, default: Any, place: str) -> Any:
    """Return `value` if it is of the kind of its member."""
    wanted = str if name in _TIMES | _NAMES else type(default)
    for kind, words in _KINDS:
        if wanted is kind and not isinstance(value, kind):
            raise DocumentRefused(place, f"{name}: write {words}")
    return value


def _tidy(name: str, value: Any) -> Any:
    """Return a member's value in the one way in which it is written."""
    if name in _SETS and all(isinstance(entry, str) for entry in value):
        return sorted({stripped for entry in value if (stripped := entry.strip())})
    if name == "windows":
        value = [_in_order_of_days(window) for window in value]
    if name in _ROWS:
        return sorted(_sorted(value), key=lambda entry: json.dumps(entry, sort_keys=True, default=str))
    if name in _TIMES:
        return _utc(value)
    if name == "condition":
        return value.strip()
    return _sorted(value)


def _in_order_of_days(window: Any) -> Any:
    days = window.get("days") if isinstance(window, dict) else None
    if not isinstance(days, list) or not all(isinstance(day, str) for day in days):
        return window
    return {**window, "days": sorted(set(days), key=lambda day: (DAYS.index(day) if day in DAYS else len(DAYS), day))}


def _sorted(value: Any) -> Any:
    """Return `value` with the members of all its objects in their order."""
    if isinstance(value, dict):
        return {name: _sorted(inner) for name, inner in sorted(value.items(), key=lambda pair: str(pair[0]))}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


def _utc(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo is None else moment.astimezone(UTC).isoformat()
