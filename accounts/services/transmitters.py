"""Writes of transmitters of security events: who may tell the gateway that somebody is no longer who they were."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction

from accounts import keys
from accounts.models import ALGORITHMS, EventTransmitter, IdentityProvider, default_algorithms
from accounts.saving import Refusals

from .providers import PRIVATE_KEY_MEMBERS


@transaction.atomic
def transmitter_save(
    *,
    transmitter_id: UUID | None = None,
    provider: IdentityProvider,
    name: str,
    issuer: str,
    audience: str,
    jwks_url: str = "",
    pinned_jwks: dict[str, Any] | None = None,
    algorithms: Iterable[str] | None = None,
    is_active: bool = True,
    now: datetime,
) -> EventTransmitter:
    """Create or change the transmitter `transmitter_id`; without an id, the one of that `name` if there is one.

    Its keys are the pinned ones, else those at `jwks_url`, else the provider's own, which are only right when the
    transmitter and the provider are one.

    Raises:
        EventTransmitter.DoesNotExist: there is no transmitter `transmitter_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    locked = EventTransmitter.objects.select_for_update(of=("self",))
    if transmitter_id is None:
        row = locked.filter(name=name).first() or EventTransmitter(created_at=now)
    else:
        row = locked.get(pk=transmitter_id)
    refusals = Refusals()
    row.provider = provider
    row.name = name
    row.issuer = issuer.strip()
    row.audience = audience.strip()
    row.jwks_url = jwks_url.strip()
    row.pinned_jwks = pinned_jwks
    row.algorithms = refusals.texts("algorithms", default_algorithms() if algorithms is None else algorithms)
    row.is_active = is_active
    for algorithm in row.algorithms:
        if algorithm not in ALGORITHMS:
            refusals.add("algorithms", "unknown_algorithm", f"{algorithm} is not one of {', '.join(ALGORITHMS)}.")
    _refuse_same_issuer(row, refusals)
    _refuse_bad_keys(row, refusals)
    refusals.save(row)
    return row


@transaction.atomic
def transmitter_delete(*, transmitter_id: UUID) -> None:
    """Delete a transmitter; what it pushes is refused from then on, what it has pushed stays in force.

    Raises:
        EventTransmitter.DoesNotExist: there is no such transmitter.
    """
    EventTransmitter.objects.get(pk=transmitter_id).delete()


def transmitter_heard(*, transmitter_id: UUID, now: datetime) -> None:
    """Note that the transmitter has pushed an event that verified, so that its silence can be seen."""
    EventTransmitter.objects.filter(pk=transmitter_id).update(last_event_at=now)


def _refuse_same_issuer(row: EventTransmitter, refusals: Refusals) -> None:
    """Refuse a second transmitter of one issuer at one provider: which keys would count?"""
    others = EventTransmitter.objects.filter(provider=row.provider, issuer=row.issuer).exclude(pk=row.pk)
    if others.exists():
        refusals.add("issuer", "issuer_taken", "Another transmitter of this provider has this issuer: change that one.")


def _refuse_bad_keys(row: EventTransmitter, refusals: Refusals) -> None:
    """Refuse key sources that somebody on the way could answer for, and key sets that are private or useless."""
    if row.pinned_jwks is None:
        if row.jwks_url:
            _refuse_bad_url(row, refusals)
        return
    document = row.pinned_jwks if isinstance(row.pinned_jwks, dict) else {}
    entries = document.get("keys")
    if isinstance(entries, list) and any(isinstance(key, dict) and PRIVATE_KEY_MEMBERS & key.keys() for key in entries):
        refusals.add("pinned_jwks", "private_key", "A key in the set is private or symmetric: give public keys only.")
        return
    try:
        found = keys.key_set(document, algorithms=row.algorithms)
    except keys.KeySetRefused as error:
        refusals.add("pinned_jwks", error.code, str(error))
        return
    if not len(found):
        refusals.add("pinned_jwks", "no_usable_key", "No key of the set can be used with the chosen algorithms.")


def _refuse_bad_url(row: EventTransmitter, refusals: Refusals) -> None:
    try:
        parts = urlsplit(row.jwks_url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in {"http", "https"} or parts.username is not None or parts.fragment:
        refusals.add("jwks_url", "bad_url", "Write a URL such as https://events.example.com/jwks.json.")
    elif parts.scheme == "http" and not row.provider.allowed_networks:
        refusals.add(
            "jwks_url",
            "plain_http",
            "Over plain http anyone on the way could replace the keys: use https, or name the private network under "
            "the provider's allowed networks.",
        )
