"""A document of policy tried out: what publishing it would change, whether it could be, and how it would decide.

The document is applied for real and undone, so what is said here is what publishing would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from policies import documents
from policies.documents import Change, DocumentRefused
from policies.reading import Outcome, document_now, outcomes_of_tests, rehearsal_now
from policies.rehearsal import Rehearsal

from .publishing import Publisher, gathering
from .versions import document_apply


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document cannot be published: where, and what to write instead."""

    place: str
    hint: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What publishing a document would do: its changes to policy in force, and what its policy tests get."""

    changes: list[Change]
    problem: Problem | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failing(self) -> list[Outcome]:
        """The policy tests that fail."""
        return [outcome for outcome in self.outcomes if not outcome.is_met]

    @property
    def is_publishable(self) -> bool:
        """Whether it could be published as it is."""
        return self.problem is None and not self.failing


def document_check(*, document: Mapping[str, Any], now: datetime) -> Checked:
    """Try `document` out; nothing stays of it.

    A document that cannot be applied is told with its place; its changes are then the difference as written.
    """
    try:
        with _as_if(document, now=now) as changes:
            return Checked(changes, None, outcomes_of_tests(now=now))
    except DocumentRefused as error:
        return Checked(_written_changes(document), Problem(error.place, error.hint))
    except ValidationError as error:
        return Checked(_written_changes(document), Problem("document", " ".join(error.messages)))


def document_rehearsal(*, document: Mapping[str, Any], now: datetime) -> Rehearsal:
    """Return policy as `document` would have it, ready to be asked without a call.

    Raises:
        DocumentRefused: with the entry and the member that cannot be applied.
    """
    with _as_if(document, now=now):
        return rehearsal_now()


@contextmanager
def _as_if(document: Mapping[str, Any], *, now: datetime) -> Iterator[list[Change]]:
    """Inside, the database says what `document` says; afterwards that is undone."""
    with transaction.atomic():
        with gathering():
            yield document_apply(document=document, by=Publisher(), now=now)
        transaction.set_rollback(True)


def _written_changes(document: Mapping[str, Any]) -> list[Change]:
    try:
        return documents.diff(document_now(), documents.canonical(document))
    except DocumentRefused:
        return []
