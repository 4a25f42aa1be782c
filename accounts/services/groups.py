"""Writes of groups, which can be declared before anybody who is in them logs in."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from accounts.models import Group, IdentityProvider
from accounts.saving import Refusals


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

    `now` is taken as by every service; a group keeps no time.

    Raises:
        Group.DoesNotExist: there is no group `group_id`.
        ValidationError: by field, what cannot be saved.
    """
    if group_id is None:
        group = Group.objects.select_for_update().filter(provider=provider, name=name).first() or Group()
    else:
        group = Group.objects.select_for_update().get(pk=group_id)
    group.provider = provider
    group.name = name
    group.description = description
    Refusals().save(group)
    return group


@transaction.atomic
def group_delete(*, group_id: int) -> None:
    """Delete a group and the grants to it.

    Raises:
        Group.DoesNotExist: there is no such group.
    """
    Group.objects.get(pk=group_id).delete()
