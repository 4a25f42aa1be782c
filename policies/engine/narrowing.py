"""What a token leaves of its principal's access: one connection, and tools by glob. It only takes away.

A narrowed token is one that was asked for to do one thing, so what it does not name is denied: other tools, and every
prompt and resource. The methods that keep a session going stay allowed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from .exceptions import PatternRefused
from .globs import NO_NAME, Globs
from .verdicts import Deny

if TYPE_CHECKING:
    from .rules import Call

OUTSIDE = Deny("narrowed-token", "the access token was made for other tools")


class Narrowing(Protocol):
    """The narrowing of a verified token."""

    @property
    def connection(self) -> str:
        """The slug of the only connection."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Globs of the tools that are left."""


def reaches(narrowing: Narrowing | None, slug: str) -> bool:
    """Tell whether a token is good for the connection `slug` at all."""
    return narrowing is None or narrowing.connection == slug


def permits(narrowing: Narrowing, call: Call) -> bool:
    """Tell whether the token leaves `call`, whatever grants and guardrails say."""
    if call.kind is None:
        return True
    return call.kind == "tool" and call.name is not None and _globs(narrowing.tools).matches(call.name)


@lru_cache(maxsize=1024)
def _globs(tools: tuple[str, ...]) -> Globs:
    """Return the compiled globs; a list that cannot be compiled leaves no tool."""
    try:
        return Globs.compile(tools, place="the token's tools")
    except PatternRefused:
        return NO_NAME
