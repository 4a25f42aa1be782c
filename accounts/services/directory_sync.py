"""Writes of how provisioning goes, beside the transactions of the requests themselves."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from accounts.models import ScimSync

_NOTED_EVERY = timedelta(minutes=1)


@transaction.atomic
def scim_served(*, provider_id: UUID, is_change: bool, now: datetime) -> None:
    """Note, once a minute at most, that a request of the provider was served: reading must not become writing."""
    sync = ScimSync.objects.filter(provider_id=provider_id).first()
    if sync is None:
        ScimSync.objects.get_or_create(
            provider_id=provider_id,
            defaults={"last_request_at": now, "last_change_at": now if is_change else None},
        )
        return
    last = sync.last_change_at if is_change else sync.last_request_at
    if last is None or now - last >= _NOTED_EVERY:
        moments = {"last_request_at": now, **({"last_change_at": now} if is_change else {})}
        ScimSync.objects.filter(pk=sync.pk).update(**moments)


@transaction.atomic
def scim_refused(*, provider_id: UUID, what: str, reason: str, now: datetime) -> None:
    """Note what was last refused to the provider: `what` is method and kind, `reason` a sentence of ours."""
    noted = {"last_request_at": now, "last_refusal_at": now, "last_refusal": f"{what}: {reason}"[:500]}
    ScimSync.objects.update_or_create(provider_id=provider_id, defaults=noted)
