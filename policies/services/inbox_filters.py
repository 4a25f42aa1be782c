"""Writes of the filters that a person keeps of the inbox."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import User
from policies.models import InboxFilter

MOST_FILTERS = 20


@transaction.atomic
def inbox_filter_save(*, user: User, name: str, query: str, now: datetime) -> InboxFilter:
    """Keep a filter under a name, instead of the one that has it.

    Raises:
        ValidationError: the name is empty or too long, or the person keeps as many as anybody may.
    """
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if not 0 < len(name) <= 60:
        raise ValidationError({"name": "Give the filter a name of at most 60 characters."})
    User.objects.select_for_update(of=("self",)).get(pk=user.pk)
    known = InboxFilter.objects.filter(user=user)
    if not known.filter(name=name).exists() and known.count() >= MOST_FILTERS:
        raise ValidationError({"name": f"You keep {MOST_FILTERS} filters already. Forget one first."})
    kept, _ = InboxFilter.objects.update_or_create(
        user=user, name=name, defaults={"query": query[:1000], "created_at": now}
    )
    return kept


def inbox_filter_delete(*, user: User, name: str) -> None:
    """Forget a filter of this person; one that is not there is forgotten already."""
    InboxFilter.objects.filter(user=user, name=name).delete()
