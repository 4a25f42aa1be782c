"""Users and groups as they are written by a provider and shown to it. Pure.

Sources: RFC 7643 sections 3.1, 4.1 and 4.2; RFC 7644 sections 3.4.2.5 and 3.9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from accounts.scim import bodies, paths, schemas, values
from accounts.scim.refusals import bad_syntax, bad_value

MAX_MEMBERS: Final = 10_000
"""Members that one request may name; a group may have more."""
MAX_NAME: Final = 255
_MAX_EMAIL: Final = 320
_NEVER_KEPT: Final = schemas.READ_ONLY | {"password"}

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UserValues:
    """What the gateway reads of a user; `attributes` is everything, the four before it included.

    `external_id` and `is_active` are None when the provider said nothing of them.
    """

    user_name: str
    external_id: str | None
    is_active: bool | None
    display_name: str
    email: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GroupValues:
    """A group as it was written; `external_id` is None when the provider said nothing of it."""

    display_name: str
    external_id: str | None
    members: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Reference:
    """Another resource of the same provider."""

    id: UUID
    display: str


def user_values(body: Mapping[str, Any]) -> UserValues:
    """Return the user of the body of a POST or PUT request. Passwords and what only the gateway writes are left out.

    Raises:
        ScimRefused: `invalidSyntax` or `invalidValue`.
    """
    members = bodies.folded(body)
    bodies.require_schema(members, schemas.USER)
    attributes: Document = {}
    for given, value in body.items():
        name = given if paths.is_extension(given) else values.spelt(given)
        if name in _NEVER_KEPT or value is None:
            continue
        kept = _read(name, value)
        if kept not in (None, [], {}):
            attributes[name] = kept
    return values_of(attributes)


def values_of(attributes: Mapping[str, Any]) -> UserValues:
    """Return what the gateway reads of these attributes.

    Raises:
        ScimRefused: `invalidValue`: a name is missing or too long, or there is too much.
    """
    values.refuse_too_much(attributes)
    external_id = attributes.get("externalId")
    return UserValues(
        user_name=named("userName", attributes.get("userName")),
        external_id=None if external_id is None else named("externalId", external_id),
        is_active=attributes.get("active"),
        display_name=_display_name(attributes)[:MAX_NAME],
        email=_email(attributes)[:_MAX_EMAIL],
        attributes=attributes,
    )


def group_values(body: Mapping[str, Any]) -> GroupValues:
    """Return the group of the body of a POST or PUT request.

    Raises:
        ScimRefused: `invalidSyntax` or `invalidValue`.
    """
    members = bodies.folded(body)
    bodies.require_schema(members, schemas.GROUP)
    external_id = values.simple("externalId", members.get("externalid"))
    return GroupValues(
        display_name=named("displayName", values.simple("displayName", members.get("displayname"))),
        external_id=None if external_id is None else named("externalId", external_id),
        members=member_ids(members.get("members")),
    )


def member_ids(value: Any) -> frozenset[UUID]:
    """Return the ids of a list of members; one member may stand without its list.

    Raises:
        ScimRefused: `invalidValue`: too many, or one that cannot be the id of a user.
    """
    if value is None:
        return frozenset()
    given = value if isinstance(value, list) else [value]
    if len(given) > MAX_MEMBERS:
        raise bad_value(f"A request names at most {MAX_MEMBERS} members.")
    return frozenset(values.resource_id(_member_value(part)) for part in given)


def named(attribute: str, value: Any) -> str:
    """Return `value` as the text that the attribute must have.

    Raises:
        ScimRefused: `invalidValue`: it is missing, blank or too long.
    """
    if not isinstance(value, str) or not value.strip():
        raise bad_value(f"{attribute} is needed, and is a text that is not blank.")
    if len(value) > MAX_NAME:
        raise bad_value(f"{attribute} has at most {MAX_NAME} characters.")
    return value


def user_document(
    *,
    user_id: UUID,
    attributes: Mapping[str, Any],
    groups: Collection[Reference],
    times: tuple[datetime, datetime],
    base: str,
) -> Document:
    """Return a user as a provider reads it; `times` are when it was created and last changed."""
    extensions = sorted(name for name in attributes if paths.is_extension(name))
    document: Document = {"schemas": [schemas.USER, *extensions], "id": str(user_id), **attributes}
    if groups:
        document["groups"] = [_reference(group, "Groups", base) | {"type": "direct"} for group in groups]
    document["meta"] = _meta("User", f"{base}/Users/{user_id}", created=times[0], changed=times[1])
    return document


def group_document(
    *,
    group_id: UUID,
    display_name: str,
    external_id: str,
    members: Collection[Reference] | None,
    changed: datetime | None,
    base: str,
) -> Document:
    """Return a group as a provider reads it; `members` is None when they were not asked for."""
    document: Document = {"schemas": [schemas.GROUP], "id": str(group_id), "displayName": display_name}
    if external_id:
        document["externalId"] = external_id
    if members is not None:
        document["members"] = [_reference(member, "Users", base) | {"type": "User"} for member in members]
    document["meta"] = _meta("Group", f"{base}/Groups/{group_id}", changed=changed)
    return document


def list_document(resources: list[Document], *, total: int, start: int) -> Document:
    """Return one page of a list (RFC 7644 section 3.4.2)."""
    return {
        "schemas": [schemas.LIST_RESPONSE],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def _read(name: str, value: Any) -> Any:
    if paths.is_extension(name):
        if not isinstance(value, dict):
            raise bad_syntax("An extension is an object.")
        return values.present(value)
    if name in schemas.SIMPLE:
        return values.simple(name, value)
    if name in schemas.MULTIPLE:
        return [part for part in values.elements(value) if part]
    if name in schemas.COMPLEX:
        if not isinstance(value, dict):
            raise bad_value("The value of this attribute is an object.")
        return values.present(value)
    return value


def _display_name(attributes: Mapping[str, Any]) -> str:
    name = attributes.get("name", {})
    parts = " ".join(part for part in (name.get("givenName"), name.get("familyName")) if isinstance(part, str))
    formatted = name.get("formatted")
    return attributes.get("displayName") or (formatted if isinstance(formatted, str) else "") or parts.strip()


def _email(attributes: Mapping[str, Any]) -> str:
    """Return the address to show: the primary one, else the one for work, else the first."""
    listed = attributes.get("emails", [])
    addresses = [part for part in listed if isinstance(part, dict) and isinstance(part.get("value"), str)]
    addresses.sort(key=lambda part: (part.get("primary") is not True, part.get("type") != "work"))
    return str(addresses[0]["value"]) if addresses else ""


def _member_value(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    members = bodies.folded(part)
    kind = members.get("type")
    if isinstance(kind, str) and kind.lower() == "group":
        raise bad_value("A member of a group is a user: groups within groups are not provisioned.")
    return members.get("value")


def _reference(other: Reference, endpoint: str, base: str) -> Document:
    return {"value": str(other.id), "$ref": f"{base}/{endpoint}/{other.id}", "display": other.display}


def _meta(kind: str, location: str, *, created: datetime | None = None, changed: datetime | None) -> Document:
    times = {"created": created, "lastModified": changed}
    shown = {name: time.isoformat().replace("+00:00", "Z") for name, time in times.items() if time is not None}
    return {"resourceType": kind, **shown, "location": location}
