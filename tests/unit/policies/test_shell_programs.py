from __future__ import annotations

import pytest

from policies.engine import shell_programs as programs
from policies.engine.exceptions import Unparsable
from policies.engine.shell import commands


@pytest.mark.parametrize("name", sorted(programs.PREFIXES))
def test_behind_every_prefix_the_command_is_found(name):
    own = "x " * programs.PREFIXES[name]
    assert "wipe" in {command.name for command in commands(f"{name} {own}wipe /")}


@pytest.mark.parametrize("name", sorted(programs.BEHIND))
def test_behind_every_word_that_runs_commands_the_command_is_found(name):
    words, between = programs.BEHIND[name]
    for word in words:
        try:
            found = {command.name for command in commands(f"{name} {word} {'x ' * between}wipe /")}
        except Unparsable:
            continue
        assert "wipe" in found


@pytest.mark.parametrize("name", sorted(programs.SHELLS))
def test_the_text_of_every_shell_is_read(name):
    assert "wipe" in {command.name for command in commands(f"{name} -c 'wipe /'")}


@pytest.mark.parametrize("name", sorted(programs.OPAQUE))
def test_programs_with_a_language_of_their_own_cannot_be_read(name):
    with pytest.raises(Unparsable):
        commands(f"{name} x")


@pytest.mark.parametrize("name", sorted(programs.RESERVED - {"!", "{", "}", "[[", "]]"}))
def test_a_word_of_the_grammar_is_no_command(name):
    with pytest.raises(Unparsable):
        commands(f"sudo {name} x")


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "BASH_ENV", "GIT_SSH", "IFS", "PAGER", "PYTHONSTARTUP"])
def test_a_variable_that_changes_what_names_run_cannot_be_read(name):
    for text in (f"{name}=x ls", f"export {name}=x", f"env {name}=x ls"):
        with pytest.raises(Unparsable):
            commands(text)
    assert commands(f"MY_{name}_X=x ls")
