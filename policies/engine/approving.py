"""Who may decide about a held call, and whether enough of them have. Pure.

A rule has stages that come one after the other. A stage names groups, users and perhaps the owners of the connection;
one that names nobody is for everybody who may decide at all. One person counts once for each stage, and the person
behind the request counts never: four eyes hold for administrators, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """A person who wants to decide: groups are those of the login, looked up now; `principal` is their own, if any."""

    user: int
    groups: frozenset[int] = frozenset()
    principal: str | None = None
    is_owner: bool = False


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
    """Tell whether the person is the requester, or the human who answers for it (principal ids)."""
    return approver.principal is not None and approver.principal in {requester, owner}


def next_stage(stages: Sequence[Stage], approvals: Iterable[tuple[int, int]]) -> int | None:
    """Return the number (from 0) of the stage whose approvals are awaited; None when every stage has enough.

    Args:
        stages: of the request.
        approvals: pairs of stage and user; whoever approved in one stage does not count in another.
    """
    counted: dict[int, int] = {}
    people: set[int] = set()
    for number, user in approvals:
        if user not in people:
            people.add(user)
            counted[number] = counted.get(number, 0) + 1
    for number, stage in enumerate(stages):
        if counted.get(number, 0) < stage.needed:
            return number
    return None
