"""The syntax of a CEL condition as a tree with places, to judge it before it is ever run. Pure.

The conditions themselves are run by the `cel` package; it tells nothing of what it parsed. This reader exists so that a
misspelt attribute, a wrong type or a refused pattern is found when the rule is saved, at its place, and not when the
first call meets it. It accepts the expressions of the language definition without messages and without byte strings.

Source: CEL specification, "Syntax" (cel-spec doc/langdef.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 4096
MAX_DEPTH: Final = 32

_TOKEN = re.compile(
    r"""
    (?P<space>[\t\n\f\r ]+|//[^\n]*)
  | (?P<number>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?|0x[0-9a-fA-F]+u?|\d+u?))
  | (?P<raw>[rR](?:"[^"\n]*"|'[^'\n]*'))
  | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<sign>\|\||&&|==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ITSELF = frozenset("\\?\"'`")
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
     "namespace", "return", "var", "void", "while"}
)  # fmt: skip
_RELATIONS = frozenset({"<", "<=", ">", ">=", "==", "!=", "in"})


class SyntaxRefused(ValueError):
    """The text is no condition; `place` counts characters from 1, `hint` is a sentence."""

    def __init__(self, place: int, hint: str) -> None:
        super().__init__(f"at character {place}: {hint}")
        self.place, self.hint = place, hint


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: str | int | float | bool | None
    place: int


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    name: str
    place: int


@dataclass(frozen=True, slots=True)
class Select:
    """A member by name: `value.field`."""

    value: Node
    field: str
    place: int


@dataclass(frozen=True, slots=True)
class Index:
    """A member by key or position: `value[key]`."""

    value: Node
    key: Node
    place: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function, a method or an operator; operators are named by their sign, `?:` has three arguments."""

    target: Node | None
    name: str
    arguments: tuple[Node, ...]
    place: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A list literal."""

    entries: tuple[Node, ...]
    place: int


@dataclass(frozen=True, slots=True)
class Mapped:
    """A map literal."""

    entries: tuple[tuple[Node, Node], ...]
    place: int


Node = Literal | Name | Select | Index | Call | Listing | Mapped


def parse(source: str) -> Node:
    """Return the tree of `source`.

    Raises:
        SyntaxRefused: with the place and what is wrong there.
    """
    if not source.strip():
        raise SyntaxRefused(1, "the condition is empty")
    if len(source) > MAX_CHARACTERS:
        raise SyntaxRefused(MAX_CHARACTERS, f"a condition has at most {MAX_CHARACTERS} characters")
    return _Parser(_tokens(source)).whole()


