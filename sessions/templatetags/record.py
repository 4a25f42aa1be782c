"""Template filters that show recorded values as they are: marked, laid out, and in readable units."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template

from sessions import markup

register = template.Library()

STATES = {
    "completed": ("Completed", "good", "The upstream answered, and the answer was recorded before the client got it."),
    "denied": ("Denied", "bad", "Refused before anything was sent: the upstream saw nothing of this call."),
    "upstream_error": (
        "Upstream error",
        "warn",
        "The upstream answered with an error. It may have acted all the same.",
    ),
    "not_sent": ("Not sent", "warn", "The upstream was not reached: it saw nothing of this call."),
    "aborted_by_client": (
        "Aborted by client",
        "warn",
        "The client left before the answer. The upstream may have acted.",
    ),
    "outcome_unknown": (
        "Outcome unknown",
        "bad",
        "It was sent, or may have been, and no answer is on record. Ask the upstream before you repeat it.",
    ),
    "open": ("Under way", "plain", "It was sent, or is about to be, and its outcome is not on record yet."),
    "relayed": ("Passed on", "good", "A message of the client that has no answer."),
}
VERDICTS = {"allow": ("Allowed", "good"), "deny": ("Denied", "bad"), "hold": ("Held", "warn")}

LANES_Y, LANES_HEIGHT = 32.0, 18.0
"""Where the lanes of a timeline are, in a drawing that is 50 high."""

register.filter("visible", markup.visible)
register.filter("json_markup", markup.json_markup)
register.filter("masked_markup", markup.masked_markup)


@register.filter
def state_label(state: str) -> str:
    """Return the name of a state as people read it."""
    return STATES[state][0] if state in STATES else state


@register.filter
def state_tone(state: str) -> str:
    """Return how a state is coloured; the colour only repeats what the words say."""
    return STATES[state][1] if state in STATES else "plain"


@register.filter
def state_meaning(state: str) -> str:
    """Return what a state says about the upstream, in a sentence."""
    return STATES[state][2] if state in STATES else ""


@register.filter
def verdict_label(verdict: str) -> str:
    """Return the name of a verdict as people read it."""
    return VERDICTS[verdict][0] if verdict in VERDICTS else verdict or "No verdict"


@register.filter
def verdict_tone(verdict: str) -> str:
    """Return how a verdict is coloured."""
    return VERDICTS[verdict][1] if verdict in VERDICTS else "plain"


@register.filter
def duration(microseconds: int | None) -> str:
    """Return a span in the unit in which it is a small number."""
    if microseconds is None:
        return "not recorded"
    if microseconds < 1_000:
        return f"{microseconds} µs"
    if microseconds < 999_500:
        return f"{_short(microseconds / 1_000)} ms"
    if microseconds < 60_000_000:
        return f"{_short(microseconds / 1_000_000)} s"
    minutes, seconds = divmod(microseconds // 1_000_000, 60)
    return f"{minutes} min {seconds} s"


@register.filter
def since(moment: datetime, start: datetime) -> str:
    """Return how long after `start` something was."""
    microseconds = max(0, round((moment - start).total_seconds() * 1_000_000))
    return f"+{duration(microseconds)}"


@register.filter
def permille(part: int | None, whole: int | None) -> int:
    """Return `part` of `whole` in thousandths, for the width of a bar; what is there at all is seen."""
    if not part or not whole:
        return 0
    return min(1000, max(4, round(1000 * part / whole)))


@register.filter
def fixed(value: float) -> str:
    """Return a place in a drawing, in whatever locale."""
    return f"{value:.2f}"


@register.filter
def lane_y(lane: int, lanes: int) -> str:
    """Return where a lane of bars begins, below the rows of markers."""
    return f"{LANES_Y + lane * LANES_HEIGHT / lanes:.2f}"


@register.filter
def lane_height(lanes: int) -> str:
    """Return how high a bar is when there are so many lanes."""
    return f"{LANES_HEIGHT / lanes * 0.8:.2f}"


@register.filter
def row_y(row: int) -> str:
    """Return where a row of markers begins."""
    return f"{row * 5.4:.2f}"


@register.filter
def into(moment: datetime, start: datetime) -> int:
    """Return how many microseconds after `start` something was."""
    return max(0, (moment - start) // timedelta(microseconds=1))


@register.filter
def first_ones(entries: list[Any]) -> list[Any]:
    """Return as many entries as a page takes."""
    return entries[:500]


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
