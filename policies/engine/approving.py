"""Who may decide about a held call, and whether enough of them have. Pure.

A rule has stages that come one after the other. A stage names groups, users and perhaps the owners of the connection;
one that names nobody is for everybody who may decide at all. One person counts once in a request, and the person
behind the request counts never: four eyes hold for administrators, too.

`seat` is the one answer to "may this person decide it now": the service asks it for a decision, the inbox for each
line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

MAX_STAGES: Final = 5
MAX_NEEDED: Final = 10
MAX_NAMED: Final = 100
_MEMBERS: Final = frozenset({"name", "needed", "groups", "users", "owners"})


class StagesRefused(ValueError):
    """The stages cannot be read; the message says where and what to write."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: `needed` people of those named. Ids are those of console users and of provider groups."""

    name: str
    needed: int
    groups: frozenset[int] = frozenset()
    users: frozenset[int] = frozenset()
    owners: bool = False

    @property
    def is_open(self) -> bool:
        """Whether everybody who may decide at all may decide here."""
        return not (self.groups or self.users or self.owners)


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who wants to decide: groups are those of the login, looked up now; `principal` is their own, if any.

    `owner` is the human who answers for that principal. `stands_for` are the people who have named this one as their
    delegate and could decide at this moment; whom those stand for themselves counts nothing, so there are no chains.
    """

    user: int
    groups: frozenset[int] = frozenset()
    principal: str | None = None
    is_owner: bool = False
    owner: str | None = None
    stands_for: tuple[Approver, ...] = ()


@dataclass(frozen=True, slots=True)
class Awaited:
    """What of a request says who may decide it now.

    `escalation` is None until it has begun. `handed_to` are the users to whom it was handed over in this stage, and
    `approved_by` those who have approved it in any stage, or for whom a delegate has.
    """

    stage: Stage
    requester: str
    owner: str | None = None
    escalation: Stage | None = None
    handed_to: frozenset[int] = frozenset()
    approved_by: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Seat:
    """The person may decide: for themselves, or `behalf` (a user) whose delegate they are."""

    behalf: int | None = None


class Barred(StrEnum):
    """Why a person may not decide a request."""

    OWN = "own"
    DECIDED = "decided"
    NOT_NAMED = "not_named"


def read_stages(value: object) -> tuple[Stage, ...]:
    """Return the stages written in `value`.

    Raises:
        StagesRefused: they cannot be read.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= MAX_STAGES:
        raise StagesRefused(f"Write a list of one to {MAX_STAGES} stages.")
    return tuple(_stage(entry, number) for number, entry in enumerate(value, 1))


def _stage(entry: object, number: int) -> Stage:
    place = f"Stage {number}"
    if not isinstance(entry, Mapping) or not entry.keys() <= _MEMBERS:
        raise StagesRefused(f"{place}: write an object with the members {', '.join(sorted(_MEMBERS))}.")
    name, needed, owners = entry.get("name", ""), entry.get("needed", 1), entry.get("owners", False)
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise StagesRefused(f"{place}: give it a name of at most 100 characters.")
    if type(needed) is not int or not 1 <= needed <= MAX_NEEDED:
        raise StagesRefused(f"{place}: needed is a number from 1 to {MAX_NEEDED}.")
    if not isinstance(owners, bool):
        raise StagesRefused(f"{place}: owners is true or false.")
    groups, users = _ids(entry.get("groups", []), place, "groups"), _ids(entry.get("users", []), place, "users")
    if users and not groups and not owners and needed > len(users):
        raise StagesRefused(f"{place}: {needed} people are needed, and only {len(users)} are named.")
    return Stage(name, needed, groups, users, owners)


def _ids(value: object, place: str, member: str) -> frozenset[int]:
    given = list(value) if isinstance(value, list | tuple) else [None]
    if len(given) > MAX_NAMED or not all(type(entry) is int for entry in given):
        raise StagesRefused(f"{place}: {member} is a list of at most {MAX_NAMED} ids.")
    return frozenset(entry for entry in given if entry is not None)


def written(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """Return the canonical form of stages; `read_stages` reads it back."""
    return [
        {
            "name": stage.name,
            "needed": stage.needed,
            "groups": sorted(stage.groups),
            "users": sorted(stage.users),
            "owners": stage.owners,
        }
        for stage in stages
    ]


def may_decide(stage: Stage, approver: Approver) -> bool:
    """Tell whether the stage names this person."""
    return (
        stage.is_open
        or approver.user in stage.users
        or not stage.groups.isdisjoint(approver.groups)
        or (stage.owners and approver.is_owner)
    )


def is_own(approver: Approver, requester: str, owner: str | None) -> bool:
    """Tell whether one human is behind both the person and the request (principal ids, and those of their owners)."""
    return not {approver.principal, approver.owner}.isdisjoint({requester, owner} - {None})


def escalation_of(value: object) -> Stage | None:
    """Return whom a request escalates to; None when it names nobody, or cannot be read: then it escalates to nobody."""
    if not isinstance(value, Mapping) or not value:
        return None
    try:
        [stage] = read_stages([{"name": "Escalation", **value}])
    except StagesRefused:
        return None
    return None if stage.is_open else stage


def seat(awaited: Awaited, approver: Approver) -> Seat | Barred:
    """Return as whom the person may decide, or why they may not.

    That they are active and have the permission to decide is the caller's to know. Whoever may decide for themselves
    does; else the first of those for whom they stand. Nobody stands for somebody whose own request it is, who has
    approved it already, or who could not decide it now.
    """
    if is_own(approver, awaited.requester, awaited.owner):
        return Barred.OWN
    if approver.user in awaited.approved_by:
        return Barred.DECIDED
    if _is_named(awaited, approver):
        return Seat()
    for person in approver.stands_for:
        is_free = person.user not in awaited.approved_by and not is_own(person, awaited.requester, awaited.owner)
        if is_free and _is_named(awaited, person):
            return Seat(person.user)
    return Barred.NOT_NAMED


def _is_named(awaited: Awaited, approver: Approver) -> bool:
    return (
        may_decide(awaited.stage, approver)
        or approver.user in awaited.handed_to
        or (awaited.escalation is not None and may_decide(awaited.escalation, approver))
    )


def next_stage(stages: Sequence[Stage], approvals: Iterable[tuple[int, ...]]) -> int | None:
    """Return the number (from 0) of the stage whose approvals are awaited; None when every stage has enough.

    Args:
        stages: of the request.
        approvals: stage and user, and perhaps the user for whom that one stood. Neither of them counts again, in this
            stage or another.
    """
    counted: dict[int, int] = {}
    people: set[int] = set()
    for number, *persons in approvals:
        if people.isdisjoint(persons):
            people.update(persons)
            counted[number] = counted.get(number, 0) + 1
    for number, stage in enumerate(stages):
        if counted.get(number, 0) < stage.needed:
            return number
    return None
