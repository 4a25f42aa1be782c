"""Which attributes an answer shows: the query parameters `attributes` and `excludedAttributes`. Pure.

Source: RFC 7644 section 3.9. What is always returned (RFC 7643 section 3: `schemas`, `id`) cannot be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accounts.scim import schemas
from accounts.scim.refusals import bad_value

MAX_NAMES: Final = 100

_ALWAYS = frozenset({"schemas", "id"})
_CORE = re.compile(rf"(?:{re.escape(schemas.USER)}|{re.escape(schemas.GROUP)}):", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z$][A-Za-z0-9_$.:-]*")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Projection:
    """Names in small letters, `name`, `name.familyName` or behind the URN of an extension. None asks for everything."""

    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def shows(self, name: str) -> bool:
        """Return whether any part of the attribute is shown."""
        lower = name.lower()
        if lower in _ALWAYS:
            return True
        if self.only is None:
            return lower not in self.without
        return any(asked == lower or asked.startswith((f"{lower}.", f"{lower}:")) for asked in self.only)

    def of(self, document: Document) -> Document:
        """Return what is shown of a resource."""
        if self.only is None and not self.without:
            return document
        shown = {name: self._part(name, value) for name, value in document.items() if self.shows(name)}
        return {name: value for name, value in shown.items() if value not in ({}, [])}

    def of_page(self, page: Document) -> Document:
        """Return the list response with what is shown of each of its resources."""
        return {**page, "Resources": [self.of(document) for document in page["Resources"]]}

    def _part(self, name: str, value: Any) -> Any:
        """Return the sub-attributes of `value` that are shown; those of an extension follow a colon."""
        if name.lower() in _ALWAYS or (self.only is not None and name.lower() in self.only):
            return value
        joint = ":" if name.lower().startswith("urn:") else "."
        if isinstance(value, dict):
            return {sub: part for sub, part in value.items() if self._shows_part(f"{name}{joint}{sub}")}
        if isinstance(value, list):
            return [self._part(name, part) if isinstance(part, dict) else part for part in value]
        return value

    def _shows_part(self, name: str) -> bool:
        lower = name.lower()
        if self.only is None:
            return lower not in self.without
        return any(asked == lower or asked.startswith(f"{lower}.") for asked in self.only)


def asked(query: Mapping[str, str]) -> Projection:
    """Return what the query parameters ask for.

    Raises:
        ScimRefused: `invalidValue`: both are given, or one is not a list of names.
    """
    only, without = query.get("attributes"), query.get("excludedAttributes")
    if only is not None and without is not None:
        raise bad_value("Give attributes or excludedAttributes, not both.")
    return Projection(None if only is None else _names(only), frozenset() if without is None else _names(without))


def _names(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) > MAX_NAMES or not all(_NAME.fullmatch(name) for name in names):
        raise bad_value(f"Name at most {MAX_NAMES} attributes, with commas between them.")
    return frozenset(_CORE.sub("", name).lower() for name in names)
