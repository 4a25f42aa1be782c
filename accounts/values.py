"""From rows to the plain values that the pure floor works with."""

from __future__ import annotations

from accounts import tokens
from accounts.models import IdentityProvider


def provider_value(row: IdentityProvider) -> tokens.Provider:
    """Return the provider that `row` describes."""
    return tokens.Provider(
        id=str(row.pk),
        name=row.name,
        issuer=row.issuer,
        audiences=frozenset(row.audiences),
        algorithms=frozenset(row.algorithms),
        token_types=frozenset(row.token_types),
        groups_claim=row.groups_claim,
        max_token_seconds=row.max_token_seconds,
        leeway_seconds=row.leeway_seconds,
        jwks_url=row.jwks_url,
        pinned_jwks=row.pinned_jwks,
        allowed_networks=tuple(row.allowed_networks),
        requires_nbf=row.requires_nbf,
        subject_claim=row.subject_claim,
        roles_claim=row.roles_claim,
        name_claim=row.name_claim,
        authorized_parties=frozenset(row.authorized_parties),
        tenant_claim=row.tenant_claim,
        tenants=frozenset(row.tenants),
        condition_claims=tuple(row.condition_claims),
        required_claims={name: frozenset(values) for name, values in row.required_claims.items()},
        principal_kind=row.principal_kind,
        missing_groups_are_unknown=row.missing_groups_are_unknown,
        uses_directory=row.uses_directory,
        introspects=bool(row.introspection_url),
        keys_flushed_at=row.keys_flushed_at.timestamp() if row.keys_flushed_at else 0.0,
    )
