"""Writes of groups, which can be declared before anybody who is in them logs in."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from accounts.exceptions import DomainError
from accounts.models import Group, IdentityProvider
from accounts.saving import Refusals


class GroupGivesRole(DomainError):
    """Its members have a role in the console by it, so somebody who gives roles has to take that away first."""

    code = "group_gives_role"

    def __init__(self) -> None:
        super().__init__("Members of this group have a role in the console: take the role away first.")


@transaction.atomic
def group_save(
    *,
    group_id: int | None = None,
    provider: IdentityProvider,
    name: str,
    description: str = "",
    now: datetime,
) -> Group:
    """Create or change a group of `provider`; without an id, the one of that name if there is one.

    `now` is taken as by every service; a group keeps no time. While a group gives a role in the console it keeps its
    name: whoever may rename groups could otherwise have the role given to other people.

    Raises:
        Group.DoesNotExist: there is no group `group_id`.
        ValidationError: by field, what cannot be saved.
    """
    if group_id is None:
        group = Group.objects.select_for_update().filter(provider=provider, name=name).first() or Group()
    else:
        group = Group.objects.select_for_update().get(pk=group_id)
    refusals = Refusals()
    is_moved = not group._state.adding and (group.provider_id, group.name) != (provider.pk, name)
    if is_moved and group.roles.exists():
        refusals.add("name", GroupGivesRole.code, str(GroupGivesRole()))
    group.provider = provider
    group.name = name
    group.description = description
    refusals.save(group)
    return group


@transaction.atomic
def group_delete(*, group_id: int) -> None:
    """Delete a group and the grants to it.

    Raises:
        Group.DoesNotExist: there is no such group.
        GroupGivesRole: a role in the console depends on it.
    """
    group = Group.objects.select_for_update().get(pk=group_id)
    if group.roles.exists():
        raise GroupGivesRole
    group.delete()
