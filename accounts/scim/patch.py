"""PATCH: the operations of a request, and what they make of a user. Pure.

`user_patched` works on a copy and returns it whole, or refuses: no operation is ever applied without all the others.

Sources: RFC 7644 section 3.5.2; the bodies that Okta and Entra document. Entra has been known to capitalise the
operation, to put paths where names of members belong, to name values that are not there yet by a filter, and to remove
members by a value beside the path.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accounts.scim import bodies, paths, schemas, values
from accounts.scim.filters import Term
from accounts.scim.paths import Path
from accounts.scim.refusals import bad_path, bad_syntax, bad_value, immutable, no_target

MAX_OPERATIONS: Final = 1000

_KINDS: Final = frozenset({"add", "replace", "remove"})
_REQUIRED: Final = frozenset({"userName", "active"})

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `path` is None when the value names its targets itself; a missing value is None."""

    kind: str
    path: str | None
    value: Any


def operations(body: Mapping[str, Any]) -> tuple[Operation, ...]:
    """Return the operations of the body of a PATCH request, in their order.

    Raises:
        ScimRefused: `invalidSyntax`, `invalidValue` for more than MAX_OPERATIONS, `noTarget` for a removal of nothing.
    """
    members = bodies.folded(body)
    bodies.require_schema(members, schemas.PATCH)
    listed = members.get("operations")
    if not isinstance(listed, list) or not listed:
        raise bad_syntax("The member Operations is a list of at least one operation.")
    if len(listed) > MAX_OPERATIONS:
        raise bad_value(f"A request has at most {MAX_OPERATIONS} operations.")
    return tuple(_operation(entry) for entry in listed)


def user_patched(attributes: Mapping[str, Any], asked: tuple[Operation, ...], *, user_id: str) -> Attributes:
    """Return what the attributes of the user `user_id` are after all operations; `attributes` stay untouched.

    Raises:
        ScimRefused: an operation cannot be applied; then none is.
    """
    user: Attributes = copy.deepcopy(dict(attributes))
    targets = [target for operation in asked for target in _targets(operation, user_id)]
    if len(targets) > MAX_OPERATIONS:
        raise bad_value(f"A request changes at most {MAX_OPERATIONS} attributes.")
    for kind, path, value in targets:
        _apply(user, kind, _path(user, path), value)
        # After each, so that operations that build on each other cannot pile up more than one user ever has.
        values.refuse_too_much(user)
    return user


def _targets(operation: Operation, user_id: str) -> list[tuple[str, str, Any]]:
    """Return kind, path and value of everything that an operation changes."""
    if operation.path is not None:
        return [(operation.kind, operation.path, operation.value)]
    if not isinstance(operation.value, dict):
        raise bad_value("An operation without a path has an object as its value.")
    listed = operation.value.items()
    return [(operation.kind, name, value) for name, value in listed if not _is_ours(name, value, user_id)]


def _operation(entry: Any) -> Operation:
    if not isinstance(entry, dict):
        raise bad_syntax("An operation is an object.")
    members = bodies.folded(entry)
    kind, path = members.get("op"), members.get("path")
    if not isinstance(kind, str) or kind.lower() not in _KINDS:
        raise bad_syntax("The member op is add, replace or remove.")
    if path is not None and not isinstance(path, str):
        raise bad_path("A path is a string.")
    if not path and kind.lower() == "remove":
        raise no_target("An operation that removes names its target by a path.")
    if kind.lower() != "remove" and "value" not in members:
        raise bad_value("An operation that adds or replaces has a value.")
    return Operation(kind.lower(), path or None, members.get("value"))


def _is_ours(name: str, value: Any, user_id: str) -> bool:
    """Tell whether a member of a whole value is one that only this service writes, repeated by the client."""
    if values.spelt(name) == "id" and value != user_id:
        raise immutable("The id of a resource never changes.")
    return values.spelt(name) in schemas.READ_ONLY


