"""Bodies of SCIM requests: strict JSON, its limits, and members whose names ignore case. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accounts import keys
from accounts.scim.refusals import ScimRefused, bad_syntax, bad_value

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 16
MAX_OBJECT_MEMBERS: Final = 100
"""Members of one object; a user has about thirty attributes. What compares names relies on it."""
MAX_STRING: Final = 32 * 1024
"""Characters of one string; a picture as a data URL does not belong into a directory."""


def loads(raw: bytes) -> dict[str, Any]:
    """Return the object in `raw`, of which any two readers would make the same.

    Raises:
        ScimRefused: 413 over MAX_BYTES; `invalidSyntax` for what is not strict JSON; `invalidValue` for characters that
            cannot be stored.
    """
    if len(raw) > MAX_BYTES:
        raise ScimRefused(413, "", f"A body has at most {MAX_BYTES} bytes.")
    try:
        body = keys.load_object(raw)
    except ValueError:
        raise bad_syntax("The body must be one JSON object in UTF-8, with no member twice.") from None
    _check(body, 1)
    return body


def folded(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of `body` under their names in small letters.

    Raises:
        ScimRefused: `invalidSyntax`, when two names differ only in case.
    """
    members = {name.lower(): value for name, value in body.items()}
    if len(members) != len(body):
        raise bad_syntax("Two members differ only in case.")
    return members


def require_schema(members: Mapping[str, Any], urn: str) -> None:
    """Refuse a body that does not say that it is of the schema `urn` (RFC 7643 section 3).

    Raises:
        ScimRefused: `invalidSyntax`.
    """
    named = members.get("schemas")
    if not isinstance(named, list) or urn.lower() not in {name.lower() for name in named if isinstance(name, str)}:
        raise bad_syntax(f"The member schemas must name {urn}.")


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        _check_string(value)
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise bad_syntax(f"The body has more than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            if len(value) > MAX_OBJECT_MEMBERS:
                raise bad_value(f"An object has at most {MAX_OBJECT_MEMBERS} members.")
            for name in value:
                _check_string(name)
        for part in value.values() if isinstance(value, dict) else value:
            _check(part, depth + 1)


def _check_string(text: str) -> None:
    if len(text) > MAX_STRING:
        raise bad_value(f"A string has at most {MAX_STRING} characters.")
    if text.isascii():
        if "\x00" in text:
            raise bad_value("A string holds a character that cannot be stored.")
    elif "\x00" in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise bad_value("A string holds a character that cannot be stored.")
