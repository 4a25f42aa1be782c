"""What a SQL text would do: its statements, what each of them is, and the tables that it touches. Pure.

The text is read by a real parser and never searched for words, so that a DROP inside a common table expression, behind
a comment or in a second statement is seen, and the word in a string is not. Databases differ in what is a comment and
what is a string, so without a named dialect the text is read as several of them read it, and what any of them sees
counts. What none can read, and what is built at run time (`EXECUTE IMMEDIATE`, `PREPARE`, `DO`), is unreadable: the
rule that asks then takes its strictest branch.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlglot import Dialect, exp
from sqlglot.errors import SqlglotError

from .cel_types import DIALECTS as KNOWN
from .exceptions import Unparsable

MAX_CHARACTERS: Final = 10_000
MAX_TOKENS: Final = 1_000
"""Reading takes some 50 microseconds per token and dialect, and time grows with the square of the depth of some
expressions; a text of more tokens (a word, number or sign is one, a quoted text too) is unreadable."""
MAX_STATEMENTS: Final = 200
MAX_BRACKETS: Final = 60
"""The time for `a[1][1]...` grows with the third power of its length."""
DIALECTS: Final = ("postgres", "mysql", "tsql", "sqlite")
"""What a text is read as when no dialect is named."""

# The parser warns with the text itself, which may hold personal data.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_EXECUTABLE_COMMENT = re.compile(r"/\*M?!\d*")
_FORCEFUL = re.compile(
    r"\b(?:alter|call|copy|create|delete|do|drop|exec|execute|grant|insert|into|load|merge|prepare|replace|revoke|set"
    r"|truncate|update|vacuum|xp_\w+)\b",
    re.IGNORECASE,
)
_ESCAPED_NAME = re.compile(r"U&[\"']", re.IGNORECASE)
# Where statements need no semicolon between them (T-SQL), `SELECT 1 DELETE FROM t` is two of them, and the parser sees
# a column called DELETE. None of these words is a name without quotes there.
_BEGINNING: Final = frozenset(
    {"alter", "backup", "bulk", "create", "dbcc", "delete", "deny", "drop", "exec", "execute", "grant", "insert",
     "kill", "merge", "reconfigure", "restore", "revert", "revoke", "setuser", "shutdown", "truncate", "update",
     "updatetext", "waitfor", "writetext"}
)  # fmt: skip
_KINDS: Final[tuple[tuple[type[Any], str], ...]] = (
    (exp.Drop, "drop"),
    (exp.TruncateTable, "truncate"),
    (exp.Delete, "delete"),
    (exp.Update, "update"),
    (exp.Insert, "insert"),
    (exp.Merge, "merge"),
    (exp.Alter, "alter"),
    (exp.Create, "create"),
    (exp.Grant, "grant"),
    (exp.Revoke, "revoke"),
    (exp.Copy, "copy"),
    (exp.LoadData, "load"),
    (exp.Use, "use"),
    (exp.Set, "set"),
    (exp.Pragma, "pragma"),
    (exp.Kill, "kill"),
    (exp.Transaction, "transaction"),
    (exp.Commit, "transaction"),
    (exp.Rollback, "transaction"),
    (exp.Describe, "describe"),
    (exp.Show, "show"),
    (exp.Query, "select"),
)
_READING: Final = frozenset({"select", "describe", "show"})
# Functions that write, read files, run programs or reach other servers, in one or other of the databases.
_WRITING_FUNCTION = re.compile(
    r"(?:pg_(?:read|write|ls|terminate|cancel|reload|rotate|promote|switch|advisory).*|lo_(?:import|export|unlink|put|from_bytea|create).*"
    r"|dblink.*|query_to_xml.*|set_config|setval|nextval|currval|load_file|load_extension|sys_exec|sys_eval"
    r"|openrowset|opendatasource|openquery|xp_.*|sp_.*|sleep|benchmark|pg_sleep.*|utl_.*|dbms_.*|writefile|readfile|edit"
    r"|database_to_xml.*|table_to_xml.*|cursor_to_xml.*|schema_to_xml.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `kinds` has its own kind and those of every statement inside it; `limit` is -1 for none.

    `functions` are those that no standard knows: what they do is not in the text. `has_where` says of a statement that
    changes rows that each change in it names which ones: a condition without a column, such as 1 = 1, names none.
    """

    kind: str
    kinds: tuple[str, ...]
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    has_where: bool
    limit: int

    @property
    def is_read_only(self) -> bool:
        """Whether nothing in it writes, as far as the text tells."""
        return _READING.issuperset(self.kinds)


