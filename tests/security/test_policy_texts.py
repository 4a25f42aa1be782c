"""No trick of SQL or of a shell hides what a text would do; what cannot be read meets the strictest branch."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.engine import shell, sql
from policies.engine.compile import GrantRow, GuardrailRow, compile_connection
from policies.engine.exceptions import Unparsable
from policies.engine.facts import Facts, History
from policies.engine.rules import Call, decide
from policies.engine.verdicts import Effect
from policies.rehearsal import Somebody
from tests.security.policy_tricks import HARMLESS_SHELL, ONLY_WITH_PROGRAMS, READING_SQL, RUN_BY_BASH, SQL

READ_ONLY = "sql.statements(args.q).all(s, s.is_read_only)"
NO_WIPE = 'shell.commands(args.q).all(c, c.name != "wipe")'
ANN = Somebody("https://idp.example", "ann")
CALL = Call("tools/call", "tool", "run")


def verdict(effect: str, condition: str, text: str) -> Effect:
    """Return what a policy of one rule says of a call with `text`; a rule that allows is the only one that does."""
    policy = compile_connection(
        "c",
        grants=[GrantRow("g", "c", principal=(ANN.issuer, ANN.subject), tools=() if effect == "allow" else ("*",))],
        guardrails=[GuardrailRow("r", "rule", effect, condition=condition)],
        patterns=(),
    )
    facts = Facts(0.0, arguments={"q": text}, history=History())
    return decide(policy, ANN, CALL, now=0.0, facts=facts).effect


@pytest.mark.parametrize("text", SQL, ids=lambda text: repr(text)[:60])
def test_no_sql_trick_passes_a_rule_that_lets_only_reads_through(text: str) -> None:
    assert verdict("deny", f"!({READ_ONLY})", text) is Effect.DENY
    assert verdict("hold", f"!({READ_ONLY})", text) is not Effect.ALLOW
    assert verdict("allow", READ_ONLY, text) is Effect.DENY


@pytest.mark.parametrize("text", READING_SQL)
def test_plain_reads_pass_such_a_rule(text: str) -> None:
    assert verdict("deny", f"!({READ_ONLY})", text) is Effect.ALLOW
    assert verdict("allow", READ_ONLY, text) is Effect.ALLOW


@pytest.mark.parametrize("text", (*RUN_BY_BASH, *ONLY_WITH_PROGRAMS), ids=lambda text: repr(text)[:60])
def test_no_shell_trick_hides_a_command(text: str) -> None:
    assert verdict("deny", f"!({NO_WIPE})", text) is Effect.DENY
    assert verdict("hold", f"!({NO_WIPE})", text) is not Effect.ALLOW
    assert verdict("allow", NO_WIPE, text) is Effect.DENY


@pytest.mark.parametrize("text", HARMLESS_SHELL)
def test_harmless_shell_texts_can_be_read(text: str) -> None:
    assert verdict("deny", f"!({NO_WIPE})", text) is Effect.ALLOW


def test_the_corpora_are_as_large_as_promised() -> None:
    assert len(set(SQL)) >= 120
    assert len({*RUN_BY_BASH, *ONLY_WITH_PROGRAMS}) >= 80


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a `wipe` lies that only notes that it was run."""
    folder = tmp_path_factory.mktemp("bash")
    program = folder / "wipe"
    program.write_text(f"#!/bin/sh\necho run >> {folder}/log\n")
    program.chmod(0o755)
    return folder


def was_run(folder: Path, text: str) -> bool:
    """Tell whether bash runs `wipe` for `text`, with programs of the system and nothing else in its environment."""
    (folder / "log").unlink(missing_ok=True)
    subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env={"PATH": f"{folder}:{os.defpath}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=False,
    )
    return (folder / "log").exists()


def test_the_tricks_are_tricks(bench: Path) -> None:
    plain = [text for text in RUN_BY_BASH if "perl" not in text and "python3" not in text and "git" not in text]
    assert [text for text in plain if not was_run(bench, text)] == []


