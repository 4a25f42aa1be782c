"""Where a PATCH operation points: `attribute`, `attribute.sub`, `attribute[filter].sub`, each behind a URN. Pure.

Source: RFC 7644 section 3.5.2, figure 7.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from accounts.scim import schemas
from accounts.scim.filters import Term, comparisons
from accounts.scim.refusals import bad_path

MAX_CHARACTERS: Final = 1024

_NAME = r"[A-Za-z$][A-Za-z0-9_$-]{0,127}"
_ATTRIBUTE = re.compile(rf"({_NAME})(?:\.({_NAME}))?")
_FILTERED = re.compile(rf'({_NAME})\[((?:[^"\]]|"(?:[^"\\]|\\.)*+")*+)\](?:\.({_NAME}))?')
_URN = re.compile(r"urn:[A-Za-z0-9][A-Za-z0-9._:-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Path:
    """One target.

    Attributes:
        schema: URN of the extension; empty for the core schema.
        attribute: as it was spelt; empty for all of the extension.
        where: which values of a multi-valued attribute; None for the attribute itself.
        sub: the sub-attribute; empty for the whole.
    """

    schema: str
    attribute: str
    where: tuple[Term, ...] | None = None
    sub: str = ""


def parse(text: str, *, core: str, extensions: Collection[str]) -> Path:
    """Return the target that `text` names.

    Args:
        text: `path` of an operation, or a member's name of its value.
        core: URN of the resource's own schema, which may be left out.
        extensions: URNs that, alone, name all of an extension.

    Raises:
        ScimRefused: `invalidPath`, or `invalidFilter` for what stands in brackets.
    """
    if len(text) > MAX_CHARACTERS:
        raise bad_path(f"A path has at most {MAX_CHARACTERS} characters.")
    if text.lower() == core.lower():
        raise bad_path("Name an attribute: the schema alone is the whole resource.")
    for extension in extensions:
        if text.lower() == extension.lower():
            return Path(extension, "")
    schema, rest = _split(text)
    if schema.lower() == core.lower():
        schema = ""
    else:
        schema = next((known for known in extensions if known.lower() == schema.lower()), schema)
    plain = _ATTRIBUTE.fullmatch(rest)
    if plain is not None:
        return Path(schema, plain[1], None, plain[2] or "")
    filtered = _FILTERED.fullmatch(rest)
    if filtered is None:
        raise bad_path("A path is the name of an attribute, with a filter in brackets or a sub-attribute at most.")
    return Path(schema, filtered[1], comparisons(filtered[2]), filtered[3] or "")


def is_extension(name: str) -> bool:
    """Return whether the member `name` of a user is an extension: a URN, and not the core schema's."""
    return _URN.fullmatch(name) is not None and name.lower() != schemas.USER.lower()


def _split(text: str) -> tuple[str, str]:
    """Return the URN before the attribute, which may be empty, and the rest; a filter may hold colons of its own."""
    head, bracket, tail = text.partition("[")
    if head[:4].lower() != "urn:":
        return "", text
    schema, _, attribute = head.rpartition(":")
    if _URN.fullmatch(schema) is None:
        raise bad_path("What stands before the attribute is not a URN.")
    return schema, attribute + bracket + tail
