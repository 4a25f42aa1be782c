"""What a shell text would run: every command in it, with its arguments, wherever it hides. Pure.

The text is read by a grammar of bash. Commands in pipes, substitutions, functions, conditions and loops count, and so
do those that another command is told to run (`sh -c`, `sudo`, `env`, `xargs`, `find -exec`, `docker exec`; the list is
`shell_programs`). Where it is not certain which word is the command, each that could be is one: a rule then sees too
much rather than too little. What is only known when the text runs (`$X`, `base64 -d | sh`, a program in another
language) makes it unreadable: the rule that asks then takes its strictest branch.

What a file does that is run (`./build.sh`, `python x.py`) is not in the text, and not told; its name is.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from . import shell_programs as programs
from .exceptions import Unparsable

MAX_CHARACTERS: Final = 10_000
MAX_COMMANDS: Final = 500
MAX_NESTING: Final = 5

_CONTINUED = re.compile(r"\\\n")
_GLOB = re.compile(r"(?<!\\)[*?\[]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[[^]]*\])?\+?=")
_PLAIN_DELIMITER = re.compile(r"([A-Za-z0-9_.-]+)|'[A-Za-z0-9_. -]+'|\"[A-Za-z0-9_. -]+\"|\\[A-Za-z0-9_.-]+")
_SUBSTITUTES = re.compile(r"`|\$\((?!\()|[<>]\(")
_SEPARATES = re.compile(r"[\s;&|<>()`$\\\"']")
_SEEN = frozenset({"command_substitution", "process_substitution", "raw_string", "comment", "ansi_c_string"})
_QUESTION = frozenset({"--version", "-V", "-v", "--help", "-h", "-version"})
_DEVICE = re.compile(r"-|/dev/(?:stdin|fd/.*|tcp/.*|udp/.*)|/proc/.*")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name without its folder, its arguments as far as they are literal, and files it redirects to."""

    name: str
    arguments: tuple[str, ...]
    redirects: tuple[str, ...]


