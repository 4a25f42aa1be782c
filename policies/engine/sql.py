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

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from .exceptions import Unparsable

MAX_CHARACTERS: Final = 10_000
"""Reading takes some 20 microseconds per character and dialect at worst; a longer text is unreadable."""
MAX_STATEMENTS: Final = 200
DIALECTS: Final = ("postgres", "mysql", "tsql", "sqlite")
KNOWN_DIALECTS: Final = frozenset(
    {
        *DIALECTS,
        "bigquery",
        "clickhouse",
        "databricks",
        "duckdb",
        "hive",
        "oracle",
        "redshift",
        "snowflake",
        "spark",
        "trino",
    }
)

# The parser warns with the text itself, which may hold personal data.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_EXECUTABLE_COMMENT = re.compile(r"/\*M?!\d*")
_FORCEFUL = re.compile(
    r"\b(?:alter|call|copy|create|delete|do|drop|exec|execute|grant|insert|into|load|merge|prepare|replace|revoke|set"
    r"|truncate|update|vacuum|xp_\w+)\b",
    re.IGNORECASE,
)
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
    """One statement. `kinds` has its own kind and those of every statement inside it; `limit` is -1 for none."""

    kind: str
    kinds: tuple[str, ...]
    tables: tuple[str, ...]
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
    if dialect is not None and dialect not in KNOWN_DIALECTS:
        raise Unparsable("the dialect is not known")
    if len(text) > MAX_CHARACTERS:
        raise Unparsable("the text is too long")
    if any(ord(character) < 0x20 and character not in "\t\r\n" for character in text):
        raise Unparsable("the text has control characters")
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
        trees = [tree for tree in sqlglot.parse(text, read=dialect) if tree is not None]
    except (SqlglotError, RecursionError, ValueError, AttributeError, IndexError, KeyError, TypeError):
        # The parser is not ours: whatever it stumbles over is a text that it cannot read.
        raise _Unread from None
    if len(trees) > MAX_STATEMENTS:
        raise Unparsable("there are too many statements")
    return [_statement(tree) for tree in trees if not isinstance(tree, exp.Semicolon)]


def _statement(tree: Any) -> Statement:
    kinds: dict[str, None] = {}
    tables: dict[str, None] = {}
    limit = -1
    aliases = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for node in tree.walk():
        if isinstance(node, exp.Command):
            raise _Unread
        kind = _kind(node)
        if kind is not None:
            kinds[kind] = None
        if isinstance(node, exp.Table):
            _add_table(node, aliases, tables, kinds)
        elif isinstance(node, exp.Func) and _writes(node):
            kinds["function"] = None
        elif isinstance(node, exp.Into):
            kinds["create"] = None
    if isinstance(tree, exp.Query):
        limit = _limit(tree)
    own = _kind(tree) or "other"
    kinds.setdefault(own, None)
    return Statement(own, tuple(kinds), tuple(tables), tree.args.get("where") is not None, limit)


def _add_table(node: Any, aliases: set[str], tables: dict[str, None], kinds: dict[str, None]) -> None:
    if isinstance(node.this, exp.Func):
        if _writes(node.this):
            kinds["function"] = None
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
    value = None if clause is None else clause.args.get("expression") or clause.args.get("count")
    if isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit():
        return int(value.name)
    return -1
