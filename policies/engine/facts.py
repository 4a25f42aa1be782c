"""What a decision may look at besides who calls and what: plain values, filled by whoever asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .globs import Globs

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What the catalogue knows of a tool: its annotations as pinned, and the labels that an administrator gave it."""

    annotations: Mapping[str, Any] = field(default_factory=_nothing)
    labels: tuple[str, ...] = ()

    @property
    def is_read_only(self) -> bool:
        """Whether the tool says that it changes nothing; without a word of it, no."""
        return self.annotations.get("readOnlyHint") is True

    @property
    def is_destructive(self) -> bool:
        """Whether the tool may destroy; without a word of it, yes (MCP: the default of `destructiveHint` is true)."""
        return not self.is_read_only and self.annotations.get("destructiveHint") is not False


UNKNOWN_TOOL: Final = ToolFacts()


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """The connection as rules know it."""

    slug: str = ""
    name: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier call of the same caller: when (epoch seconds), where, what, and what it left behind.

    `values` maps the name of a scalar argument to a short digest of its value; the value itself is not kept.
    """

    at: float
    connection: str
    name: str
    bytes: int = 0
    labels: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class History:
    """What the same principal has done with the same client lately, over all connections, oldest first."""

    calls: Sequence[Past] = ()

    @property
    def labels(self) -> list[str]:
        """The labels that the calls left: what the session has touched."""
        return sorted({label for past in self.calls for label in past.labels})

    def count(self, glob: str) -> int:
        """Return how many calls had a name (`tool`, or `connection/tool`) that `glob` stands for."""
        return sum(1 for _ in self._matching(glob))

    def rate(self, glob: str, seconds: float, now: float) -> int:
        """Return how many of them were in the last `seconds`."""
        return sum(1 for past in self._matching(glob) if now - past.at < seconds)

    def distinct(self, argument: str) -> int:
        """Return how many different values the scalar argument had."""
        return len({past.values[argument] for past in self.calls if argument in past.values})

    def _matching(self, glob: str) -> list[Past]:
        globs = Globs.compile([glob])
        return [
            past for past in self.calls if globs.matches(past.name) or globs.matches(f"{past.connection}/{past.name}")
        ]


class Facts(NamedTuple):
    """The circumstances of one call. What is None is unknown: a rule that asks for it takes its strictest branch.

    `now` is in epoch seconds; `address` is where the client is, empty when that is unknown. `input` is what the client
    answers to questions of the upstream (`inputResponses`, MCP 2026-07-28): it reaches the tool beside the arguments.
    """

    now: float
    address: str = ""
    client_name: str = ""
    client_version: str = ""
    arguments: Mapping[str, Any] | None = None
    history: History | None = None
    input: Mapping[str, Any] = _NOTHING
