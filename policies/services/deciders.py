"""Who a decider is at this moment: their groups and connections, whether they are locked, and for whom they stand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from accounts.models import User
from accounts.roles import PERMISSIONS
from accounts.services import groups_of, provider_of
from accounts.services.people import is_locked
from policies.engine.approving import Approver
from policies.models import ApprovalDelegation

DECIDE: Final = "policies.decide_approvalrequest"
"""The permission to decide requests for approval."""
MOST_DECIDERS: Final = 500
"""Most people who are looked at for one request."""
MOST_NAMED: Final = 200
"""Most people who are offered to choose from."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """Who decides, from where, how they proved who they are, and what they saw (JSON text)."""

    user: User
    groups: frozenset[int] = frozenset()
    channel: str = "console"
    address: str = ""
    authentication: str = ""
    view: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """A person before many requests: what is asked of the database once for all of them."""

    person: Approver
    owned: dict[int, frozenset[UUID]] = field(repr=False)
    names: dict[int, str] = field(repr=False)

    def before(self, connection_id: UUID) -> Approver:
        """Return the person as stages see them for a request of this connection."""
        others = tuple(self._owning(other, connection_id) for other in self.person.stands_for)
        return replace(self._owning(self.person, connection_id), stands_for=others)

    def _owning(self, person: Approver, connection_id: UUID) -> Approver:
        return replace(person, is_owner=connection_id in self.owned.get(person.user, frozenset()))


def desk_of(deciding: Deciding, *, now: datetime) -> Desk:
    """Return the decider by what is true at `now`, with those who have named them as their delegate and may decide.

    The groups of somebody who is away are those of their provider's directory: what a login of theirs once said may be
    over. Without a directory they have none, and only stages that name them, or owners, or nobody, are open to the
    delegate.
    """
    user = deciding.user
    delegators = [other for other in delegators_of(user=user, now=now) if may_decide_at_all(other, now=now)]
    stands_for = tuple(approver_of(other, directory_groups_of(other)) for other in delegators)
    people = [user, *delegators]
    return Desk(
        person=replace(approver_of(user, deciding.groups), stands_for=stands_for),
        owned={one.pk: frozenset(one.owned_connections.values_list("pk", flat=True)) for one in people},
        names={one.pk: str(one) for one in people},
    )


def delegators_of(*, user: User, now: datetime) -> list[User]:
    """Return who has named this person as their delegate for a time that `now` is in, in a fixed order."""
    held = ApprovalDelegation.objects.filter(delegate=user, starts_at__lte=now, ends_at__gt=now, ended_at=None).values(
        "delegator"
    )
    return list(User.objects.filter(pk__in=held).select_related("principal").order_by("pk"))


def perhaps_deciders() -> QuerySet[User]:
    """Return everybody who could have the permission to decide; whether they have it is asked of each.

    Asking thousands of people one by one would take longer than a page may.
    """
    deciding = [role for role, given in PERMISSIONS.items() if DECIDE in given]
    by_role = Q(roles__role__in=deciding)
    for role in deciding:
        by_role |= Q(role_names__contains=[str(role)])
    codename = DECIDE.partition(".")[2]
    by_hand = Q(user_permissions__codename=codename) | Q(groups__permissions__codename=codename)
    # Ids first: one person can be found in several ways.
    found = User.objects.filter(by_role | by_hand | Q(is_superuser=True))
    return User.objects.filter(pk__in=found.values("pk"))


def deciders() -> list[User]:
    """Return the people who may decide requests at all, at most `MOST_DECIDERS`."""
    found = perhaps_deciders().filter(is_active=True).select_related("principal").order_by("pk")
    return [user for user in found[:MOST_DECIDERS] if may_decide(user)]


def deciders_besides(*, user: User) -> list[User]:
    """Return the other people who may decide, by name: to hand over to, and to name as delegates."""
    others = perhaps_deciders().filter(is_active=True).exclude(pk=user.pk).order_by("username")[:MOST_NAMED]
    return [other for other in others if may_decide(other)]


def may_decide(user: User) -> bool:
    """Tell whether a person is active and has the permission to decide."""
    return user.is_active and user.has_perm(DECIDE)


def may_decide_at_all(user: User, *, groups: frozenset[int] | None = None, now: datetime) -> bool:
    """Tell whether a person is active, has the permission to decide, and is not locked at `now`.

    `groups` are those of a login; None takes those of the directory.
    """
    return may_decide(user) and not is_stopped(user, groups=groups, now=now)


def is_stopped(user: User, *, groups: frozenset[int] | None = None, now: datetime) -> bool:
    """Tell whether a lock stops this person at `now`, or their provider is not active any more.

    `groups` are those of a login; None takes those of the directory. A local account has no provider.
    """
    principal = user.principal
    if principal is None:
        return False
    provider = provider_of(principal.issuer)
    if provider is None and not user.has_usable_password():
        return True
    members = directory_groups_of(user) if groups is None else groups
    return is_locked(provider=provider, principal=principal, group_ids=sorted(members), now=now)


def directory_groups_of(user: User) -> frozenset[int]:
    """Return the groups that the directory of the person's provider says they are in now."""
    principal = user.principal
    provider = None if principal is None else provider_of(principal.issuer)
    if principal is None or provider is None:
        return frozenset()
    return frozenset(groups_of(provider=provider, principal=principal, names=None))


def approver_of(user: User, groups: frozenset[int] = frozenset()) -> Approver:
    """Return a person as stages see them, before any connection and for nobody else."""
    principal = user.principal
    return Approver(
        user=user.pk,
        groups=groups,
        principal=None if principal is None else str(principal.pk),
        owner=None if principal is None or principal.owner_id is None else str(principal.owner_id),
    )
