"""Conditions of rules: CEL, compiled and judged when the rule is saved, run for each call that the rule is about. Pure.

A condition is true, false, or cannot be told. It cannot be told when it fails while it runs (a member that is not
there, a wrong type, groups that the provider did not tell) or when a text that it asks about cannot be read. What then
happens is not the condition's to say: `rules` takes the strictest branch.

Source: CEL specification (cel-spec doc/langdef.md); errors are absorbed by `||` and `&&` as it says there.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol

from . import cel_syntax, cel_types
from .exceptions import PatternRefused, Unparsable
from .expressions import compile_search
from .facts import ConnectionFacts, Facts, ToolFacts
from .windows import DAYS, Networks, zone_named

_MARKER: Final = "of"
_WORD = re.compile(r"\w+|[^\w\s]")
_FUNCTIONS: Final = frozenset(
    {"lower", "between", "in_cidr", "hour", "weekday", "texts", "statements", "kinds", "tables", "commands", "count",
     "rate", "distinct", "re2_matches"}
)  # fmt: skip
"""Functions that are ours; the others of `cel_types.FUNCTIONS` are the interpreter's own.

`matches` becomes `re2_matches` before a condition is compiled: the interpreter has no RE2, by which the pattern was
checked by.
"""
MAX_READ: Final = 2_000
"""How many words and signs the readers of SQL and shell texts take for one call, all its texts together: each takes up
to 150 microseconds. What is beyond is unreadable."""
MAX_TEXTS: Final = 10_000

# The interpreter warns with the texts of our errors; whoever writes rules gets a code in the record instead.
logging.getLogger("cel").setLevel(logging.CRITICAL)


@lru_cache(maxsize=1)
def _cel() -> Any:
    """Return the interpreter, loaded with the first condition: its package brings a whole terminal interface."""
    return importlib.import_module("cel")


class Caller(Protocol):
    """What a condition may know of who calls."""

    @property
    def issuer(self) -> str:
        """The identity provider."""

    @property
    def subject(self) -> str:
        """The principal within the issuer."""

    @property
    def groups(self) -> frozenset[str] | None:
        """Names of groups; None means unknown."""


class Asked(Protocol):
    """What is called."""

    @property
    def method(self) -> str:
        """The JSON-RPC method."""

    @property
    def kind(self) -> str | None:
        """`tool`, `prompt`, `resource`, or None."""

    @property
    def name(self) -> str | None:
        """The tool or prompt, or the URI of the resource."""


class CannotTell(Exception):
    """The condition is neither true nor false for this call. `why` is a code for the record."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition and what it names of the environment."""

    source: str
    uses: frozenset[str]
    _names: frozenset[str]
    _program: Any

    @classmethod
    def compile(cls, source: str, *, place: str) -> Condition:
        """Compile `source`; `place` names its owner in the refusal.

        Raises:
            PatternRefused: with the place within the condition and a hint.
        """
        try:
            tree = cel_syntax.parse(source)
            uses = cel_types.check(tree)
        except cel_syntax.SyntaxRefused as error:
            hint = f"at character {error.place}: {error.hint}"
            raise PatternRefused(place, hint, code="condition_refused") from None
        except RecursionError:
            raise PatternRefused(place, "the condition is nested too deeply", code="condition_refused") from None
        try:
            program = _cel().compile(_with_re2(source, tree))
        except ValueError:
            raise PatternRefused(place, "this is not a CEL expression", code="condition_refused") from None
        return cls(source, uses, uses | (_FUNCTIONS & set(program.functions())), program)

    @property
    def needs_arguments(self) -> bool:
        """Whether it looks at the arguments of the call."""
        return not self.uses.isdisjoint(cel_types.NEEDS_ARGUMENTS)

    @property
    def needs_history(self) -> bool:
        """Whether it looks at what the caller did before."""
        return not self.uses.isdisjoint(cel_types.NEEDS_HISTORY)

    def holds(self, circumstances: Circumstances) -> bool:
        """Tell whether the condition is true.

        Raises:
            CannotTell: it failed, or a text that it asks about cannot be read.
        """
        return circumstances.run(self._program, self._names)


