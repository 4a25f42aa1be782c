"""What the catalogue says against a call of a tool, whatever policy says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from .rules import Call
from .verdicts import Deny

UNKNOWN_TOOL: Final = Deny("unknown-tool", "the catalogue has no such tool")
NOT_REVIEWED: Final = Deny("tool-review", "its definition is new or has changed, and nobody has reviewed it yet")


class Reviewed(Protocol):
    """A tool of the catalogue."""

    @property
    def is_accepted(self) -> bool:
        """Whether its upstream says what was accepted."""


def refusal(call: Call, catalogue: Mapping[str, Reviewed]) -> Deny | None:
    """Return why a tool may not be called although policy might allow it; None when nothing is against it.

    A connection whose tools have never been listed has no catalogue to compare with: there, policy alone decides.
    """
    if call.kind != "tool" or not catalogue:
        return None
    tool = catalogue.get(call.name or "")
    if tool is None:
        return UNKNOWN_TOOL
    return None if tool.is_accepted else NOT_REVIEWED
