"""Writes that time asks for: what has expired is forgotten, and who has not been seen for long is locked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.db.models import F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest

from accounts.models import IdentityProvider, Lock, Principal, RevokedToken, SamlProvider, SeenToken, in_force

from .locks import lock_place

LATE: Final = timedelta(minutes=10)
"""Kept longer than needed, so that no clock difference brings anything back."""


class Swept(NamedTuple):
    """How many rows of each kind were forgotten."""

    revocations: int
    seen_tokens: int


@transaction.atomic
def revocations_sweep(*, now: datetime) -> Swept:
    """Forget revocations and event tokens that nothing can match any more. Locks stay: they are evidence."""
    # A DELETE of nothing would still move the version, for which every gateway process loads everything again.
    revocations = _deleted(RevokedToken.objects.filter(expires_at__lte=now - LATE))
    return Swept(revocations, _deleted(SeenToken.objects.filter(expires_at__lte=now - LATE)))


class Dormant(NamedTuple):
    """A principal that was locked because it was not seen, and since when."""

    lock: Lock
    last_active: datetime


def dormant_lock(*, now: datetime, at_most: int = 500) -> list[Dormant]:
    """Lock principals that were not seen for as many days as their provider allows, and return whom.

    A principal counts as seen when it called, when its person logged in to the console, and when somebody lifted such a
    lock: lifting gives it the whole time again. What was declared and never seen counts from its declaration.
    """
    found: list[Dormant] = []
    for provider in IdentityProvider.objects.filter(is_active=True, dormant_days__gt=0):
        reason = f"Not seen for {provider.dormant_days} days."
        for principal in dormant_principals(provider=provider, now=now)[: at_most - len(found)]:
            lock = lock_place(
                kind=Lock.Kind.PRINCIPAL, principal=principal, reason=reason, source=Lock.Source.DORMANT, now=now
            )
            found.append(Dormant(lock, principal.last_active))
    return found


def dormant_principals(*, provider: IdentityProvider, now: datetime) -> QuerySet[Any]:
    """Return whom to lock at `now`, the longest unseen first, each row annotated with `last_active`."""
    issuers = [provider.issuer, *SamlProvider.objects.filter(provider=provider).values_list("entity_id", flat=True)]
    locks = Lock.objects.filter(principal=OuterRef("pk"), source=Lock.Source.DORMANT)
    lifted = locks.values("principal").annotate(latest=Max("lifted_at")).values("latest")
    never = F("first_seen")
    last_active = Greatest(
        Coalesce(F("last_seen"), never),
        Coalesce(F("user__last_login"), never),
        Coalesce(Subquery(lifted), never),
        never,
    )
    cutoff = now - timedelta(days=provider.dormant_days)
    held = Lock.objects.filter(in_force(now), Q(source=Lock.Source.DORMANT), principal__isnull=False)
    return (
        Principal.objects.filter(issuer__in=issuers)
        .annotate(last_active=last_active)
        .filter(last_active__lte=cutoff)
        .exclude(pk__in=held.values("principal"))
        .order_by("last_active", "pk")
    )


def _deleted(rows: QuerySet[RevokedToken] | QuerySet[SeenToken]) -> int:
    return rows.delete()[0] if rows.exists() else 0