class Circumstances:
    """One call, as conditions see it; made once for each decision, converted only as far as conditions look."""

    __slots__ = ("_asked", "_connection", "_context", "_facts", "_found", "_identity", "_known", "_left", "_tool",
                 "_unread")  # fmt: skip

    def __init__(
        self, identity: Caller, asked: Asked, connection: ConnectionFacts, tool: ToolFacts, facts: Facts
    ) -> None:
        self._identity, self._asked, self._facts = identity, asked, facts
        self._connection, self._tool = connection, tool
        self._context: Any = None
        self._known: set[str] = set()
        self._unread = False
        self._left = MAX_READ
        self._found: dict[tuple[str, str, tuple[str, ...]], Any] = {}

    def run(self, program: Any, names: frozenset[str]) -> bool:
        """Return what `program` gives, having made known the variables and functions `names`.

        Raises:
            CannotTell: it gives an error, or something that is neither true nor false.
        """
        self._unread = False
        try:
            if self._context is None:
                self._context = _cel().Context()
            for name in names - self._known:
                if name in _FUNCTIONS:
                    self._context.add_function(name, self._functions()[name])
                else:
                    self._context.add_variable(name, self._variable(name))
                self._known.add(name)
            value = program.execute(self._context)
        except CannotTell:
            raise
        except Exception as error:
            # The interpreter raises whatever Python exception fits; none of its texts may leave, they quote arguments.
            raise CannotTell("unreadable" if self._unread else _why(error)) from None
        if value is not True and value is not False:
            raise CannotTell("not_true_or_false")
        return value

    def _functions(self) -> dict[str, Callable[..., Any]]:
        facts = self._facts
        return {
            "lower": str.lower,
            "between": lambda value, low, high: low <= value <= high,
            "in_cidr": lambda address, network: Networks.compile([network], place="in_cidr").holds(address),
            "hour": lambda time, zone: _local(time, zone).hour,
            "weekday": lambda time, zone: DAYS[_local(time, zone).weekday()],
            "texts": lambda value: list(_texts(value)),
            "re2_matches": _matches,
            "statements": lambda _, *text: [_statement(found) for found in self._read("sql", "statements", *text)],
            "kinds": lambda _, *text: sorted(
                {kind for found in self._read("sql", "statements", *text) for kind in found.kinds}
            ),
            "tables": lambda _, *text: sorted(
                {name for found in self._read("sql", "statements", *text) for name in found.tables}
            ),
            "commands": lambda _, text: [
                {"name": found.name, "arguments": list(found.arguments), "redirects": list(found.redirects)}
                for found in self._read("shell", "commands", text)
            ],
            "count": lambda _, glob: self._past().count(glob),
            "rate": lambda _, glob, seconds: self._past().rate(glob, seconds, facts.now),
            "distinct": lambda _, argument: self._past().distinct(argument),
        }

    def _read(self, module: str, reader: str, text: object, *how: str) -> Any:
        """Read a text with one of the readers, which are loaded with the first rule that asks for them.

        Each text is read once for a call, however many rules ask, and only so much text altogether.
        """
        if not isinstance(text, str):
            self._unread = True
            raise TypeError
        key = (module, text, how)
        if key not in self._found:
            self._left -= sum(1 for _ in _WORD.finditer(text)) if len(text) <= MAX_READ * 10 else MAX_READ
            try:
                if self._left < 0:
                    raise Unparsable("there is too much to read")
                self._found[key] = getattr(importlib.import_module(f".{module}", __package__), reader)(text, *how)
            except Unparsable:
                self._found[key] = None
        found = self._found[key]
        if found is None:
            self._unread = True
            raise Unparsable
        return found

    def _past(self) -> Any:
        if self._facts.history is None:
            raise CannotTell("history_unknown")
        return self._facts.history

    def _variable(self, name: str) -> Any:
        """Return the value of one name of the environment (`cel_types.ENVIRONMENT`); what is unknown is left out."""
        facts = self._facts
        match name:
            case "identity":
                return _caller(self._identity)
            case "client":
                client_id = getattr(self._identity, "client_id", "")
                return {"id": client_id, "name": facts.client_name, "version": facts.client_version}
            case "connection":
                connection = self._connection
                return {"slug": connection.slug, "name": connection.name, "labels": list(connection.labels)}
            case "tool":
                tool = self._tool
                return {
                    "name": self._asked.name or "",
                    "kind": self._asked.kind or "",
                    "labels": list(tool.labels),
                    "annotations": dict(tool.annotations),
                    "is_read_only": tool.is_read_only,
                    "is_destructive": tool.is_destructive,
                }
            case "args":
                if facts.arguments is None:
                    raise CannotTell("arguments_unknown")
                return dict(facts.arguments)
            case "request":
                moment = datetime.fromtimestamp(facts.now, UTC)
                return {
                    "method": self._asked.method,
                    "time": moment,
                    "input": dict(facts.input),
                    **({"ip": facts.address} if facts.address else {}),
                }
            case "session":
                return _session(self._past(), facts.now)
            case _:
                return {_MARKER: name}


