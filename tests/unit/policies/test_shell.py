from __future__ import annotations

import pytest

from policies.engine.exceptions import Unparsable
from policies.engine.shell import MAX_CHARACTERS, MAX_COMMANDS, Command, commands


def names(text):
    return [command.name for command in commands(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ls -la /tmp", [Command("ls", ("-la", "/tmp"), ())]),
        ("/usr/bin/ls", [Command("ls", (), ())]),
        ("echo 'a b' \"c\" d\\ e", [Command("echo", ("a b", "c", "d e"), ())]),
        ("echo $X", [Command("echo", ("",), ())]),
        ("ls > a 2> b >> c", [Command("ls", (), ("a", "b", "c"))]),
        ("> a ls 2>&1", [Command("ls", (), ("a",))]),
        ("ls &> a", [Command("ls", (), ("a",))]),
        ("cat <<EOF > a\nx\nEOF", [Command("cat", (), ("a",))]),
        ("> a", [Command("", (), ("a",))]),
        ("{ ls; } > a", [Command("", (), ("a",)), Command("ls", (), ())]),
        ("", []),
        ("# only a remark", []),
        ("x=1", []),
        ("a; a; a", [Command("a", (), ())]),
    ],
)
def test_a_command_has_its_name_arguments_and_files(text, expected):
    assert list(commands(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b && c || d; e & f", ["a", "b", "c", "d", "e", "f"]),
        ('a $(b `c`) "$(d)"', ["a", "b", "c", "d"]),
        ("sudo -u root a b", ["sudo", "root", "a"]),
        ("sudo a b c", ["sudo", "a"]),
        ("timeout 5 a b", ["timeout", "a"]),
        ("flock /x a b", ["flock", "x", "a"]),
        ("env A=b a c", ["env", "a"]),
        ("sh -c 'a; b'", ["sh", "a", "b"]),
        ("sh script.sh", ["sh", "script.sh"]),
        (". ./env.sh", [".", "env.sh"]),
        ("find . -exec a {} \\; -delete", ["find", "a", "rm"]),
        ("docker exec c a b", ["docker", "c", "a"]),
        ("docker ps", ["docker"]),
        ("alias x='a; b'", ["alias", "a", "b"]),
        ("trap 'a' EXIT", ["trap", "a"]),
        ("ssh host a \\; b", ["ssh", "host", "a", "b"]),
    ],
)
def test_what_a_command_is_told_to_run_counts_too(text, expected):
    assert set(names(text)) == set(expected)


def test_a_word_that_is_certainly_no_command_is_none():
    assert names("sudo grep rm notes.txt") == ["sudo", "grep"]
    assert names("xargs -n 1 grep rm") == ["xargs", "grep"]
    assert names("git commit -m 'rm -rf /'") == ["git"]


@pytest.mark.parametrize(
    "text",
    [
        "$X",
        "a; $X -rf",
        "eval $X",
        "echo x | sh",
        "sh <<< x",
        "python -c 'x'",
        "r{m,n}",
        "/bin/r?",
        "PATH=. ls",
        "a > $X",
        "if",
        "'unclosed",
        "a\x00b",
        "x" * (MAX_CHARACTERS + 1),
        ";".join(f"a{number}" for number in range(MAX_COMMANDS + 1)),
        "sudo " * 10 + "a",
        'cat <<E"O"F\nx\nEOF',
        "cat <<EOF\n`a`\nEOF",
    ],
    ids=lambda text: text[:30],
)
def test_what_is_only_known_when_it_runs_is_unparsable(text):
    with pytest.raises(Unparsable):
        commands(text)


def test_characters_beyond_ascii_stand_in_words_as_they_were_written() -> None:
    [command] = commands("./ré 'ö x' \"日本\" a\\é \U0001f600")
    assert (command.name, command.arguments) == ("ré", ("ö x", "日本", "aé", "\U0001f600"))


def test_what_looks_like_the_stand_in_of_a_letter_is_itself() -> None:
    [command] = commands("Zq72qZm -rf")
    assert command.name == "Zq72qZm"


def test_an_assignment_to_no_name_is_refused() -> None:
    with pytest.raises(Unparsable):
        list(commands("é=1"))


def test_no_character_of_any_plane_ends_the_process() -> None:
    # The tokenizer of the parser reads beyond its tables for such characters when it gets them as they are.
    for first in range(0x80, 0x110000, 4099):
        wide = "".join(chr(code) for code in range(first, first + 40) if not 0xD800 <= code <= 0xDFFF)
        for text in (f"a{wide} 'b'", f"{wide}\r{wide}", f"x {{{wide}}} ${wide} <<{wide}"):
            try:
                list(commands(text))
            except Unparsable:
                continue


def test_what_follows_the_end_of_the_options_of_eval_runs() -> None:
    assert "wipe" in [command.name for command in commands("eval '--' wipe")]
