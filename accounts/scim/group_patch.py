"""PATCH of a group, as what has to change: no member that stays is ever looked at. Pure.

So adding one person to a group of a hundred thousand costs what adding one person costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from accounts.scim import paths, schemas, values
from accounts.scim.filters import Term
from accounts.scim.patch import Operation
from accounts.scim.paths import Path
from accounts.scim.refusals import bad_filter, bad_path, bad_value, immutable
from accounts.scim.resources import MAX_MEMBERS, member_ids, named

_NAMES = {"displayname": "displayName", "externalid": "externalId", "members": "members"}
_READ_ONLY = frozenset({"id", "schemas", "meta"})


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What all operations of a request come to.

    Attributes:
        display_name: the new one, or None.
        external_id: the new one, empty to take it away, or None.
        clears: whether those members go that are not in `added`.
        added, removed: members that are there, and not there, afterwards. They have nothing in common.
    """

    display_name: str | None = None
    external_id: str | None = None
    clears: bool = False
    added: frozenset[UUID] = frozenset()
    removed: frozenset[UUID] = frozenset()


def group_change(asked: Iterable[Operation], *, group_id: str) -> GroupChange:
    """Return what the operations come to, in their order, for the group `group_id`.

    Raises:
        ScimRefused: an operation cannot be applied; then none is.
    """
    change, named = GroupChange(), 0
    added: set[UUID] = set()
    removed: set[UUID] = set()
    for operation in asked:
        for path, value in _targets(operation, group_id):
            if path.attribute != "members":
                change = _renamed(change, operation.kind, path, value)
                continue
            ids = _members(path, operation.kind, value)
            if ids is None or operation.kind == "replace":
                change = replace(change, clears=True)
                added.clear()
                removed.clear()
            ids = ids or frozenset()
            named += len(ids)
            if named > MAX_MEMBERS:
                raise bad_value(f"A request names at most {MAX_MEMBERS} members.")
            gaining, losing = (removed, added) if operation.kind == "remove" else (added, removed)
            gaining |= ids
            losing -= ids
    return replace(change, added=frozenset(added), removed=frozenset(removed))


def _targets(operation: Operation, group_id: str) -> list[tuple[Path, Any]]:
    """Return what an operation is about; members of a whole value that a group does not have are left out."""
    if operation.path is not None:
        path = _path(operation.path)
        if path.schema or path.attribute not in _NAMES.values():
            refused = immutable if path.attribute.lower() in _READ_ONLY else bad_path
            raise refused("A path of a group is displayName, externalId or members.")
        return [(path, operation.value)]
    if not isinstance(operation.value, dict):
        raise bad_value("An operation without a path has an object as its value.")
    for name, value in operation.value.items():
        if name.lower() == "id" and value != group_id:
            raise immutable("The id of a resource never changes.")
    listed = [(_path(name), value) for name, value in operation.value.items() if name.lower() not in _READ_ONLY]
    return [(path, value) for path, value in listed if not path.schema and path.attribute in _NAMES.values()]


def _path(text: str) -> Path:
    path = paths.parse(text, core=schemas.GROUP, extensions=())
    return replace(path, attribute=_NAMES.get(path.attribute.lower(), path.attribute))


def _renamed(change: GroupChange, kind: str, path: Path, value: Any) -> GroupChange:
    if path.where is not None or path.sub:
        raise bad_path("This attribute of a group is a text, and has no parts.")
    text = None if kind == "remove" else values.simple(path.attribute, value)
    if path.attribute == "externalId":
        return replace(change, external_id="" if text is None else named("externalId", text))
    return replace(change, display_name=named("displayName", text))


def _members(path: Path, kind: str, value: Any) -> frozenset[UUID] | None:
    """Return the members that an operation names; None when it removes all of them."""
    if path.sub:
        raise bad_path('Members are named as a whole: members, or members[value eq "..."].')
    if path.where is not None:
        if kind == "replace":
            raise bad_path("A member is added or removed; there is nothing in it to replace.")
        return frozenset({_only_value(path.where)})
    if kind == "remove" and value is None:
        return None
    ids = member_ids(value)
    if kind == "remove" and not ids:
        raise bad_value("Name the members to remove; without a value, the path members removes them all.")
    return ids


def _only_value(where: tuple[Term, ...]) -> UUID:
    if len(where) != 1 or where[0].attribute.lower() != "value" or not isinstance(where[0].value, str):
        raise bad_filter('A member is found by its value: members[value eq "..."].')
    return values.resource_id(where[0].value)