def _caller(identity: Caller) -> dict[str, Any]:
    known: dict[str, Any] = {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "kind": getattr(identity, "kind", "unknown"),
        "client_id": getattr(identity, "client_id", ""),
        "actors": list(getattr(identity, "actors", ())),
        "audiences": sorted(getattr(identity, "audiences", ())),
        "claims": dict(getattr(identity, "claims", {})),
    }
    if identity.groups is not None:
        known["groups"] = sorted(identity.groups)
    return known


def _session(history: Any, now: float) -> dict[str, Any]:
    calls = history.calls
    return {
        "labels": history.labels,
        "tools": sorted({past.name for past in calls}),
        "connections": sorted({past.connection for past in calls}),
        "calls": len(calls),
        "bytes": sum(past.bytes for past in calls),
        "age": int(now - calls[0].at) if calls else 0,
    }


def _statement(found: Any) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "kinds": list(found.kinds),
        "tables": list(found.tables),
        "functions": list(found.functions),
        "has_where": found.has_where,
        "has_limit": found.limit >= 0,
        "limit": found.limit,
        "is_read_only": found.is_read_only,
    }


def _with_re2(source: str, tree: cel_syntax.Node) -> str:
    """Return `source` with its calls of `matches` renamed to our own."""
    places = sorted((node.place for node in cel_syntax.calls(tree) if node.name == "matches"), reverse=True)
    for place in places:
        source = f"{source[: place - 1]}re2_matches{source[place - 1 + len('matches') :]}"
    return source


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> Any:
    return compile_search(pattern, place="the pattern")


def _matches(text: object, pattern: str) -> bool:
    if not isinstance(text, str):
        raise TypeError
    return _expression(pattern).search(text.encode("utf-8", "replace")) is not None


def _texts(value: object) -> Iterator[str]:
    """Yield every text within `value`, however deep; names of members count, but for those of `value` itself."""
    waiting: list[object] = list(value.values()) if isinstance(value, Mapping) else [value]
    count = 0
    while waiting:
        now = waiting.pop()
        count += 1
        if count > MAX_TEXTS:
            raise OverflowError
        if isinstance(now, str):
            yield now
        elif isinstance(now, Mapping):
            waiting += [*now.keys(), *now.values()]
        elif isinstance(now, list | tuple):
            waiting += now


def _local(time: datetime, zone: str) -> datetime:
    found = zone_named(zone)
    if found is None:
        raise ValueError
    return time.astimezone(found)


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return "member_missing"
    return "wrong_type" if isinstance(error, TypeError) else "failed"