def calls(tree: Node) -> Iterator[Call]:
    """Yield every function, method and operator within `tree`."""
    waiting: list[Node] = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case Call(target=target, arguments=arguments):
                yield node
                waiting += [*arguments, *([] if target is None else [target])]
            case Select(value=value):
                waiting.append(value)
            case Index(value=value, key=key):
                waiting += [value, key]
            case Listing(entries=entries):
                waiting += entries
            case Mapped(entries=pairs):
                waiting += [part for pair in pairs for part in pair]
            case _:
                continue


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            raise SyntaxRefused(at + 1, f"{source[at]!r} is not expected here")
        kind = found.lastgroup or ""
        if kind != "space":
            tokens.append(_Token(kind, found[0], at + 1))
        at = found.end()
    tokens.append(_Token("end", "", len(source) + 1))
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    def whole(self) -> Node:
        node = self._expression()
        if self._now.kind != "end":
            raise self._unexpected()
        return node

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _unexpected(self) -> SyntaxRefused:
        token = self._now
        return SyntaxRefused(
            token.place, f"{token.text!r} is not expected here" if token.text else "something is missing"
        )

    def _is(self, *texts: str) -> bool:
        return self._now.kind in {"sign", "name"} and self._now.text in texts

    def _take(self) -> _Token:
        token = self._now
        self._at += 1
        return token

    def _expect(self, text: str) -> _Token:
        if not self._is(text):
            token = self._now
            raise SyntaxRefused(token.place, f"{text!r} is missing here")
        return self._take()

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SyntaxRefused(self._now.place, "the condition is nested too deeply")
        node = self._binary(0)
        if self._is("?"):
            place = self._take().place
            yes = self._binary(0)
            self._expect(":")
            node = Call(None, "?:", (node, yes, self._expression()), place)
        self._depth -= 1
        return node

    _LEVELS: Final = (
        frozenset({"||"}),
        frozenset({"&&"}),
        _RELATIONS,
        frozenset({"+", "-"}),
        frozenset({"*", "/", "%"}),
    )

    def _binary(self, level: int) -> Node:
        if level == len(self._LEVELS):
            return self._unary()
        node = self._binary(level + 1)
        while self._is(*self._LEVELS[level]):
            sign = self._take()
            node = Call(None, sign.text, (node, self._binary(level + 1)), sign.place)
        return node

    def _unary(self) -> Node:
        if self._is("!", "-"):
            sign = self._take()
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise SyntaxRefused(sign.place, "the condition is nested too deeply")
            inner = self._unary()
            self._depth -= 1
            if sign.text == "-" and isinstance(inner, Literal) and type(inner.value) in {int, float}:
                return Literal(-inner.value, sign.place)  # type: ignore[operator]
            return Call(None, "!" if sign.text == "!" else "-x", (inner,), sign.place)
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._is("."):
                self._take()
                name = self._identifier()
                if self._is("("):
                    node = Call(node, name.text, self._arguments(), name.place)
                else:
                    node = Select(node, name.text, name.place)
            elif self._is("["):
                place = self._take().place
                node = Index(node, self._expression(), place)
                self._expect("]")
            else:
                return node

    def _identifier(self) -> _Token:
        if self._now.kind != "name":
            raise self._unexpected()
        return self._take()

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(")
        return self._listed(")")

    def _listed(self, end: str) -> tuple[Node, ...]:
        entries: list[Node] = []
        while not self._is(end):
            entries.append(self._expression())
            if not self._is(","):
                break
            self._take()
        self._expect(end)
        return tuple(entries)

    def _primary(self) -> Node:
        token = self._now
        if token.kind == "number":
            self._take()
            return Literal(_number(token), token.place)
        if token.kind in {"text", "raw"}:
            self._take()
            return Literal(_text(token), token.place)
        if token.kind == "name":
            return self._named()
        if self._is("("):
            self._take()
            node = self._expression()
            self._expect(")")
            return node
        if self._is("["):
            self._take()
            return Listing(self._listed("]"), token.place)
        if self._is("{"):
            return self._mapped()
        raise self._unexpected()

    def _named(self) -> Node:
        token = self._take()
        if token.text in {"true", "false"}:
            return Literal(token.text == "true", token.place)
        if token.text == "null":
            return Literal(None, token.place)
        if token.text == "in" or token.text in _RESERVED:
            raise SyntaxRefused(token.place, f"{token.text!r} is a reserved word")
        if self._is("("):
            return Call(None, token.text, self._arguments(), token.place)
        return Name(token.text, token.place)

    def _mapped(self) -> Node:
        place = self._take().place
        entries: list[tuple[Node, Node]] = []
        while not self._is("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._is(","):
                break
            self._take()
        self._expect("}")
        return Mapped(tuple(entries), place)


def _number(token: _Token) -> int | float:
    text = token.text
    if text.startswith("0x"):
        value: int | float = int(text.rstrip("u"), 16)
    elif text.isdigit() or text[:-1].isdigit():
        value = int(text.rstrip("u"))
    else:
        return float(text)
    if value >= 2**63:
        raise SyntaxRefused(token.place, "the number is too large")
    return value


def _text(token: _Token) -> str:
    if token.kind == "raw":
        return token.text[2:-1]

    def replaced(found: re.Match[str]) -> str:
        escape = found[1]
        if escape in _SIMPLE:
            return _SIMPLE[escape]
        if escape in _ITSELF:
            return escape
        try:
            code = int(escape, 8) if escape[0].isdigit() else int(escape[1:], 16)
            if 0xD800 <= code < 0xE000:
                raise ValueError
            return chr(code)
        except (ValueError, OverflowError):
            raise SyntaxRefused(token.place, f"\\{escape} is not an escape") from None

    return _ESCAPE.sub(replaced, token.text[1:-1])
