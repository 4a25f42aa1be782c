"""What the writes of grants and guardrails share: the engine judges a row before it is saved."""

from __future__ import annotations

import re
from collections.abc import Iterable

from accounts.saving import Refusals
from policies.engine.exceptions import PatternRefused
from policies.engine.globs import Globs

LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MAX_LABELS = 50


def globs_of(field: str, entries: Iterable[str], refusals: Refusals) -> list[str]:
    """Return `entries` as a list of globs; refuse them at `field` when they do not compile."""
    globs = refusals.texts(field, entries)
    try:
        Globs.compile(globs, place=field)
    except PatternRefused as error:
        refuse(field, error, refusals)
    return globs


def labels_of(field: str, entries: Iterable[str], refusals: Refusals) -> list[str]:
    """Return `entries` as labels in their canonical order; refuse what is none."""
    labels = sorted(refusals.texts(field, entries))
    if len(labels) > MAX_LABELS:
        refusals.add(field, "too_many_labels", f"Give at most {MAX_LABELS} labels.")
    for label in labels:
        if LABEL.fullmatch(label) is None:
            refusals.add(field, "bad_label", f"{label!r} is no label: use a-z, 0-9, dots, hyphens and underscores.")
    return labels


def refuse(field: str, error: PatternRefused, refusals: Refusals) -> None:
    """Refuse `field` with the engine's own hint."""
    refusals.add(field, error.code, f"{error.hint[:1].upper()}{error.hint[1:]}.")


def field_of(error: PatternRefused, fields: Iterable[str], otherwise: str) -> str:
    """Return the field that the place of `error` speaks of."""
    return next((field for field in fields if f", {field}" in error.place), otherwise)
