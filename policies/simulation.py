"""Policy asked about a call that nobody makes: what it would be, by policy in force or by a document that is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.in_force import directory_now
from accounts.models import Principal

from .explaining import Explanation, explain
from .models import PolicyState
from .reading import rehearsal_now
from .rehearsal import Case, Rehearsal, read_case
from .services import document_rehearsal

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a call would get. `policy_version` is the one that the data path would record, None for a document."""

    case: Case
    said: Explanation
    policy_version: int | None


def simulate(*, given: Mapping[str, Any], document: Mapping[str, Any] | None = None, now: datetime) -> Simulation:
    """Ask policy in force, or `document` as if it were, about the case that `given` describes.

    Raises:
        CaseRefused: the case cannot be asked.
        DocumentRefused: the document cannot be applied.
    """
    case = read_case(given, now=now.timestamp())
    if document is not None:
        return Simulation(case, explain(document_rehearsal(document=document, now=now), case), None)
    rehearsal, version = _in_force()
    return Simulation(case, explain(rehearsal, case), version)


def identity_of(principal: Principal, groups: Collection[str] | None) -> dict[str, Any]:
    """Return `principal` as a case names it; without `groups`, with those of the directory, if it was provisioned."""
    if groups is None:
        groups = directory_now().get((principal.issuer, principal.subject), frozenset())
    return {
        "issuer": principal.issuer,
        "subject": principal.subject,
        "kind": principal.kind,
        "groups": sorted(groups),
    }


def _in_force() -> tuple[Rehearsal, int]:
    """Return policy and its version, read again when it was changed between the two."""
    version = _version()
    for _ in range(_TRIES):
        rehearsal, before = rehearsal_now(), version
        version = _version()
        if version == before:
            break
    return rehearsal, version


def _version() -> int:
    return PolicyState.objects.values_list("version", flat=True).get(pk=1)