def statements(text: str, dialect: str | None = None) -> tuple[Statement, ...]:
    """Return the statements of `text`, as `dialect` reads it or, without one, as any of four common ones does.

    Raises:
        Unparsable: it is too long, cannot be read, or builds what it runs.
    """
    if dialect is not None and dialect not in KNOWN:
        raise Unparsable("the dialect is not known")
    if len(text) > MAX_CHARACTERS:
        raise Unparsable("the text is too long")
    if any(ord(character) < 0x20 and character not in "\t\r\n" for character in text):
        raise Unparsable("the text has control characters")
    if _ESCAPED_NAME.search(text):
        raise Unparsable("the text has names that are written as numbers")
    return _statements(text, dialect)


@lru_cache(maxsize=256)
def _statements(text: str, dialect: str | None) -> tuple[Statement, ...]:
    readings = [text]
    if _EXECUTABLE_COMMENT.search(text):
        # MySQL and MariaDB run what stands in /*! ... */; the others take it for a comment. Both are read.
        readings.append(_EXECUTABLE_COMMENT.sub(" ", text).replace("*/", " "))
    found: dict[Statement, None] = {}
    has_read = False
    for reading in readings:
        failures = 0
        dialects = DIALECTS if dialect is None else (dialect,)
        for name in dialects:
            try:
                found.update(dict.fromkeys(_read(reading, name)))
                has_read = True
            except _Unread:
                failures += 1
        if failures and (failures == len(dialects) or _FORCEFUL.search(reading)):
            raise Unparsable("the text cannot be read for certain")
    if not has_read:
        raise Unparsable("the text cannot be read")
    return tuple(found)


class _Unread(Exception):
    """One dialect cannot read the text."""


def _read(text: str, dialect: str) -> list[Statement]:
    try:
        reader = Dialect.get_or_raise(dialect)
        tokens = reader.tokenize(text)
        if len(tokens) > MAX_TOKENS or text.count("[") > MAX_BRACKETS:
            raise Unparsable("the text is too long")
        trees = [tree for tree in reader.parser().parse(tokens, text) if tree is not None]
    except (SqlglotError, RecursionError, ValueError, AttributeError, IndexError, KeyError, TypeError):
        # The parser is not ours: whatever it stumbles over is a text that it cannot read.
        raise _Unread from None
    if len(trees) > MAX_STATEMENTS:
        raise Unparsable("there are too many statements")
    return [_statement(tree) for tree in trees if not isinstance(tree, exp.Semicolon)]


def _statement(tree: Any) -> Statement:
    kinds: dict[str, None] = {}
    tables: dict[str, None] = {}
    functions: dict[str, None] = {}
    limit = -1
    aliases = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for node in tree.walk():
        if isinstance(node, exp.Command):
            raise _Unread
        if isinstance(node, exp.Identifier) and _may_begin(node):
            raise Unparsable("a word may begin a second statement")
        kind = _kind(node)
        if kind is not None:
            kinds[kind] = None
        if isinstance(node, exp.Table):
            _add_table(node, aliases, tables)
        elif isinstance(node, exp.Func):
            _add_function(node, functions, kinds)
        elif isinstance(node, exp.Into):
            kinds["create"] = None
    if isinstance(tree, exp.Query):
        limit = _limit(tree)
    own = _kind(tree) or "other"
    kinds.setdefault(own, None)
    return Statement(own, tuple(kinds), tuple(tables), tuple(functions), _has_where(tree), limit)


def _may_begin(node: Any) -> bool:
    """Tell whether a name without quotes is a word that begins a statement; one behind a dot cannot."""
    if node.quoted or node.name.lower() not in _BEGINNING:
        return False
    parent = node.parent
    return not (isinstance(parent, exp.Column | exp.Dot) and parent.args.get("table") is not None)


def _has_where(tree: Any) -> bool:
    changes = [node for node in tree.walk() if isinstance(node, exp.Delete | exp.Update)]
    return all(
        (where := node.args.get("where")) is not None and next(where.find_all(exp.Column), None) is not None
        for node in changes or [tree]
    )


def _add_function(node: Any, functions: dict[str, None], kinds: dict[str, None]) -> None:
    if _writes(node):
        kinds["function"] = None
    if isinstance(node, exp.Anonymous):
        functions[node.name.lower()] = None


def _add_table(node: Any, aliases: set[str], tables: dict[str, None]) -> None:
    if isinstance(node.this, exp.Func):
        return
    parts = [part.name for part in node.parts]
    name = ".".join(parts).lower()
    if name and not (len(parts) == 1 and name in aliases):
        tables[name] = None


def _kind(node: Any) -> str | None:
    for type_, kind in _KINDS:
        if isinstance(node, type_):
            return kind
    return None


def _writes(node: Any) -> bool:
    name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
    return _WRITING_FUNCTION.fullmatch(name) is not None


def _limit(tree: Any) -> int:
    clause = tree.args.get("limit")
    options = None if clause is None else clause.args.get("limit_options")
    if options is not None and options.args.get("percent"):
        return -1
    value = None if clause is None else clause.args.get("expression") or clause.args.get("count")
    if isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit():
        return int(value.name)
    return -1
