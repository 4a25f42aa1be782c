"""Which arguments of a call a condition looks at. Pure."""

from __future__ import annotations

from .cel_syntax import Call, Index, Listing, Literal, Mapped, Name, Node, Select, parse


def arguments_read(source: str) -> frozenset[str] | None:
    """Return the names of the arguments that the condition `source` looks at; None when it may look at any.

    Raises:
        SyntaxRefused: `source` is no condition.
    """
    found: set[str] = set()
    return frozenset(found) if _collect(parse(source), found) else None


def _collect(node: Node, found: set[str]) -> bool:
    """Add the arguments that `node` names to `found`; False when it uses all of them at once."""
    match node:
        case Literal():
            return True
        case Name(name=name):
            return name != "args"
        case Select(value=Name(name="args"), field=field):
            found.add(field)
            return True
        case Select(value=value):
            return _collect(value, found)
        case Index(value=Name(name="args"), key=Literal(value=str(key))):
            found.add(key)
            return True
        case Index(value=value, key=key):
            return _collect(value, found) and _collect(key, found)
        case Call(name="in", arguments=(Literal(value=str(key)), Name(name="args"))):
            found.add(key)
            return True
        case Call(target=target, arguments=arguments):
            parts = arguments if target is None else (target, *arguments)
            return all(_collect(part, found) for part in parts)
        case Listing(entries=entries):
            return all(_collect(entry, found) for entry in entries)
        case Mapped(entries=pairs):
            return all(_collect(part, found) for pair in pairs for part in pair)
