"""Values of attributes, read the way that provisioning services write them. Pure.

Entra has written booleans as "True" and "False", and simple values as a list with one object; both are understood. What
could be meant in two ways is refused, above all for `active`: nobody stays active because of a value that was not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from accounts.scim import schemas
from accounts.scim.refusals import bad_value

MAX_ELEMENTS: Final = 100
"""Values of one attribute of a user."""
MAX_ATTRIBUTES: Final = 100
"""Attributes of a user, and members of each of their values."""
MAX_BYTES: Final = 64 * 1024
"""Of everything that is kept of one user, as JSON."""

_BOOLEANS: Final = {"true": True, "false": False}


def spelt(name: str, *, schema: str = "") -> str:
    """Return the attribute's name as its schema spells it; an unknown one stays as it is."""
    if schema:
        is_enterprise = schema.lower() == schemas.ENTERPRISE.lower()
        return schemas.ENTERPRISE_NAMES.get(name.lower(), name) if is_enterprise else name
    return schemas.CORE_NAMES.get(name.lower(), name)


def boolean(value: Any) -> bool:
    """Return `value` as a boolean; the texts True and False count, in any case.

    Raises:
        ScimRefused: `invalidValue`, for anything else.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise bad_value("A boolean is true or false.")


def simple(name: str, value: Any) -> Any:
    """Return the value of a simple attribute.

    Raises:
        ScimRefused: `invalidValue`: it is a list or an object, or of the wrong type.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "value" in value[0]:
        value = value[0]["value"]
    if name == "active":
        return boolean(value)
    if value is not None and not isinstance(value, str):
        raise bad_value("The value of this attribute is a string.")
    return value


def elements(value: Any) -> list[Any]:
    """Return the values of a multi-valued attribute; a single one may stand without its list.

    Raises:
        ScimRefused: `invalidValue`: too many, or one that is not an object.
    """
    given = value if isinstance(value, list) else [value]
    if len(given) > MAX_ELEMENTS:
        raise bad_value(f"An attribute of a user has at most {MAX_ELEMENTS} values.")
    return [element(part) for part in given]


def element(value: Any) -> dict[str, Any]:
    """Return one value of a multi-valued attribute, a plain text as `{"value": text}`.

    Raises:
        ScimRefused: `invalidValue`, for anything else.
    """
    if isinstance(value, str):
        return {"value": value}
    if not isinstance(value, dict):
        raise bad_value("A value of this attribute is an object.")
    return {name: boolean(part) if name.lower() == "primary" else part for name, part in present(value).items()}


def refuse_too_much(attributes: Mapping[str, Any]) -> None:
    """Refuse attributes of a user that are more than one is kept with.

    Raises:
        ScimRefused: `invalidValue`.
    """
    if len(attributes) > MAX_ATTRIBUTES or len(json.dumps(attributes)) > MAX_BYTES:
        raise bad_value(f"A user has at most {MAX_ATTRIBUTES} attributes in {MAX_BYTES} bytes.")


def present(value: dict[str, Any]) -> dict[str, Any]:
    """Return the members that have a value: null and nothing are the same (RFC 7643 section 2.5)."""
    return {name: part for name, part in value.items() if part is not None}


def resource_id(value: Any) -> UUID:
    """Return the id of a resource of ours.

    Raises:
        ScimRefused: `invalidValue`, when it cannot be one.
    """
    found = maybe_id(value)
    if found is None:
        raise bad_value("A member is named by the id that this service gave to the user.")
    return found


def maybe_id(value: Any) -> UUID | None:
    """Return `value` as an id as this service writes ids, or None; case does not matter."""
    if not isinstance(value, str) or len(value) != 36:
        return None
    try:
        found = UUID(value)
    except ValueError:
        return None
    return found if str(found) == value.lower() else None