WORDS = st.sampled_from(
    ["wipe", "true", "echo", "x", "'wipe'", '"x"', "w\\ipe", "$x", "-c", "--", "'wipe x'", "env", "bash"]
)
SIMPLE = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    shapes = [
        *("{}; {}", "{} && {}", "{} | {}", "true || {}{}", "({})#{}", "{{ {}; }}; {}", "echo $({}) {}"),
        *('echo "$({})" {}', "x=`{}` {}", "if {}; then {}; fi", "f() {{ {}; }}; f {}", "{} <<EOF\n$({})\nEOF"),
        *("cat <({}) {}", "! {} ; {}", "{} # {}", "{}\n{}", "x='{}'; {}", "eval '{}' {}", "case x in {}) {};; esac"),
        *("{} >/dev/null; {}", "time {}; {}", "{} \\\n{}", "env {} {}", "bash -c '{}' {}", "alias {}='{}'"),
    ]
    return st.builds(lambda shape, one, two: shape.format(one, two), st.sampled_from(shapes), inner, inner)


@settings(max_examples=60, deadline=None)
@given(text=st.recursive(SIMPLE, nested, max_leaves=5))
def test_whatever_bash_runs_is_seen_or_refused(bench: Path, text: str) -> None:
    try:
        seen = any(command.name == "wipe" for command in shell.commands(text))
    except Unparsable:
        return
    assert seen or not was_run(bench, text)


READING_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
}


def writes(text: str) -> bool:
    """Tell whether SQLite, asked to run `text`, comes to something else than reading."""
    asked: list[int] = []

    def judge(action: int, *_: object) -> int:
        asked.append(action)
        return sqlite3.SQLITE_OK if action in READING_ACTIONS else sqlite3.SQLITE_DENY

    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (a)")
        database.set_authorizer(judge)
        with contextlib.suppress(sqlite3.Error, sqlite3.Warning, ValueError):
            database.executescript(text)
    return not READING_ACTIONS.issuperset(asked)


PIECES = st.sampled_from(
    [
        *(
            "SELECT 1",
            "SELECT a FROM t",
            "DELETE FROM t",
            "DROP TABLE t",
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 2",
        ),
        *("WITH x AS (SELECT 1)", "EXPLAIN", "VALUES (1)", "REPLACE INTO t VALUES (1)", "CREATE TABLE u AS SELECT 1"),
        *(
            ";",
            "--",
            "\n",
            "/*",
            "*/",
            "'",
            '"',
            "`",
            "[",
            "]",
            "(",
            ")",
            ",",
            "\\'",
            "''",
            "$$",
            "#",
            "AS",
            "x",
            "/*!50000",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(text=st.lists(PIECES, max_size=8).map(" ".join) | st.lists(PIECES, max_size=8).map("".join))
def test_whatever_a_database_would_write_is_seen_or_refused(text: str) -> None:
    try:
        reads = all(statement.is_read_only for statement in sql.statements(text))
    except Unparsable:
        return
    assert not (reads and writes(text))


@settings(max_examples=300, deadline=10_000)
@given(
    text=st.text(max_size=200)
    | st.lists(st.sampled_from(["SELECT", "(", ")", "1", ",", "'", "--", "/*", ";", "[", "a"])).map(" ".join)
)
def test_no_text_makes_a_reader_fail_otherwise_than_by_refusing(text: str) -> None:
    for read in (sql.statements, shell.commands):
        try:
            read(text)
        except Unparsable:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "+".join("1" * 4_900),
        "SELECT a" + "[1]" * 3_000,
        "SELECT " + "(" * 4_900,
        "SELECT " + "CASE " * 1_900,
        " UNION ".join(["SELECT 1"] * 330),
        "INSERT INTO x VALUES " + ",".join(["(1,2)"] * 160),
        "a;" * 4_900,
        "$(" * 3_000,
        "sudo " * 1_900,
        "eval '" * 1_500,
        '"' * 9_000,
    ],
    ids=lambda text: text[:20],
)
def test_reading_a_hostile_text_takes_bounded_time(text: str) -> None:
    started = time.process_time()
    for read in (sql.statements, shell.commands):
        try:
            read(text)
        except Unparsable:
            continue
    assert time.process_time() - started < 1.5


def test_a_call_with_many_texts_is_not_read_without_end() -> None:
    texts = ["SELECT " + "+".join("1" * 400) + f" -- {number}" for number in range(200)]
    policy = compile_connection(
        "c",
        grants=[GrantRow("g", "c", principal=(ANN.issuer, ANN.subject), tools=("*",))],
        guardrails=[GuardrailRow("r", "rule", "deny", condition="texts(args).exists(t, size(sql.kinds(t)) > 5)")],
        patterns=(),
    )
    started = time.process_time()
    found = decide(policy, ANN, CALL, now=0.0, facts=Facts(0.0, arguments={"q": texts}, history=History()))
    assert (found.effect, found.attributes) == (Effect.DENY, ("condition: unreadable",))
    assert time.process_time() - started < 3.0
