"""How every service writes a row: all refusals at once, each at its field, and only then the save."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import models

LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MAX_LABELS = 50


class Refusals:
    """Collects why the values of one row cannot be saved, so that a form shows everything in one go."""

    def __init__(self) -> None:
        self._fields: dict[str, list[ValidationError]] = {}

    def add(self, field: str, code: str, message: str) -> None:
        """Refuse `field`: `code` is stable and for programs, `message` says what to write instead."""
        self._fields.setdefault(field, []).append(ValidationError(message, code=code))

    def texts(self, field: str, entries: Iterable[object]) -> list[str]:
        """Return `entries` as distinct strings without blanks around them, in their order; refuse anything else."""
        given = [entries] if isinstance(entries, str) else list(entries)
        if isinstance(entries, str) or not all(isinstance(entry, str) for entry in given):
            self.add(field, "not_a_list_of_texts", "Give a list of texts.")
            return []
        return list(dict.fromkeys(text for entry in given if (text := str(entry).strip())))

    def labels(self, field: str, entries: Iterable[object]) -> list[str]:
        """Return `entries` as labels in their canonical order; refuse what is none."""
        labels = sorted(self.texts(field, entries))
        if len(labels) > MAX_LABELS:
            self.add(field, "too_many_labels", f"Give at most {MAX_LABELS} labels.")
        for label in labels:
            if LABEL.fullmatch(label) is None:
                self.add(field, "bad_label", f"{label!r} is no label: use a-z, 0-9, dots, hyphens and underscores.")
        return labels

    def save(self, row: models.Model) -> None:
        """Clean `row` in full and save it.

        Raises:
            ValidationError: by field, the model's own refusals and those added here; nothing is written.
        """
        self.check(row)
        row.save()

    def check(self, row: models.Model, *, is_unique_elsewhere: bool = False) -> None:
        """Clean `row` in full without saving it; `is_unique_elsewhere` leaves uniqueness to whoever writes it.

        Raises:
            ValidationError: by field, the model's own refusals and those added here.
        """
        try:
            row.full_clean(validate_unique=not is_unique_elsewhere, validate_constraints=not is_unique_elsewhere)
        except ValidationError as error:
            for field, errors in error.error_dict.items():
                self._fields.setdefault(field, []).extend(errors)
        self.raise_any()

    def raise_any(self) -> None:
        """Raise what was added so far.

        Raises:
            ValidationError: by field, if anything was.
        """
        if self._fields:
            raise ValidationError(self._fields)
