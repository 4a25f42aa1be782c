"""Writes of identity providers and groups. Every one is a use case, in one transaction, with the time passed in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction

from accounts import keys
from accounts.models import ALGORITHMS, Group, IdentityProvider, default_algorithms
from accounts.saving import Refusals

PRIVATE_KEY_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JSON Web Key that hold secret material (RFC 7518, sections 6.2.2, 6.3.2 and 6.4)."""


@transaction.atomic
def provider_save(
    *,
    provider_id: UUID | None = None,
    name: str,
    issuer: str,
    jwks_url: str = "",
    pinned_jwks: dict[str, Any] | None = None,
    audiences: Iterable[str] = (),
    algorithms: Iterable[str] | None = None,
    groups_claim: str = "groups",
    max_token_seconds: int = 3600,
    leeway_seconds: int = 30,
    requires_nbf: bool = True,
    allowed_networks: Iterable[str] = (),
    token_types: Iterable[str] = (),
    is_active: bool = True,
    now: datetime,
) -> IdentityProvider:
    """Create or change the provider `provider_id`; without an id, the one of that `name` if there is one.

    Raises:
        IdentityProvider.DoesNotExist: there is no provider `provider_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    if provider_id is None:
        provider = IdentityProvider.objects.select_for_update().filter(name=name).first()
        provider = provider or IdentityProvider(created_at=now)
    else:
        provider = IdentityProvider.objects.select_for_update().get(pk=provider_id)
    refusals = Refusals()
    provider.name = name
    provider.issuer = issuer
    provider.jwks_url = jwks_url
    provider.pinned_jwks = pinned_jwks
    provider.audiences = refusals.texts("audiences", audiences)
    provider.algorithms = refusals.texts("algorithms", default_algorithms() if algorithms is None else algorithms)
    provider.groups_claim = groups_claim
    provider.max_token_seconds = max_token_seconds
    provider.leeway_seconds = leeway_seconds
    provider.requires_nbf = requires_nbf
    provider.allowed_networks = refusals.texts("allowed_networks", allowed_networks)
    provider.token_types = refusals.texts("token_types", token_types)
    provider.is_active = is_active
    _refuse_unknown_algorithms(provider, refusals)
    _refuse_bad_networks(provider, refusals)
    _refuse_bad_key_source(provider, refusals)
    refusals.save(provider)
    return provider


@transaction.atomic
def provider_delete(*, provider_id: UUID) -> None:
    """Delete a provider and its groups; tokens of its issuer are refused from then on.

    Raises:
        IdentityProvider.DoesNotExist: there is no such provider.
    """
    IdentityProvider.objects.get(pk=provider_id).delete()


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


def _refuse_unknown_algorithms(provider: IdentityProvider, refusals: Refusals) -> None:
    for algorithm in provider.algorithms:
        if algorithm not in ALGORITHMS:
            refusals.add("algorithms", "unknown_algorithm", f"{algorithm} is not one of {', '.join(ALGORITHMS)}.")


def _refuse_bad_networks(provider: IdentityProvider, refusals: Refusals) -> None:
    for network in provider.allowed_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            refusals.add("allowed_networks", "bad_network", f"{error}. Write a network such as 10.20.0.0/16.")


def _refuse_bad_key_source(provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse key sources that an attacker on the way could answer for, and key sets that hold private keys."""
    if provider.pinned_jwks is not None:
        _refuse_bad_key_set(provider, refusals)
        return
    field, url = ("jwks_url", provider.jwks_url) if provider.jwks_url else ("issuer", provider.issuer)
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in {"http", "https"} or parts.username is not None or parts.fragment:
        refusals.add(field, "bad_url", "Write a URL such as https://login.example.com/realms/main.")
    elif parts.scheme == "http" and not provider.allowed_networks:
        refusals.add(
            field,
            "plain_http",
            "Over plain http anyone on the way could replace the keys: use https, "
            "or name the private network of the provider under allowed networks.",
        )


def _refuse_bad_key_set(provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse a set that holds a private key, and one of which the data path would use no key at all."""
    document = provider.pinned_jwks if isinstance(provider.pinned_jwks, dict) else {}
    entries = document.get("keys")
    if isinstance(entries, list) and any(isinstance(key, dict) and PRIVATE_KEY_MEMBERS & key.keys() for key in entries):
        refusals.add("pinned_jwks", "private_key", "A key in the set is private or symmetric: give public keys only.")
        return
    try:
        found = keys.key_set(document, algorithms=provider.algorithms)
    except keys.KeySetRefused as error:
        refusals.add("pinned_jwks", error.code, str(error))
        return
    if not len(found):
        why = "; ".join(f"key {place}: {reason}" for place, reason in found.refused) or "it is empty"
        refusals.add("pinned_jwks", "no_usable_key", f"No key of the set can be used ({why}).")
