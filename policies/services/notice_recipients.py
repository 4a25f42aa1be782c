"""Who is told: those who may decide now, whoever asked, and those who look at an emergency afterwards.

That somebody may decide is what `why_not` says of them, with the groups in which they are known to be: those of their
last login, and those of the directory. A group whose members never were here is not told person by person; a channel is
for them.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from accounts.models import Principal, ScimMember, User
from policies.models import ApprovalRequest, NoticeOutbox
from policies.notices.message import ASKING, Event

from .deciders import Deciding, deciders
from .reviews import why_not_review
from .seats import why_not


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person who is told: one of the console, or, as the one who asked, a principal with nothing but an address."""

    user: User | None = None
    principal: Principal | None = None
    is_requester: bool = False


def recipients_of(entry: NoticeOutbox, *, now: datetime) -> list[Recipient]:
    """Return the people who are told what `entry` notes; whoever did it is not among them."""
    request = entry.request
    match entry.event:
        case Event.HANDED_OVER:
            people = [] if entry.to is None else [Recipient(entry.to)]
        case Event.QUESTION:
            requester = _requester(request)
            is_to_requester = entry.to is None or (requester is not None and requester.user == entry.to)
            people = [requester] if is_to_requester and requester is not None else _one(entry.to)
        case Event.BREAK_GLASS | Event.REVIEW_DUE:
            people = [Recipient(user) for user in deciders() if _may_review(request, user, now)]
        case event if event in ASKING:
            people = [Recipient(user) for user in _asked(request, event, now)]
        case _:
            requester = _requester(request)
            people = [] if requester is None else [requester]
    return [person for person in people if entry.by_id is None or person.user is None or person.user.pk != entry.by_id]


def may_decide_now(request: ApprovalRequest, user: User, *, now: datetime) -> bool:
    """Tell whether the person may decide the request, as far as their groups are known."""
    groups = known_groups([user]).get(user.pk, frozenset())
    return why_not(request, Deciding(user, groups), now=now) is None


def known_groups(users: Iterable[User]) -> dict[int, frozenset[int]]:
    """Return, by person, the provider groups in which they are known to be."""
    found: dict[int, set[int]] = {user.pk: set(user.group_ids) for user in users}
    members = ScimMember.objects.filter(user__principal__user__in=list(found), user__is_active=True)
    for user_id, group_id in members.values_list("user__principal__user", "group_id"):
        found[user_id].add(group_id)
    return {user_id: frozenset(groups) for user_id, groups in found.items()}


def _asked(request: ApprovalRequest, event: str, now: datetime) -> Collection[User]:
    users = deciders()
    groups = known_groups(users)
    asked = [user for user in users if why_not(request, Deciding(user, groups[user.pk]), now=now) is None]
    if event != Event.ESCALATED:
        return asked
    # Those of the stage have been told already: new are those who could not decide without the escalation.
    before = copy.copy(request)
    before.escalated_at = None
    return [user for user in asked if why_not(before, Deciding(user, groups[user.pk]), now=now) is not None]


def _may_review(request: ApprovalRequest, user: User, now: datetime) -> bool:
    groups = known_groups([user])[user.pk]
    return why_not_review(request, Deciding(user, groups), now=now) is None


def _requester(request: ApprovalRequest) -> Recipient | None:
    """Return the human who asked, or who answers for the machine that did."""
    principal = request.principal.owner or request.principal
    user = User.objects.filter(principal=principal, is_active=True).first()
    if user is not None:
        return Recipient(user, is_requester=True)
    return Recipient(principal=principal, is_requester=True) if principal.email else None


def _one(user: User | None) -> list[Recipient]:
    return [] if user is None else [Recipient(user)]
