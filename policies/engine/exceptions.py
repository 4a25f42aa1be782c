"""The refusals of the engine: a row that cannot be compiled, and a text in a call that cannot be read."""

from __future__ import annotations


class PatternRefused(ValueError):
    """A glob or a masking pattern that cannot be compiled; whoever meets it denies everything on the connection.

    Args:
        place: which row or field is refused, by name; shown to administrators.
        hint: what to change, in a sentence; never contains the pattern, which may itself be a secret.
        code: stable, for interfaces that translate it.
    """

    def __init__(self, place: str, hint: str, *, code: str = "pattern_refused") -> None:
        super().__init__(f"{place}: {hint}")
        self.place = place
        self.hint = hint
        self.code = code


class Unparsable(ValueError):
    """The text cannot be read for certain. The message repeats nothing of it."""
