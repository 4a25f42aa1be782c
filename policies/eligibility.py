"""Which of very many requests a person may decide, asked of the database at once.

The rule itself is `approving.seat`, and the services ask it of every decision. Here it is said a second time, in SQL,
to find and count among ten thousand rows; a test compares the two on requests made by chance. What SQL finds is looked
at with the rule again before it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from .engine.approving import Approver
from .models import ApprovalDecision, ApprovalRequest
from .services import Desk

_TABLE = "policies_approvalrequest"
_STAGE = f"({_TABLE}.stages -> LEAST({_TABLE}.stage, jsonb_array_length({_TABLE}.stages) - 1))"
_ESCALATION = f"({_TABLE}.terms -> 'escalate_to')"
_IS_OPEN = (
    "(jsonb_typeof({0}) = 'object' AND coalesce({0} -> 'groups', '[]') = '[]' "
    "AND coalesce({0} -> 'users', '[]') = '[]' AND coalesce({0} ->> 'owners', 'false') = 'false')"
)
_NAMES = (
    "(jsonb_path_exists({0}, '$.users[*] ? (@ == $user)', %s::jsonb) "
    "OR jsonb_path_exists({0}, '$.groups[*] ? (@ == $groups[*])', %s::jsonb) "
    "OR ({0} ->> 'owners' = 'true' AND " + _TABLE + ".connection_id = ANY(%s::uuid[])))"
)
_READABLE = f"(jsonb_typeof({_TABLE}.stages) = 'array' AND {_TABLE}.stages <> '[]')"


def decidable(rows: QuerySet[ApprovalRequest], desk: Desk) -> QuerySet[ApprovalRequest]:
    """Return those of `rows` that the person may decide, for themselves or for somebody who is away.

    That they have the permission, and that the requests wait, is the caller's to know.
    """
    person = desk.person
    found = _has_seat(person, desk)
    for other in person.stands_for:
        found |= _has_seat(other, desk) & ~_own(other) & ~_approved_by(other.user)
    return rows.filter(~_own(person) & ~_approved_by(person.user) & found)


def named(rows: QuerySet[ApprovalRequest], desk: Desk) -> QuerySet[ApprovalRequest]:
    """Return those of `rows` whose stage names the person, a group of theirs, or the owners of a connection of theirs.

    Also those that they may not decide: their own, and what they have approved already. A stage for everybody names
    nobody.
    """
    return rows.filter(_stage_names(_STAGE, desk.person, desk))


def _has_seat(person: Approver, desk: Desk) -> Q:
    is_open = _flag(f"CASE WHEN {_READABLE} THEN {_IS_OPEN.format(_STAGE)} ELSE false END")
    escalated = Q(escalated_at__isnull=False) & _stage_names(_ESCALATION, person, desk)
    handed = Exists(
        ApprovalDecision.objects.filter(
            request=OuterRef("pk"),
            verdict=ApprovalDecision.Verdict.HAND_OVER,
            to_user_id=person.user,
            stage=OuterRef("stage"),
        )
    )
    return Q(is_open) | Q(_stage_names(_STAGE, person, desk)) | escalated | Q(handed)


def _stage_names(place: str, person: Approver, desk: Desk) -> Q:
    given = (
        json.dumps({"user": person.user}),
        json.dumps({"groups": sorted(person.groups)}),
        _uuids(desk.owned.get(person.user, ())),
    )
    names = f"coalesce({_NAMES.format(place)}, false)"
    return Q(_flag(f"CASE WHEN {_READABLE} THEN {names} ELSE false END" if place == _STAGE else names, *given))


def _own(person: Approver) -> Q:
    """Say that one human is behind the person and the request."""
    theirs = [principal for principal in (person.principal, person.owner) if principal is not None]
    return Q(principal_id__in=theirs) | (Q(principal__owner_id__isnull=False) & Q(principal__owner_id__in=theirs))


def _approved_by(user_id: int) -> Q:
    approvals = ApprovalDecision.objects.filter(request=OuterRef("pk"), verdict=ApprovalDecision.Verdict.APPROVE)
    return Q(Exists(approvals.filter(Q(user_id=user_id) | Q(behalf_of_id=user_id))))


def _flag(sql: str, *given: Any) -> RawSQL:
    # Nothing of a request or a person is in the text: values are parameters, and the text is all from this module.
    return RawSQL(sql, given, output_field=BooleanField())  # noqa: S611


def _uuids(ids: Iterable[UUID]) -> list[str]:
    return sorted(str(one) for one in ids)
