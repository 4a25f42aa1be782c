"""What a shell text would run: every command in it, with its arguments, wherever it hides. Pure.

The text is read by a grammar of bash. Commands in pipes, substitutions, functions, conditions and loops count, and so
do those that another command is told to run (`sh -c`, `sudo`, `env`, `xargs`, `find -exec`). A command whose name is
only known when it runs (`$X`) makes the text unreadable: the rule that asks then takes its strictest branch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from .exceptions import Unparsable

MAX_CHARACTERS: Final = 10_000
MAX_COMMANDS: Final = 500
MAX_NESTING: Final = 5

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
_PREFIXES = frozenset(
    {"sudo", "doas", "env", "nohup", "time", "nice", "ionice", "timeout", "setsid", "stdbuf", "command", "builtin",
     "exec", "xargs", "chroot", "unshare", "watch", "strace", "su", "runuser", "flock", "script", "parallel",
     "systemd-run", "busybox"}
)  # fmt: skip
_INTERPRETED = frozenset({"eval", "source", ".", "trap"})
_OPAQUE_INPUT = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "ash", "python", "python3", "perl", "ruby", "node", "php"}
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name without its folder, its arguments as far as they are literal, and files it redirects to."""

    name: str
    arguments: tuple[str, ...]
    redirects: tuple[str, ...]