def commands(text: str) -> tuple[Command, ...]:
    """Return every command that `text` would run.

    Raises:
        Unparsable: it is no shell text, too long, or what it runs is only known when it runs.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unparsable("the text is too long")
    if "\x00" in text:
        raise Unparsable("the text has control characters")
    return _commands(text)


_WIDE = re.compile(r"[^\x00-\x7f]")
"""What is no ASCII. The parser's tokenizer looks such characters up in C's tables for bytes and reads beyond them,
which ends the process for some. To a shell all of them are letters of words, so words of letters stand for them."""
_NAMED = re.compile(r"Zq([0-9a-f]{2,6})qZ")


@lru_cache(maxsize=256)
def _commands(text: str) -> tuple[Command, ...]:
    found = dict.fromkeys(_all(text, 0))
    if len(found) > MAX_COMMANDS:
        raise Unparsable("there are too many commands")
    return tuple(found)


@lru_cache(maxsize=1)
def _parser() -> Any:
    """Return the parser, loaded when the first rule asks for it."""
    binding = importlib.import_module("tree_sitter")
    return binding.Parser(binding.Language(importlib.import_module("tree_sitter_bash").language()))


def _all(text: str, nesting: int) -> Iterator[Command]:
    if nesting > MAX_NESTING:
        raise Unparsable("the text is nested too deeply")
    yield from _once(text, nesting)
    if _CONTINUED.search(text):
        # A line that goes on after a backslash is one word or one comment or part of a text: both readings count.
        yield from _once(_CONTINUED.sub("", text), nesting)


def _once(text: str, nesting: int) -> Iterator[Command]:
    data = _WIDE.sub(_named, text).encode("ascii")
    root = _parser().parse(data).root_node
    if root.has_error:
        raise Unparsable("the text is no shell text")
    hidden = bytearray(data)
    for node in _walk(root):
        if node.type in _SEEN or (node.type == "heredoc_body" and _is_quoted(node)):
            hidden[node.start_byte : node.end_byte] = b" " * (node.end_byte - node.start_byte)
        if node.type == "command":
            yield from _from_command(node, nesting)
        elif node.type == "redirected_statement":
            yield from _from_redirected(node)
        else:
            _refuse_what_is_made(node)
    if _SUBSTITUTES.search(re.sub(r"\\.", "", hidden.decode("utf-8", "replace"), flags=re.DOTALL)):
        # The grammar overlooks some substitutions, such as backquotes in a here-document or within ${x:-...}.
        raise Unparsable("the text has a substitution that cannot be read")


def _walk(node: Any) -> Iterator[Any]:
    waiting = [node]
    while waiting:
        now = waiting.pop()
        yield now
        waiting.extend(reversed(now.children))


def _is_quoted(body: Any) -> bool:
    start = next((child for child in body.parent.children if child.type == "heredoc_start"), None)
    return start is not None and start.text[:1] in {b"'", b'"', b"\\"}


def _refuse_what_is_made(node: Any) -> None:
    """Refuse what changes the meaning of names, and what the grammar may see otherwise than a shell does."""
    if node.type == "variable_assignment":
        name = node.child_by_field_name("name")
        if name is not None and _NAMED.search(name.text.decode("utf-8", "replace")):
            # To a shell this is no name of a variable, and so the whole is the name of a command.
            raise Unparsable("a variable has a name that is none")
        if name is not None and programs.CHANGES_MEANING.fullmatch(name.text.decode("utf-8", "replace")):
            raise Unparsable("a variable is set that changes what names run")
    elif node.type == "heredoc_start":
        if _PLAIN_DELIMITER.fullmatch(node.text.decode("utf-8", "replace")) is None:
            raise Unparsable("the end of a here-document cannot be told")
    elif node.type in {"raw_string", "string"} and re.search(rb"\[[^]]*(?:\$\(|`)", node.text) is not None:
        raise Unparsable("a subscript may run what is substituted in it")


def _from_redirected(node: Any) -> Iterator[Command]:
    """Yield the files to which something else than one command redirects, as a command without a name."""
    body = node.child_by_field_name("body")
    if body is None or body.type != "command":
        files = _redirects(node)
        if files:
            yield Command("", (), files)


def _from_command(node: Any, nesting: int) -> Iterator[Command]:
    name_node = node.child_by_field_name("name")
    if name_node is None:
        return
    name = _literal(name_node)
    if name is None or (_has_glob(name_node) and name not in {"[", "[["}):
        raise Unparsable("the name of a command is made when it runs")
    arguments = [_literal(child) for child in node.children_by_field_name("argument")]
    parent = node.parent
    files = _redirects(node)
    if parent is not None and parent.type == "redirected_statement":
        files += _redirects(parent)
    yield from _run(name, arguments, nesting, files)


def _has_glob(name_node: Any) -> bool:
    return any(
        child.type == "word" and _GLOB.search(child.text.decode("utf-8", "replace")) for child in _walk(name_node)
    )


def _run(
    path: str, arguments: Sequence[str | None], nesting: int, files: tuple[str, ...] = (), *, is_fed: bool = False
) -> Iterator[Command]:
    """Yield the command `path` and what it runs in its turn; `is_fed` says that xargs puts words behind or into it."""
    if nesting > MAX_NESTING:
        raise Unparsable("the text is nested too deeply")
    name = path.rstrip("/").rsplit("/", 1)[-1]
    yield Command(name, tuple("" if argument is None else argument for argument in arguments), files)
    _refuse_opaque(name, arguments)
    if is_fed and any(argument is not None and "{" in argument for argument in arguments) and name in programs.SHELLS:
        raise Unparsable("a shell is told to run what is put into its text")
    if name in programs.SHELLS:
        yield from _shell(arguments, nesting)
    elif name == "eval":
        yield from _text([_joined(arguments[1:] if arguments[:1] == ["--"] else arguments)], nesting)
    elif name == "trap":
        yield from _text([a for a in arguments if a is None or not a.startswith("-")][:1], nesting)
    elif name == "alias":
        for argument in arguments:
            yield from _text([None if argument is None else argument.partition("=")[2] or ":"], nesting)
    elif name in {"source", "."}:
        yield from _file(arguments)
    elif programs.INTERPRETERS.fullmatch(name):
        _refuse_inline(name, arguments)
    elif name in programs.BEHIND:
        words, between = programs.BEHIND[name]
        for at, word in enumerate(arguments):
            if word in words:
                yield from _prefixed(name, arguments[at + 1 :], between, nesting)
        if "-delete" in arguments and name.endswith("find"):
            yield Command("rm", (), ())
    elif name in programs.PREFIXES or name.startswith("ld-linux"):
        is_fed = is_fed or name in {"xargs", "parallel"}
        yield from _prefixed(name, arguments, programs.PREFIXES.get(name, 0), nesting, is_fed=is_fed)


def _refuse_opaque(name: str, arguments: Sequence[str | None]) -> None:
    if name in programs.RESERVED:
        raise Unparsable("the text is no shell text")
    if name.lower().removesuffix(".exe") in programs.OPAQUE:
        raise Unparsable("a command runs what cannot be read")
    if name in {"at", "batch"} or (name == "crontab" and not any(a in {"-l", "-r"} for a in arguments)):
        raise Unparsable("a command runs what it is sent")
    pattern = programs.OPAQUE_ARGUMENT.get(name)
    if pattern is not None:
        for argument in arguments:
            if argument is not None and pattern.fullmatch(argument):
                raise Unparsable("a command is told to run something else")
    if name == "sed" and any(argument is None or programs.SED_RUNS.search(argument) for argument in arguments):
        raise Unparsable("a command is told to run something else")
    if name == "env" and any(a is not None and re.match(r"-[A-Za-z0]*S|--s", a) for a in arguments):
        raise Unparsable("a command is made of a text")


def _shell(arguments: Sequence[str | None], nesting: int) -> Iterator[Command]:
    """Yield what a shell runs: the text after `-c`; without one it needs a file to run."""
    for at, argument in enumerate(arguments):
        if argument is None:
            raise Unparsable("a shell is told to run what is made when it runs")
        if re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", argument):
            following = list(arguments[at + 1 :])
            if following[:1] == ["--"]:
                following = following[1:]
            if following and following[0] is not None and following[0][:1] in {"-", "+"}:
                raise Unparsable("a shell is told to run what cannot be told")
            yield from _text(following[:1], nesting)
            return
        if argument.startswith("-") and "c" in argument and not argument.startswith("--"):
            raise Unparsable("a shell is told to run what cannot be told")
    yield from _file(arguments)


def _file(arguments: Sequence[str | None]) -> Iterator[Command]:
    """Yield the file that a shell is given as a command of its own: a shell finds it as it finds commands."""
    _refuse_unless_file(arguments)
    for argument in arguments:
        if argument is not None and not argument.startswith(("-", "+")):
            yield Command(argument.rsplit("/", 1)[-1], (), ())


def _refuse_unless_file(arguments: Sequence[str | None]) -> None:
    """Refuse a shell or interpreter that is given no file: it runs what it is sent."""
    if arguments and all(argument in _QUESTION for argument in arguments):
        return
    files = [argument for argument in arguments if argument is None or not argument.startswith(("-", "+"))]
    if not files or any(argument is None or _DEVICE.fullmatch(argument) for argument in files) or "-" in arguments:
        raise Unparsable("a command runs what it is sent")
    if any(argument is not None and re.fullmatch(r"-[A-Za-z]*[si]", argument) for argument in arguments):
        raise Unparsable("a command runs what it is sent")


def _refuse_inline(name: str, arguments: Sequence[str | None]) -> None:
    """Refuse a program in another language."""
    if name in programs.AWKS:
        if any(argument is None or programs.AWK_RUNS.search(argument) for argument in arguments):
            raise Unparsable("a command runs a program that cannot be read")
        return
    for argument in arguments:
        if argument is None or (argument.startswith("-") and programs.INLINE.match(argument)):
            raise Unparsable("a command runs a program that cannot be read")
        if not argument.startswith("-"):
            break
        if argument == "-m":
            return
    _refuse_unless_file(arguments)


def _text(texts: Sequence[str | None], nesting: int) -> Iterator[Command]:
    if not texts or texts[0] is None:
        raise Unparsable("a shell is told to run what is made when it runs")
    yield from _all(texts[0], nesting + 1)


def _joined(arguments: Sequence[str | None]) -> str | None:
    return None if None in arguments else " ".join(argument or "" for argument in arguments)


def _prefixed(
    name: str, arguments: Sequence[str | None], own: int, nesting: int, *, is_fed: bool = False
) -> Iterator[Command]:
    """Yield the command that a program such as sudo runs.

    A word after an option may be the option's value or the command, so it is taken for the command as well; the first
    word that is neither that nor one of the `own` words of the program ends the search.
    """
    text_option = programs.SHELL_TEXT.get(name)
    for at, word in enumerate(arguments):
        if text_option is not None and word is not None and text_option.match(word):
            attached = word.partition("=")[2] or word[2:]
            yield from _text([attached] if _is_attached(word) else arguments[at + 1 :], nesting)
            return
    is_after_option = False
    for at, word in enumerate(arguments):
        if word is None:
            raise Unparsable("the name of a command is made when it runs")
        if word.startswith("-") and word != "-":
            if word.startswith("--entrypoint="):
                yield from _run(word.partition("=")[2], (), nesting + 1)
            is_after_option = word != "--"
            continue
        if _ASSIGNMENT.match(word):
            # `env PATH=. ls` and `sudo PATH=. ls` run another ls.
            if programs.CHANGES_MEANING.fullmatch(word.partition("=")[0].rstrip("+")):
                raise Unparsable("a variable is set that changes what names run")
            is_after_option = False
            continue
        is_certain = not is_after_option and own == 0
        if not is_after_option:
            own = max(0, own - 1)
        is_after_option = False
        if is_fed and "{" in word and is_certain:
            raise Unparsable("the name of a command is made when it runs")
        if word in {"", "-", "{}", ";", "+"} or word.isdigit():
            continue
        yield from _candidate(name, word, arguments[at + 1 :], nesting, is_fed=is_fed)
        if is_certain:
            return
    if is_fed and name not in {"xargs", "parallel"}:
        raise Unparsable("the name of a command is made when it runs")


def _is_attached(option: str) -> bool:
    return "=" in option or re.fullmatch(r"-c.+", option) is not None


def _candidate(name: str, word: str, rest: Sequence[str | None], nesting: int, *, is_fed: bool) -> Iterator[Command]:
    if name in programs.JOINED or _SEPARATES.search(word):
        joined = _joined((word, *rest)) if name in programs.JOINED else word
        yield from _text([joined], nesting)
        return
    if _GLOB.search(word):
        raise Unparsable("the name of a command is made when it runs")
    if name in {"find", "gfind"}:
        rest = rest[: next((i for i, a in enumerate(rest) if a in {";", "+"}), len(rest))]
    yield from _run(word, rest, nesting + 1, is_fed=is_fed)


def _redirects(node: Any) -> tuple[str, ...]:
    """Return the files that the redirections of `node` itself write to."""
    files: list[str] = []
    for child in node.children:
        if child.type == "heredoc_redirect":
            files += _redirects(child)
        if child.type != "file_redirect" or b">" not in child.text:
            continue
        destination = child.child_by_field_name("destination")
        text = None if destination is None else _literal(destination)
        if text is None:
            raise Unparsable("a file is only known when the text runs")
        if destination.type != "number":
            files.append(text)
    return tuple(files)


def _named(found: re.Match[str]) -> str:
    """Return a word of ASCII letters in the place of a character; `_NAMED` finds it back."""
    return f"Zq{ord(found[0]):x}qZ"


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if 0x80 <= code <= 0x10FFFF else found[0]


def _literal(node: Any) -> str | None:
    """Return the text that `node` stands for when it is fixed, None when it is made at run time."""
    fixed = _fixed(node)
    return None if fixed is None else _NAMED.sub(_character, fixed)


def _fixed(node: Any) -> str | None:
    text: str = node.text.decode("utf-8", "replace")
    match node.type:
        case "command_name":
            return _literal(node.children[0]) if node.children else None
        case "word" | "number":
            return None if _is_braced(text) else _unescaped(text)
        case "raw_string":
            return text[1:-1]
        case "ansi_c_string" | "ansii_c_string":
            return None if "\\" in text else text[2:-1]
        case "string":
            if any(child.type != "string_content" for child in node.named_children):
                return None
            return re.sub(r"\\([\"$`\\])", r"\1", text[1:-1].replace("\\\n", ""))
        case "concatenation":
            parts = [_literal(child) for child in node.children]
            bare = "".join(child.text.decode("utf-8", "replace") for child in node.children if child.type == "word")
            return None if None in parts or _is_braced(bare) else "".join(part or "" for part in parts)
        case _:
            return None


def _is_braced(text: str) -> bool:
    """Tell whether a shell would make several words of `text`: `{a,b}` and `{a..c}`."""
    return "{" in text and ("," in text or ".." in text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "" if found[1] == "\n" else found[1], text, flags=re.DOTALL)
