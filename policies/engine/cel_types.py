"""The types of conditions: what a condition may name, what each name is, and which functions there are. Pure.

The checker follows an expression through the declared environment. What depends on a tool (`args`, annotations) is
dynamic: it is only known at the call, where a wrong type is an error and an error denies.

Source: CEL specification, "Gradual Type Checking".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from accounts import addresses

from .cel_syntax import Call, Index, Listing, Literal, Mapped, Name, Node, Select, SyntaxRefused
from .exceptions import PatternRefused
from .expressions import compile_search
from .globs import Globs
from .windows import zone_named


@dataclass(frozen=True, slots=True)
class Type:
    """A type: `name`, with `of` for the entries of a list or the values of a map, `members` for a record."""

    name: str
    of: Type | None = None
    members: Mapping[str, Type] | None = None

    def __str__(self) -> str:
        return f"{self.name} of {self.of}" if self.of is not None else self.name


DYN: Final = Type("anything")
BOOL: Final = Type("true or false")
NUMBER: Final = Type("number")
TEXT: Final = Type("text")
NULL: Final = Type("null")
TIME: Final = Type("time")
DURATION: Final = Type("duration")
TEXTS: Final = Type("list", TEXT)
SQL: Final = Type("sql")
SHELL: Final = Type("shell")


def _record(name: str, /, **members: Type) -> Type:
    return Type(name, members=MappingProxyType(members))


SESSION: Final = _record(
    "session", labels=TEXTS, tools=TEXTS, connections=TEXTS, calls=NUMBER, bytes=NUMBER, age=NUMBER
)
STATEMENT: Final = _record(
    "statement",
    kind=TEXT,
    kinds=TEXTS,
    tables=TEXTS,
    functions=TEXTS,
    has_where=BOOL,
    has_limit=BOOL,
    limit=NUMBER,
    is_read_only=BOOL,
)
COMMAND: Final = _record("command", name=TEXT, arguments=TEXTS, redirects=TEXTS)

ENVIRONMENT: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "identity": _record(
            "identity",
            issuer=TEXT,
            subject=TEXT,
            groups=TEXTS,
            kind=TEXT,
            client_id=TEXT,
            actors=TEXTS,
            audiences=TEXTS,
            claims=Type("map", DYN),
        ),
        "client": _record("client", id=TEXT, name=TEXT, version=TEXT),
        "connection": _record("connection", slug=TEXT, name=TEXT, labels=TEXTS),
        "tool": _record(
            "tool",
            name=TEXT,
            kind=TEXT,
            labels=TEXTS,
            annotations=Type("map", DYN),
            is_read_only=BOOL,
            is_destructive=BOOL,
        ),
        "args": Type("map", DYN),
        "request": _record("request", method=TEXT, time=TIME, ip=TEXT, input=Type("map", DYN)),
        "session": SESSION,
        "sql": SQL,
        "shell": SHELL,
    }
)

DIALECTS: Final = frozenset(
    {"postgres", "mysql", "tsql", "sqlite", "bigquery", "clickhouse", "databricks", "duckdb", "hive", "oracle",
     "redshift", "snowflake", "spark", "trino"}
)  # fmt: skip
"""Dialects of SQL that a condition may name; `sql` reads them."""

NEEDS_ARGUMENTS: Final = frozenset({"args"})
NEEDS_HISTORY: Final = frozenset({"session"})


@dataclass(frozen=True, slots=True)
class Function:
    """A function: the type of its target (None: none), of its arguments, and of its result.

    `check` looks at a literal argument: its position, and what raises ValueError with a hint when it is no good.
    """

    target: Type | None
    arguments: tuple[Type, ...]
    result: Type
    check: tuple[int, Callable[[str], None]] | None = None


def _cidr(text: str) -> None:
    try:
        addresses.parse_networks([text])
    except addresses.NetworkRefused:
        raise ValueError(f"{text!r} is not a network; write one such as 10.20.0.0/16") from None


def _pattern(text: str) -> None:
    try:
        compile_search(text, place="the pattern")
    except PatternRefused as error:
        raise ValueError(error.hint) from None


def _zone(text: str) -> None:
    if zone_named(text) is None:
        raise ValueError(f"{text!r} is not a time zone; write one such as Europe/Berlin")


def _glob(text: str) -> None:
    try:
        Globs.compile([text])
    except PatternRefused as error:
        raise ValueError(error.hint) from None


def _dialect(text: str) -> None:
    if text not in DIALECTS:
        raise ValueError(f"{text!r} is not a dialect; there are {', '.join(sorted(DIALECTS))}")


def _read_as(result: Type) -> tuple[Function, ...]:
    return Function(SQL, (TEXT,), result), Function(SQL, (TEXT, TEXT), result, (1, _dialect))


FUNCTIONS: Final[Mapping[str, tuple[Function, ...]]] = MappingProxyType(
    {
        "size": (Function(None, (DYN,), NUMBER), Function(DYN, (), NUMBER)),
        "contains": (Function(TEXT, (TEXT,), BOOL),),
        "startsWith": (Function(TEXT, (TEXT,), BOOL),),
        "endsWith": (Function(TEXT, (TEXT,), BOOL),),
        "matches": (Function(TEXT, (TEXT,), BOOL, (0, _pattern)),),
        "int": (Function(None, (DYN,), NUMBER),),
        "double": (Function(None, (DYN,), NUMBER),),
        "string": (Function(None, (DYN,), TEXT),),
        "lower": (Function(None, (TEXT,), TEXT),),
        "between": (Function(None, (NUMBER, NUMBER, NUMBER), BOOL),),
        "in_cidr": (Function(None, (TEXT, TEXT), BOOL, (1, _cidr)),),
        "hour": (Function(None, (TIME, TEXT), NUMBER, (1, _zone)),),
        "weekday": (Function(None, (TIME, TEXT), TEXT, (1, _zone)),),
        "texts": (Function(None, (DYN,), TEXTS),),
        "statements": _read_as(Type("list", STATEMENT)),
        "kinds": _read_as(TEXTS),
        "tables": _read_as(TEXTS),
        "commands": (Function(SHELL, (TEXT,), Type("list", COMMAND)),),
        "count": (Function(SESSION, (TEXT,), NUMBER, (0, _glob)),),
        "rate": (Function(SESSION, (TEXT, NUMBER), NUMBER, (0, _glob)),),
        "distinct": (Function(SESSION, (TEXT,), NUMBER),),
    }
)

_MACROS = frozenset({"exists", "all", "exists_one", "filter", "map"})


def check(node: Node) -> frozenset[str]:
    """Return the variables of the environment that the condition `node` names.

    Raises:
        SyntaxRefused: it is not true or false, names what there is not, or compares what cannot be compared.
    """
    checker = _Checker()
    found = checker.type_of(node, {})
    if found not in (BOOL, DYN):
        raise SyntaxRefused(node.place, f"a condition is true or false, and this is {found}")
    return frozenset(checker.used)


class _Checker:
    def __init__(self) -> None:
        self.used: set[str] = set()

    def type_of(self, node: Node, scope: Mapping[str, Type]) -> Type:
        match node:
            case Literal(value=value):
                return _literal(value)
            case Name(name=name):
                return self._name(node, name, scope)
            case Select(value=value, field=field):
                return self._select(self.type_of(value, scope), field, node.place)
            case Index(value=value, key=key):
                return self._index(node, self.type_of(value, scope), self.type_of(key, scope))
            case Listing(entries=entries):
                return Type("list", _common([self.type_of(entry, scope) for entry in entries]))
            case Mapped(entries=pairs):
                for key, _ in pairs:
                    self.type_of(key, scope)
                return Type("map", _common([self.type_of(value, scope) for _, value in pairs]))
            case Call():
                return self._call(node, scope)

    def _name(self, node: Node, name: str, scope: Mapping[str, Type]) -> Type:
        if name in scope:
            return scope[name]
        known = ENVIRONMENT.get(name)
        if known is None:
            raise SyntaxRefused(node.place, f"{name!r} is not known; there are {', '.join(ENVIRONMENT)}")
        self.used.add(name)
        return known

    @staticmethod
    def _select(value: Type, field: str, place: int) -> Type:
        if value == DYN:
            return DYN
        if value.members is not None:
            if field not in value.members:
                raise SyntaxRefused(place, f"{value.name} has no {field!r}; it has {', '.join(value.members)}")
            return value.members[field]
        if value.name == "map":
            return value.of or DYN
        raise SyntaxRefused(place, f"{value} has no members")

    @staticmethod
    def _index(node: Node, value: Type, key: Type) -> Type:
        if value == DYN:
            return DYN
        if value.name == "list" and key in (NUMBER, DYN):
            return value.of or DYN
        if value.name == "map":
            return value.of or DYN
        raise SyntaxRefused(node.place, f"{value} cannot be indexed by {key}")

    def _call(self, node: Call, scope: Mapping[str, Type]) -> Type:
        if node.target is None and node.name == "has":
            return self._has(node, scope)
        if node.target is not None and node.name in _MACROS:
            return self._macro(node, scope)
        if node.target is None and (node.name == "in" or not node.name.isidentifier()):
            return self._operator(node, [self.type_of(argument, scope) for argument in node.arguments])
        return self._function(node, scope)

    def _has(self, node: Call, scope: Mapping[str, Type]) -> Type:
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], Select):
            raise SyntaxRefused(node.place, "has() takes one member, such as has(args.limit)")
        self.type_of(node.arguments[0], scope)
        return BOOL

    def _macro(self, node: Call, scope: Mapping[str, Type]) -> Type:
        over = DYN if node.target is None else self.type_of(node.target, scope)
        if over != DYN and over.name not in {"list", "map"}:
            raise SyntaxRefused(node.place, f"{node.name}() goes over a list or a map, and this is {over}")
        if len(node.arguments) != 2 or not isinstance(node.arguments[0], Name):
            raise SyntaxRefused(node.place, f"write {node.name}(name, condition)")
        variable = node.arguments[0].name
        if variable in ENVIRONMENT:
            raise SyntaxRefused(node.arguments[0].place, f"{variable!r} is taken; use another name")
        entry = DYN if over == DYN else TEXT if over.name == "map" else over.of or DYN
        inner = self.type_of(node.arguments[1], {**scope, variable: entry})
        if node.name == "map":
            return Type("list", inner)
        if inner not in (BOOL, DYN):
            raise SyntaxRefused(node.arguments[1].place, f"this must be true or false, and is {inner}")
        return BOOL if node.name != "filter" else Type("list", entry)

    def _operator(self, node: Call, types: list[Type]) -> Type:
        sign = node.name
        if sign in {"||", "&&", "!"}:
            for argument, found in zip(node.arguments, types, strict=True):
                self._require(found, BOOL, argument.place, sign)
            return BOOL
        if sign == "?:":
            self._require(types[0], BOOL, node.arguments[0].place, sign)
            return _common(types[1:])
        if sign in {"==", "!="}:
            self._same(node, types)
            return BOOL
        if sign in {"<", "<=", ">", ">="}:
            self._same(node, types)
            for found in types:
                if found not in (DYN, NUMBER, TEXT, TIME, DURATION):
                    raise SyntaxRefused(node.place, f"{found} has no order")
            return BOOL
        if sign == "in":
            return self._in(node, types)
        if sign == "+" and types[0] != NUMBER and types[0] != DYN:
            self._same(node, types)
            if types[0] != TEXT and types[0].name != "list":
                raise SyntaxRefused(node.place, f"{types[0]} cannot be added")
            return types[0]
        for argument, found in zip(node.arguments, types, strict=True):
            if not (sign == "+" and DYN in types):
                self._require(found, NUMBER, argument.place, sign.removesuffix("x"))
        return DYN if sign == "+" and DYN in types else NUMBER

    def _in(self, node: Call, types: list[Type]) -> Type:
        member, over = types
        if over == DYN:
            return BOOL
        if over.name not in {"list", "map"}:
            raise SyntaxRefused(node.place, f"'in' looks into a list or a map, and this is {over}")
        inside = TEXT if over.name == "map" else over.of or DYN
        if not _fits(member, inside):
            raise SyntaxRefused(node.place, f"{member} is never in a {over}")
        return BOOL

    @staticmethod
    def _same(node: Call, types: list[Type]) -> None:
        left, right = types
        if not (_fits(left, right) or _fits(right, left)):
            raise SyntaxRefused(node.place, f"{left} cannot be compared with {right}")

    @staticmethod
    def _require(found: Type, wanted: Type, place: int, where: str) -> None:
        if not _fits(found, wanted):
            raise SyntaxRefused(place, f"{where} takes {wanted}, and this is {found}")

    def _function(self, node: Call, scope: Mapping[str, Type]) -> Type:
        overloads = FUNCTIONS.get(node.name)
        if overloads is None:
            raise SyntaxRefused(node.place, f"there is no function {node.name!r}; there are {', '.join(FUNCTIONS)}")
        target = None if node.target is None else self.type_of(node.target, scope)
        types = [self.type_of(argument, scope) for argument in node.arguments]
        for function in overloads:
            if (function.target is None) != (target is None) or len(types) != len(function.arguments):
                continue
            if target is not None and function.target is not None and not _fits(target, function.target):
                continue
            for argument, found, wanted in zip(node.arguments, types, function.arguments, strict=True):
                self._require(found, wanted, argument.place, f"{node.name}()")
            self._check_literal(node, function)
            return function.result
        usual = "; ".join(_usage(node.name, function) for function in overloads)
        raise SyntaxRefused(node.place, f"{node.name}() is used as {usual}")

    @staticmethod
    def _check_literal(node: Call, function: Function) -> None:
        if function.check is None:
            return
        position, judge = function.check
        argument = node.arguments[position]
        if not isinstance(argument, Literal) or not isinstance(argument.value, str):
            if judge in {_pattern, _glob, _dialect}:
                raise SyntaxRefused(argument.place, "write the text itself here, so that it can be checked now")
            return
        try:
            judge(argument.value)
        except ValueError as error:
            raise SyntaxRefused(argument.place, str(error)) from None


def _usage(name: str, function: Function) -> str:
    arguments = ", ".join(str(argument) for argument in function.arguments)
    prefix = "" if function.target is None else f"{function.target.name}."
    return f"{prefix}{name}({arguments})"


def _literal(value: object) -> Type:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOL
    return TEXT if isinstance(value, str) else NUMBER


def _fits(found: Type, wanted: Type) -> bool:
    if DYN in (found, wanted) or found == NULL:
        return True
    if found.name != wanted.name:
        return False
    return found.of is None or wanted.of is None or _fits(found.of, wanted.of)


def _common(types: list[Type]) -> Type:
    return types[0] if types and all(found == types[0] for found in types) else DYN
