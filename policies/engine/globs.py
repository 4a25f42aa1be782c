"""Lists of globs, as administrators write them for tools, prompts, resources and methods.

Two wildcards and nothing else: `*` stands for any run of characters, "/" and line ends included, `?` for exactly one.
Everything else is itself, to the letter and to the case; there are no character classes and no escapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import re2

from .exceptions import PatternRefused

MAX_GLOBS = 200
MAX_GLOB_CHARACTERS = 256
_WILDCARDS = frozenset("*?")
_WILDCARD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class Globs:
    """A compiled list of globs; the empty list matches nothing. Matching is linear in the length of the name."""

    exact: frozenset[str] = frozenset()
    any_name: bool = False
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    expression: Any = None
    heads: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()
    cores: tuple[str, ...] = ()

    @classmethod
    def compile(cls, globs: Sequence[str], *, place: str = "globs") -> Globs:
        """Compile `globs`; `place` names their owner in the refusal.

        Raises:
            PatternRefused: not a list of strings, an empty string, one over 256 characters, over 200 globs, a control
                character or a lone surrogate.
        """
        _check(globs, place)
        patterns = [glob for glob in globs if not _WILDCARDS.isdisjoint(glob)]
        prefixes, suffixes, complex_globs = [], [], []
        for glob in patterns:
            if _WILDCARDS.isdisjoint(glob[:-1]) and glob[-1] == "*":
                prefixes.append(glob[:-1])
            elif _WILDCARDS.isdisjoint(glob[1:]) and glob[0] == "*":
                suffixes.append(glob[1:])
            else:
                complex_globs.append(glob)
        return cls(
            exact=frozenset(globs) - frozenset(patterns),
            any_name="" in prefixes,
            prefixes=tuple(prefixes),
            suffixes=tuple(suffixes),
            expression=_expression(complex_globs, place),
            # What stands before the first and after the last wildcard, and the longest piece without one: most names
            # fail here, without the expression.
            heads=tuple({_WILDCARD.split(glob)[0] for glob in complex_globs}),
            tails=tuple({_WILDCARD.split(glob)[-1] for glob in complex_globs}),
            cores=tuple({max(_WILDCARD.split(glob), key=len) for glob in complex_globs}),
        )

    @property
    def comparable(self) -> tuple[object, ...]:
        """What the list says, the same for every compilation in every process: no set, whose order differs there."""
        expression = None if self.expression is None else self.expression.pattern
        return sorted(self.exact), self.any_name, self.prefixes, self.suffixes, expression

    @property
    def beginnings(self) -> frozenset[str] | None:
        """With what the names begin that match and are not in `exact`; None when that can be anything."""
        heads = frozenset((*self.prefixes, *self.heads))
        return None if self.any_name or self.suffixes or "" in heads else heads

    def matches(self, name: str) -> bool:
        """Tell whether any glob of the list stands for the whole of `name`."""
        if self.any_name or name in self.exact:
            return True
        if self.prefixes and name.startswith(self.prefixes):
            return True
        if self.suffixes and name.endswith(self.suffixes):
            return True
        if not (name.startswith(self.heads) and name.endswith(self.tails)):
            return False
        if not any(core in name for core in self.cores):
            return False
        # A lone surrogate has no UTF-8 form; it becomes "?", which only a wildcard can stand for.
        return self.expression.fullmatch(name.encode("utf-8", "replace")) is not None


NO_NAME = Globs()


def _check(globs: Sequence[str], place: str) -> None:
    if isinstance(globs, (str, bytes)) or not all(isinstance(glob, str) for glob in globs):
        raise PatternRefused(place, "give a list of texts")
    if len(globs) > MAX_GLOBS:
        raise PatternRefused(place, f"more than {MAX_GLOBS} globs; use wildcards or a second row")
    for glob in globs:
        if not glob:
            raise PatternRefused(place, 'an empty glob matches nothing; write "*" for everything or remove it')
        if len(glob) > MAX_GLOB_CHARACTERS:
            raise PatternRefused(place, f"a glob has more than {MAX_GLOB_CHARACTERS} characters")
        if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in glob):
            raise PatternRefused(place, "a glob contains a control character")


def _expression(globs: Sequence[str], place: str) -> Any:
    """One anchored expression for all globs with wildcards in other places than one end, or None."""
    if not globs:
        return None
    source = "(?s)(?:" + "|".join(_translate(glob) for glob in globs) + ")"
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(source.encode(), options)
    except re2.error:
        raise PatternRefused(place, "these globs are too large together; use fewer wildcards") from None


def _translate(glob: str) -> str:
    return "".join(".*" if c == "*" else "." if c == "?" else re2.escape(c) for c in glob)
