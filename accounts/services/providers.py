"""Writes of identity providers. Every one is a use case, in one transaction, with the time passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from accounts import claims, sealing, vault
from accounts.models import IdentityProvider, default_algorithms
from accounts.saving import Refusals

from .directory import scim_settings_follow
from .provider_rules import MAX_SECRET, PRIVATE_KEY_MEMBERS, refuse_bad_values, required_claims

__all__ = [
    "PRIVATE_KEY_MEMBERS",
    "introspection_secret",
    "introspection_secrets_seal_again",
    "provider_delete",
    "provider_keys_flush",
    "provider_save",
]

_PLACE: Final = "accounts_identityprovider.introspection"


@transaction.atomic
def provider_save(
    *,
    provider_id: UUID | None = None,
    name: str,
    issuer: str,
    preset: str = "",
    jwks_url: str = "",
    pinned_jwks: dict[str, Any] | None = None,
    audiences: Iterable[str] = (),
    algorithms: Iterable[str] | None = None,
    token_types: Iterable[str] = (),
    subject_claim: str = "sub",
    groups_claim: str = "groups",
    roles_claim: str = "",
    name_claim: str = "",
    authorized_parties: Iterable[str] = (),
    tenant_claim: str = "tid",
    tenants: Iterable[str] = (),
    condition_claims: Iterable[str] = (),
    required_claims: Mapping[str, Any] | None = None,
    principal_kind: str = "unknown",
    missing_groups_are_unknown: bool = False,
    uses_directory: bool = False,
    scim_subject: str = "external_id",
    scim_group_name: str = "display_name",
    introspection_url: str = "",
    introspection_client_id: str = "",
    introspection_secret: str | None = None,
    dormant_days: int = 0,
    max_token_seconds: int = 3600,
    leeway_seconds: int = 30,
    requires_nbf: bool = True,
    allowed_networks: Iterable[str] = (),
    is_active: bool = True,
    now: datetime,
) -> IdentityProvider:
    """Create or change the provider `provider_id`; without an id, the one of that `name` if there is one.

    `introspection_secret` is sealed and nobody reads it back: None keeps the one that is there, and without an
    introspection URL none is kept.

    Raises:
        IdentityProvider.DoesNotExist: there is no provider `provider_id`.
        MasterKeysUnusable: a secret was given and WARDGATE_MASTER_KEYS is missing or malformed.
        ValidationError: by field, what cannot be saved and what to write instead; it never repeats the secret.
    """
    provider = _locked(provider_id, name, now)
    provisioned_by = _provisioned_by(provider)
    refusals = Refusals()
    plain = {
        "name": name,
        "issuer": issuer,
        "preset": preset,
        "jwks_url": jwks_url,
        "pinned_jwks": pinned_jwks,
        "subject_claim": subject_claim,
        "groups_claim": groups_claim,
        "roles_claim": roles_claim,
        "name_claim": name_claim,
        "tenant_claim": tenant_claim,
        "principal_kind": principal_kind,
        "missing_groups_are_unknown": missing_groups_are_unknown,
        "uses_directory": uses_directory,
        "scim_subject": scim_subject,
        "scim_group_name": scim_group_name,
        "introspection_url": introspection_url,
        "introspection_client_id": introspection_client_id,
        "dormant_days": dormant_days,
        "max_token_seconds": max_token_seconds,
        "leeway_seconds": leeway_seconds,
        "requires_nbf": requires_nbf,
        "is_active": is_active,
    }
    lists = {
        "audiences": audiences,
        "algorithms": default_algorithms() if algorithms is None else algorithms,
        "token_types": token_types,
        "authorized_parties": authorized_parties,
        "tenants": tenants,
        "condition_claims": condition_claims,
        "allowed_networks": allowed_networks,
    }
    for field, value in plain.items():
        setattr(provider, field, value)
    for field, entries in lists.items():
        setattr(provider, field, refusals.texts(field, entries))
    provider.required_claims = _required(required_claims, refusals)
    _keep_secret(provider, introspection_secret, refusals)
    refuse_bad_values(provider, refusals)
    refusals.save(provider)
    if _provisioned_by(provider) != provisioned_by:
        scim_settings_follow(provider=provider, now=now)
    return provider


@transaction.atomic
def provider_delete(*, provider_id: UUID) -> None:
    """Delete a provider and its groups; tokens of its issuer are refused from then on.

    Raises:
        IdentityProvider.DoesNotExist: there is no such provider.
    """
    IdentityProvider.objects.get(pk=provider_id).delete()


@transaction.atomic
def provider_keys_flush(*, provider_id: UUID, now: datetime) -> IdentityProvider:
    """Make every gateway process forget the keys it has of this provider; the next token waits for new ones.

    The processes learn of it as of any change of policy, within seconds.

    Raises:
        IdentityProvider.DoesNotExist: there is no such provider.
    """
    provider = IdentityProvider.objects.select_for_update().get(pk=provider_id)
    provider.keys_flushed_at = now
    provider.save(update_fields=["keys_flushed_at"])
    return provider


def introspection_secret(provider: IdentityProvider) -> vault.Secret | None:
    """Return the secret with which the gateway asks the provider about tokens; None when there is none.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
        vault.CannotOpen: its master key is gone, or the row was changed.
    """
    if not provider.introspection_key_id:
        return None
    kept = vault.Sealed(
        provider.introspection_key_id,
        bytes(provider.introspection_wrapped_key or b""),
        bytes(provider.introspection_ciphertext or b""),
    )
    return sealing.opened(kept, place=_PLACE, row_id=provider.pk)


def introspection_secrets_seal_again() -> tuple[int, int]:
    """Seal the secrets for introspection under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    rows = IdentityProvider.objects.exclude(introspection_key_id="")
    return sealing.rows_seal_again(rows, place=_PLACE, prefix="introspection_")


def _locked(provider_id: UUID | None, name: str, now: datetime) -> IdentityProvider:
    rows = IdentityProvider.objects.select_for_update()
    if provider_id is None:
        return rows.filter(name=name).first() or IdentityProvider(created_at=now)
    return rows.get(pk=provider_id)


def _provisioned_by(provider: IdentityProvider) -> tuple[str, str, str]:
    """Return what decides whom a provisioned user or group is on the data path."""
    return (provider.issuer, provider.scim_subject, provider.scim_group_name)


def _required(given: Mapping[str, Any] | None, refusals: Refusals) -> dict[str, list[str]]:
    return required_claims({} if given is None else given, refusals)


def _keep_secret(provider: IdentityProvider, secret: str | None, refusals: Refusals) -> None:
    """Seal a new secret, drop one that nobody uses any more, and leave the one that is there otherwise."""
    if not provider.introspection_url:
        provider.introspection_key_id = ""
        provider.introspection_wrapped_key = provider.introspection_ciphertext = None
        if secret:
            message = "Name the introspection URL as well: without one the secret is not kept."
            refusals.add("introspection_secret", "without_url", message)
        return
    if not secret:
        return
    if not claims.is_clean(secret, MAX_SECRET):
        message = f"The secret has control characters or more than {MAX_SECRET} characters."
        refusals.add("introspection_secret", "bad_text", message)
        return
    kept = sealing.sealed(secret, place=_PLACE, row_id=provider.pk)
    provider.introspection_key_id = kept.key_id
    provider.introspection_wrapped_key, provider.introspection_ciphertext = kept.wrapped_key, kept.ciphertext
