from __future__ import annotations

import pytest

from policies.engine.exceptions import Unparsable
from policies.engine.sql import MAX_BRACKETS, MAX_CHARACTERS, MAX_STATEMENTS, MAX_TOKENS, Statement, statements


def only(text, dialect="postgres"):
    [found] = statements(text, dialect)
    return found


@pytest.mark.parametrize(
    ("text", "kind", "kinds"),
    [
        ("SELECT 1", "select", {"select"}),
        ("INSERT INTO a VALUES (1)", "insert", {"insert"}),
        ("INSERT INTO a SELECT * FROM b", "insert", {"insert", "select"}),
        ("UPDATE a SET b = 1", "update", {"update"}),
        ("DELETE FROM a", "delete", {"delete"}),
        ("DROP TABLE a", "drop", {"drop"}),
        ("TRUNCATE a", "truncate", {"truncate"}),
        ("ALTER TABLE a DROP COLUMN b", "alter", {"alter", "drop"}),
        ("CREATE TABLE a (b int)", "create", {"create"}),
        ("CREATE TABLE a AS SELECT 1", "create", {"create", "select"}),
        ("SELECT * INTO a FROM b", "select", {"select", "create"}),
        ("GRANT SELECT ON a TO b", "grant", {"grant"}),
        ("REVOKE SELECT ON a FROM b", "revoke", {"revoke"}),
        ("COPY a TO STDOUT", "copy", {"copy"}),
        ("MERGE INTO a USING b ON a.c = b.c WHEN MATCHED THEN DELETE", "merge", {"merge"}),
        ("WITH x AS (DELETE FROM a RETURNING 1) SELECT * FROM x", "select", {"select", "delete"}),
        ("SELECT pg_read_file('x')", "select", {"select", "function"}),
        ("DESCRIBE a", "describe", {"describe"}),
    ],
)
def test_a_statement_has_its_kind_and_those_of_what_is_inside(text, kind, kinds):
    found = only(text)
    assert (found.kind, set(found.kinds)) == (kind, kinds)
    assert found.is_read_only is (kinds <= {"select", "describe"})


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("SELECT * FROM Orders", {"orders"}),
        ("SELECT * FROM public.orders o JOIN items ON true", {"public.orders", "items"}),
        ('SELECT * FROM "Orders"', {"orders"}),
        ("WITH x AS (SELECT * FROM a) SELECT * FROM x, b", {"a", "b"}),
        ("SELECT (SELECT max(c) FROM d) FROM e", {"d", "e"}),
        ("DELETE FROM a USING b", {"a", "b"}),
        ("SELECT * FROM generate_series(1, 2)", set()),
        ("SELECT 1", set()),
    ],
)
def test_every_table_is_named_once_in_small_letters(text, tables):
    assert set(only(text).tables) == tables


@pytest.mark.parametrize(
    ("text", "has_where"),
    [
        ("DELETE FROM a", False),
        ("DELETE FROM a WHERE b = 1", True),
        ("DELETE FROM a WHERE 1 = 1", False),
        ("DELETE FROM a WHERE true", False),
        ("UPDATE a SET b = 1 WHERE c IN (1)", True),
        ("WITH x AS (DELETE FROM a) SELECT * FROM b WHERE c = 1", False),
        ("SELECT * FROM a WHERE b = 1", True),
        ("SELECT * FROM a", False),
    ],
)
def test_a_where_counts_when_it_names_rows(text, has_where):
    assert only(text).has_where is has_where


@pytest.mark.parametrize(
    ("text", "dialect", "limit"),
    [
        ("SELECT * FROM a LIMIT 5", "postgres", 5),
        ("SELECT * FROM a LIMIT ALL", "postgres", -1),
        ("SELECT * FROM a FETCH FIRST 5 ROWS ONLY", "postgres", 5),
        ("SELECT * FROM a FETCH FIRST 5 PERCENT ROWS ONLY", "postgres", -1),
        ("SELECT TOP 5 * FROM a", "tsql", 5),
        ("SELECT TOP 100 PERCENT * FROM a", "tsql", -1),
        ("SELECT * FROM a LIMIT (SELECT 1)", "postgres", -1),
        ("SELECT * FROM (SELECT * FROM a LIMIT 5) x", "postgres", -1),
        ("SELECT 1 UNION SELECT 2 LIMIT 7", "postgres", 7),
    ],
)
def test_a_limit_is_a_number_of_the_whole_statement(text, dialect, limit):
    assert only(text, dialect).limit == limit


def test_functions_that_no_standard_knows_are_named():
    assert set(only("SELECT my.wipe(1), count(*), coalesce(a, b), other() FROM t").functions) == {"wipe", "other"}


def test_each_statement_of_a_text_is_there():
    assert [found.kind for found in statements("SELECT 1; DROP TABLE a;", "postgres")] == ["select", "drop"]
    assert statements("", "postgres") == ()
    assert statements("-- nothing", "postgres") == ()


def test_without_a_dialect_what_any_reading_sees_counts():
    text = "SELECT '\\'; DROP TABLE users; --'"
    assert [found.kind for found in statements(text, "mysql")] == ["select"]
    assert "drop" in {kind for found in statements(text) for kind in found.kinds}


def test_words_that_begin_statements_are_names_when_they_are_quoted_or_behind_a_dot():
    assert only('SELECT "delete", t.drop FROM t').is_read_only
    with pytest.raises(Unparsable, match="second statement"):
        statements("SELECT 1 delete", "postgres")


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("SELECT (", "postgres"),
        ("SELECT 1", "klingon"),
        ("SELECT\x001", None),
        ("SELECT\x0b1", None),
        (" " * (MAX_CHARACTERS + 1), None),
        ("SELECT " + ",".join("1" * MAX_TOKENS), None),
        ("SELECT a" + "[1]" * (MAX_BRACKETS + 1), None),
        (";".join(["SELECT 1"] * (MAX_STATEMENTS + 1)), "postgres"),
        ('SELECT U&"\\0041"', None),
        ("EXECUTE IMMEDIATE 'x'", None),
    ],
    ids=repr,
)
def test_what_cannot_be_read_for_certain_is_unparsable(text, dialect):
    with pytest.raises(Unparsable):
        statements(text, dialect)


def test_a_statement_is_a_value():
    assert only("SELECT 1 FROM a") == Statement("select", ("select",), ("a",), (), False, -1)