def commands(text: str) -> tuple[Command, ...]:
    """Return every command that `text` would run.

    Raises:
        Unparsable: it is no shell text, too long, or the name of a command is made when it runs.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unparsable("the text is too long")
    if "\x00" in text:
        raise Unparsable("the text has control characters")
    return _commands(text)


@lru_cache(maxsize=256)
def _commands(text: str) -> tuple[Command, ...]:
    found = tuple(_all(text, 0))
    if len(found) > MAX_COMMANDS:
        raise Unparsable("there are too many commands")
    return found


def _all(text: str, nesting: int) -> Iterator[Command]:
    if nesting > MAX_NESTING:
        raise Unparsable("the text is nested too deeply")
    tree = _parser().parse(text.encode("utf-8", "replace"))
    if tree.root_node.has_error:
        raise Unparsable("the text is no shell text")
    for node in _walk(tree.root_node):
        if node.type == "command":
            yield from _from_command(node, nesting)
        elif node.type == "redirected_statement" and not any(child.type == "command" for child in _walk(node)):
            yield Command("", (), _redirects(node))


@lru_cache(maxsize=1)
def _parser() -> Any:
    """Return the parser, loaded when the first rule asks for it."""
    binding = importlib.import_module("tree_sitter")
    return binding.Parser(binding.Language(importlib.import_module("tree_sitter_bash").language()))


def _walk(node: Any) -> Iterator[Any]:
    waiting = [node]
    while waiting:
        now = waiting.pop()
        yield now
        waiting.extend(reversed(now.children))


def _from_command(node: Any, nesting: int) -> Iterator[Command]:
    name_node = node.child_by_field_name("name")
    if name_node is None:
        return
    name = _literal(name_node)
    if name is None:
        raise Unparsable("the name of a command is made when it runs")
    arguments = [_literal(child) for child in node.children_by_field_name("argument")]
    parent = node.parent
    redirects = _redirects(parent) if parent is not None and parent.type == "redirected_statement" else ()
    short = name.rsplit("/", 1)[-1]
    yield Command(short, tuple("" if argument is None else argument for argument in arguments), redirects)
    yield from _told_to_run(short, arguments, node, nesting)


def _told_to_run(name: str, arguments: list[str | None], node: Any, nesting: int) -> Iterator[Command]:
    """Yield what the command runs in its turn."""
    if name in _SHELLS and any(
        a is not None and a.startswith("-") and not a.startswith("--") and "c" in a for a in arguments
    ):
        at = next(i for i, a in enumerate(arguments) if a is not None and a.startswith("-") and "c" in a)
        yield from _inner(arguments[at + 1 : at + 2], nesting)
    elif name in _INTERPRETED:
        if name != "eval":
            raise Unparsable("a command runs what a file or a signal holds")
        yield from _inner([_joined(arguments)], nesting)
    elif name in _PREFIXES:
        yield from _after_prefix(name, arguments, nesting)
    elif name == "find":
        yield from _after_exec(arguments, nesting)
    elif name in _OPAQUE_INPUT and (None in arguments or _reads_input(node, arguments)):
        raise Unparsable("a command runs what it is sent")


def _reads_input(node: Any, arguments: list[str | None]) -> bool:
    """Tell whether an interpreter takes its program from a pipe or a redirection: it is given no file to run."""
    if any(argument is not None and not argument.startswith("-") for argument in arguments):
        return False
    parent = node.parent
    while parent is not None:
        if parent.type in {"pipeline", "redirected_statement", "heredoc_redirect", "heredoc_body"}:
            return True
        parent = parent.parent
    return False


def _inner(texts: list[str | None], nesting: int) -> Iterator[Command]:
    if not texts or texts[0] is None:
        raise Unparsable("a shell is told to run what is made when it runs")
    yield from _all(texts[0], nesting + 1)


def _joined(arguments: list[str | None]) -> str | None:
    return None if None in arguments else " ".join(argument or "" for argument in arguments)


def _after_prefix(name: str, arguments: list[str | None], nesting: int) -> Iterator[Command]:
    """Yield the command that a prefix such as sudo runs: any of its words might be the one, so all are taken."""
    if name in {"su", "runuser", "script", "flock"} and "-c" in arguments:
        yield from _inner(arguments[arguments.index("-c") + 1 :][:1], nesting)
        return
    for at, word in enumerate(arguments):
        if word is None:
            raise Unparsable("the name of a command is made when it runs")
        if word.startswith("-") or "=" in word:
            continue
        rest = arguments[at + 1 :]
        short = word.rsplit("/", 1)[-1]
        yield Command(short, tuple("" if argument is None else argument for argument in rest), ())
        if short in _SHELLS | _INTERPRETED | _PREFIXES | {"find"}:
            yield from _again(short, rest, nesting)


def _again(name: str, arguments: list[str | None], nesting: int) -> Iterator[Command]:
    if nesting > MAX_NESTING:
        raise Unparsable("the text is nested too deeply")
    if name in _SHELLS and "-c" in arguments:
        yield from _inner(arguments[arguments.index("-c") + 1 :][:1], nesting)
    elif name == "eval":
        yield from _inner([_joined(arguments)], nesting)
    elif name in _INTERPRETED:
        raise Unparsable("a command runs what a file or a signal holds")
    elif name == "find":
        yield from _after_exec(arguments, nesting)
    elif name in _PREFIXES:
        yield from _after_prefix(name, arguments, nesting + 1)


def _after_exec(arguments: list[str | None], nesting: int) -> Iterator[Command]:
    for at, word in enumerate(arguments):
        if word in {"-exec", "-execdir", "-ok", "-okdir"}:
            yield from _after_prefix("env", arguments[at + 1 :][:1], nesting)
            shell = arguments[at + 1 : at + 2]
            if shell and shell[0] is not None and shell[0].rsplit("/", 1)[-1] in _SHELLS:
                yield from _again(shell[0].rsplit("/", 1)[-1], arguments[at + 2 :], nesting)
        elif word == "-delete":
            yield Command("rm", (), ())


def _redirects(node: Any) -> tuple[str, ...]:
    files: list[str] = []
    for child in node.children:
        if child.type == "file_redirect" and b">" in child.text:
            destination = child.child_by_field_name("destination")
            text = None if destination is None else _literal(destination)
            if text is None:
                raise Unparsable("a file is only known when the text runs")
            files.append(text)
    return tuple(files)


def _literal(node: Any) -> str | None:
    """Return the text that `node` stands for when it is fixed, None when it is made at run time."""
    text: str = node.text.decode("utf-8", "replace")
    match node.type:
        case "command_name":
            return _literal(node.children[0]) if node.children else None
        case "word" | "number":
            if "{" in text and "," in text:
                return None
            return _unescaped(text)
        case "raw_string":
            return text[1:-1]
        case "ansi_c_string" | "ansii_c_string":
            return None if "\\" in text else text[2:-1]
        case "string":
            inner = node.named_children
            if any(child.type != "string_content" for child in inner):
                return None
            return (
                text[1:-1]
                .replace("\\\n", "")
                .replace('\\"', '"')
                .replace("\\$", "$")
                .replace("\\`", "`")
                .replace("\\\\", "\\")
            )
        case "concatenation":
            parts = [_literal(child) for child in node.children]
            return None if None in parts else "".join(part or "" for part in parts)
        case _:
            return None


def _unescaped(text: str) -> str:
    out: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            out.append("" if following == "\n" else following)
        else:
            out.append(character)
    return "".join(out)
