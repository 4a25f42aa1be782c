"""PURE: the calls of a page on one axis of time, on which long silences are short.

Positions are thousandths of the width. Between two calls a silence of more than `IDLE_US` is drawn as if it had lasted
that long, so that a session of a day with three bursts shows the bursts. `knots` are the moments at which the scale
changes; between two of them position and moment grow evenly, so that a player can go both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from .calls import MARKERS, CallView

IDLE_US = 3_000_000
WIDTH = 1000.0
NARROWEST = 3.0
LANES = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """A call on the axis: until it left, at the upstream, and the rest; `marks` are its markers."""

    call: CallView
    from_us: int
    until_us: int
    x: float
    width: float
    waiting: float
    upstream: float
    lane: int
    marks: tuple[str, ...]

    @property
    def sent_x(self) -> float:
        """Where its time at the upstream begins."""
        return self.x + self.waiting


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker on the axis; markers of a kind share a row."""

    kind: str
    x: float
    row: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A silence that is drawn shorter than it was."""

    x: float
    width: float
    us: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """A page of calls; moments are microseconds since the session began."""

    from_us: int
    until_us: int
    bars: list[Bar]
    marks: list[Mark]
    gaps: list[Gap]
    knots: list[tuple[int, float]]
    counts: dict[str, int]
    lanes: int = 1

    @property
    def knots_text(self) -> str:
        """The knots as the player reads them."""
        return " ".join(f"{moment},{x:.3f}" for moment, x in self.knots)


def drawn(calls: Sequence[CallView], start: datetime) -> Timeline:
    """Return the timeline of `calls` in a session that began at `start`."""
    spans = [_span(call, start) for call in calls]
    knots, gaps = _scale(spans)
    free = [-1] * LANES
    bars: list[Bar] = []
    for call, (begin, end) in zip(calls, spans, strict=True):
        lane = next((place for place, busy in enumerate(free) if busy <= begin), LANES - 1)
        free[lane] = max(free[lane], end)
        bars.append(_bar(call, begin, end, lane, knots))
    counts = {kind: sum(kind in bar.marks for bar in bars) for kind in MARKERS}
    rows = [kind for kind in MARKERS if counts[kind]]
    marks = [Mark(kind, bar.x, rows.index(kind), bar.from_us) for bar in bars for kind in bar.marks]
    first, last = (knots[0][0], knots[-1][0]) if knots else (0, 0)
    lanes = 1 + max((bar.lane for bar in bars), default=0)
    return Timeline(first, last, bars, marks, gaps, knots, counts, lanes)


def position(knots: Sequence[tuple[int, float]], moment: int) -> float:
    """Return where a moment is on the axis."""
    for (begin, left), (end, right) in pairwise(knots):
        if moment <= end:
            return left + (right - left) * (max(moment, begin) - begin) / max(1, end - begin)
    return knots[-1][1] if knots else 0.0


def _span(call: CallView, start: datetime) -> tuple[int, int]:
    begin = max(0, _us(call.begins_at - start))
    return begin, max(begin, _us(call.ends_at - start))


def _scale(spans: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, float]], list[Gap]]:
    """Return the knots of the scale, and the silences that it shortens."""
    if not spans:
        return [], []
    ordered = sorted(spans)
    length, busy_until = 0.0, ordered[0][0]
    knots: list[tuple[int, float]] = [(busy_until, 0.0)]
    silences: list[tuple[float, float, int]] = []
    for begin, end in ordered:
        if begin - busy_until > IDLE_US:
            length += busy_until - knots[-1][0]
            knots.append((busy_until, length))
            silences.append((length, float(IDLE_US), begin - busy_until))
            length += IDLE_US
            knots.append((begin, length))
        busy_until = max(busy_until, end)
    length += busy_until - knots[-1][0]
    knots.append((busy_until, length))
    unit = WIDTH / max(length, 1.0)
    return [(moment, x * unit) for moment, x in knots], [Gap(x * unit, width * unit, us) for x, width, us in silences]


def _bar(call: CallView, begin: int, end: int, lane: int, knots: Sequence[tuple[int, float]]) -> Bar:
    x, right = position(knots, begin), position(knots, end)
    width = max(NARROWEST, right - x)
    x = max(0.0, min(x, WIDTH - width))
    whole = max(1, end - begin)
    waiting = width * min(1.0, (call.waiting_us or 0) / whole)
    upstream = min(width - waiting, width * (call.upstream_us or 0) / whole)
    return Bar(call, begin, end, x, width, waiting, upstream, lane, tuple(call.markers))


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