def _path(user: Attributes, text: str) -> Path:
    known = {schemas.ENTERPRISE, *(name for name in user if paths.is_extension(name))}
    return paths.parse(text, core=schemas.USER, extensions=known)


def _apply(user: Attributes, kind: str, path: Path, value: Any) -> None:
    """Apply one operation at one place."""
    if not path.schema:
        _apply_within(user, kind, path, value)
        return
    extension = user.setdefault(path.schema, {})
    if len(extension) > values.MAX_ATTRIBUTES:
        raise bad_value(f"An extension has at most {values.MAX_ATTRIBUTES} attributes.")
    if path.attribute:
        _apply_within(extension, kind, path, value)
    elif kind == "remove":
        extension.clear()
    else:
        if not isinstance(value, dict):
            raise bad_value("The value of an extension is an object.")
        for name, part in value.items():
            inner = paths.parse(name, core=path.schema, extensions=())
            _apply_within(extension, kind, Path(path.schema, inner.attribute, inner.where, inner.sub), part)
    if not extension:
        del user[path.schema]


def _apply_within(holder: Attributes, kind: str, path: Path, value: Any) -> None:
    name = _held_name(holder, path)
    if not path.schema and name in schemas.READ_ONLY:
        raise immutable("This attribute is written by the gateway alone.")
    if not path.schema and name == "password":
        return
    if path.where is not None:
        _apply_to_matching(holder, name, kind, path, value)
    elif path.sub:
        _apply_to_part(holder, name, kind, path.sub, value)
    elif kind == "remove" or value is None:
        _remove(holder, name, value, is_core=not path.schema)
    else:
        _set(holder, name, kind, value, is_core=not path.schema)


def _held_name(holder: Attributes, path: Path) -> str:
    """Return the name under which `holder` has the attribute, or will have it."""
    name = values.spelt(path.attribute, schema=path.schema)
    return name if name in holder else _key(holder, name)


def _key(holder: Mapping[str, Any], name: str) -> str:
    """Return `name` as `holder` spells it already: names ignore case."""
    return next((known for known in holder if known.lower() == name.lower()), name)


def _remove(holder: Attributes, name: str, value: Any, *, is_core: bool) -> None:
    if is_core and name in _REQUIRED:
        raise bad_value("A user always has a userName, and is active or not.")
    held = holder.get(name)
    if value is not None and isinstance(held, list):
        unwanted = values.elements(value)
        holder[name] = [part for part in held if not any(_is_same(part, other) for other in unwanted)]
    else:
        holder.pop(name, None)
    _drop_empty(holder, name)


def _set(holder: Attributes, name: str, kind: str, value: Any, *, is_core: bool) -> None:
    held = holder.get(name)
    if name in schemas.SIMPLE:
        plain = values.simple(name, value)
        if plain is None:
            _remove(holder, name, None, is_core=is_core)
        else:
            holder[name] = plain
    elif name in schemas.MULTIPLE or isinstance(held, list) or isinstance(value, list):
        kept = held if kind == "add" and isinstance(held, list) else []
        holder[name] = _joined(kept, values.elements(value))
    elif name in schemas.COMPLEX or isinstance(held, dict) or isinstance(value, dict):
        given = {"value": value} if name == "manager" and isinstance(value, str) else value
        if not isinstance(given, dict):
            raise bad_value("The value of this attribute is an object.")
        holder[name] = _merged(held if isinstance(held, dict) else {}, given)
    else:
        holder[name] = value
    _drop_empty(holder, name)


def _apply_to_part(holder: Attributes, name: str, kind: str, sub: str, value: Any) -> None:
    held = holder.get(name)
    if held is None and kind == "remove":
        return
    if name in schemas.SIMPLE | schemas.MULTIPLE or not isinstance(held, dict | None):
        raise bad_path("This attribute has no sub-attributes of its own: name a value by a filter.")
    part = {sub: None} if kind == "remove" else {sub: value}
    holder[name] = _merged(held or {}, part)
    _drop_empty(holder, name)


