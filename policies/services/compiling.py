"""What the writes of grants and guardrails share: the engine judges a row before it is saved."""

from __future__ import annotations

from collections.abc import Iterable

from accounts.saving import Refusals
from policies.engine.exceptions import PatternRefused
from policies.engine.globs import Globs


def globs_of(field: str, entries: Iterable[str], refusals: Refusals) -> list[str]:
    """Return `entries` as a list of globs; refuse them at `field` when they do not compile."""
    globs = refusals.texts(field, entries)
    try:
        Globs.compile(globs, place=field)
    except PatternRefused as error:
        refuse(field, error, refusals)
    return globs


def refuse(field: str, error: PatternRefused, refusals: Refusals) -> None:
    """Refuse `field` with the engine's own hint, and the place within the field if it has one, such as window 2."""
    within = error.place.rpartition(f"{field}, ")[2] if f"{field}, " in error.place else ""
    said = f"{within}: {error.hint}" if within else error.hint
    refusals.add(field, error.code, f"{said[:1].upper()}{said[1:]}.")


def field_of(error: PatternRefused, fields: Iterable[str], otherwise: str) -> str:
    """Return the field that the place of `error` speaks of."""
    return next((field for field in fields if f", {field}" in error.place), otherwise)