def _apply_to_matching(holder: Attributes, name: str, kind: str, path: Path, value: Any) -> None:
    """Change those values of a multi-valued attribute that the filter finds; add one, if it finds none."""
    held, terms = holder.get(name, []), path.where or ()
    if name in schemas.SIMPLE | schemas.COMPLEX or not isinstance(held, list):
        raise bad_path("Only an attribute with several values takes a filter.")
    if kind == "remove" and not path.sub:
        holder[name] = [part for part in held if not _matches(part, terms)]
        _drop_empty(holder, name)
        return
    given = {path.sub: None if kind == "remove" else value} if path.sub else value
    if not isinstance(given, dict):
        raise bad_value("The value that a filter finds is an object.")
    wanted = {term.attribute: term.value for term in terms}
    # What the filter itself would not find is not added: sent again, it would be added once more each time.
    if kind != "remove" and not any(_matches(part, terms) for part in held) and _matches(_merged(wanted, given), terms):
        held = [*held, wanted]
    changed = [values.element(_merged(part, given)) if _matches(part, terms) else part for part in held]
    touched = [after for before, after in zip(held, changed, strict=True) if after is not before]
    holder[name] = _with_one_primary([part for part in changed if part], preferred=touched)
    _drop_empty(holder, name)


def _matches(part: Any, terms: tuple[Term, ...]) -> bool:
    """Tell whether one value satisfies the filter; texts ignore case, and "True" is true."""
    if not isinstance(part, dict):
        return False
    return all(_equals(part.get(_key(part, term.attribute)), term.value) for term in terms)


def _equals(held: Any, wanted: str | bool) -> bool:
    if isinstance(held, bool) or isinstance(wanted, bool):
        return str(held).lower() == str(wanted).lower()
    return isinstance(held, str) and held.lower() == wanted.lower()


def _merged(held: Mapping[str, Any], given: Mapping[str, Any]) -> Attributes:
    """Return `held` with the members of `given`; null takes a member away."""
    merged = dict(held)
    spelt = {name.lower(): name for name in held}
    for name, value in given.items():
        key = spelt.setdefault(name.lower(), name)
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    if len(merged) > values.MAX_ATTRIBUTES:
        raise bad_value(f"A value of an attribute has at most {values.MAX_ATTRIBUTES} members.")
    return merged


def _joined(held: list[Any], added: list[Any]) -> list[Any]:
    """Return the values of both without repetition; of several primary ones the last that was added stays so."""
    joined, new = list(held), _with_one_primary(added, preferred=added)
    for part in new:
        if part not in joined:
            joined.append(part)
    return _with_one_primary(joined, preferred=new)


def _with_one_primary(parts: list[Any], *, preferred: list[Any]) -> list[Any]:
    """Return the values, of which one at most is primary: the last in `preferred` (RFC 7644 section 3.5.2)."""
    if len(parts) > values.MAX_ELEMENTS:
        raise bad_value(f"An attribute of a user has at most {values.MAX_ELEMENTS} values.")
    primary = [part for part in parts if _is_primary(part)]
    if len(primary) < 2:
        return parts
    chosen = ([part for part in primary if part in preferred] or primary)[-1]
    return [{**part, "primary": False} if _is_primary(part) and part is not chosen else part for part in parts]


def _is_primary(part: Any) -> bool:
    return isinstance(part, dict) and part.get("primary") is True


def _is_same(part: Any, other: Attributes) -> bool:
    """Tell whether `other` names this value: by its `value` where it has one, else by all of it."""
    if isinstance(part, dict) and "value" in other:
        return bool(part.get("value") == other["value"])
    return bool(part == other)


def _drop_empty(holder: Attributes, name: str) -> None:
    if holder.get(name) in ([], {}):
        del holder[name]
