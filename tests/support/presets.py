"""Providers as the presets make them, filled in for one company, and honest tokens as each vendor writes them."""

from __future__ import annotations

from typing import Any

from accounts.presets import PRESETS
from accounts.token_values import Provider
from tests.support.idp import ABSENT, Issuer, signed

NOW = 1_800_000_000
RESOURCE = "https://gateway.example/mcp/orders"
TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"
SIGNER = Issuer("https://signer.example", clock=lambda: NOW)

FILLED: dict[str, dict[str, Any]] = {
    "entra": {
        "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "audiences": ["api://gateway"],
        "tenants": [TENANT],
    },
    "okta": {"issuer": "https://acme.okta.com/oauth2/aus1", "audiences": ["api://gateway"]},
    "google": {"audiences": ["gateway.apps.googleusercontent.com"], "required_claims": {"hd": ["acme.example"]}},
    "keycloak": {"issuer": "https://sso.acme.example/realms/main"},
    "auth0": {
        "issuer": "https://acme.eu.auth0.com/",
        "audiences": ["https://gateway.example"],
        "groups_claim": "https://acme.example/groups",
    },
    "github-actions": {"required_claims": {"repository_owner": ["acme"]}},
    "kubernetes": {"issuer": "https://oidc.eks.eu-central-1.amazonaws.com/id/ABCDEF"},
    "gitlab-ci": {"required_claims": {"namespace_path": ["acme"]}},
    "aws": {"issuer": "https://0a1b2c3d.tokens.sts.global.api.aws"},
    "gcp": {"authorized_parties": ["112233"]},
}
"""What an administrator of the company acme still writes into each preset."""

HONEST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "entra": (
        {"typ": "JWT"},
        {
            "aud": "api://gateway",
            "iat": NOW - 300,
            "nbf": NOW - 300,
            "exp": NOW + 4500,
            "sub": "pairwise-1",
            "oid": "object-1",
            "tid": TENANT,
            "azp": "client-1",
            "name": "Alice",
            "preferred_username": "alice@acme.example",
            "groups": ["group-1"],
            "roles": ["Operator"],
            "scp": "mcp.call",
            "ver": "2.0",
        },
    ),
    "okta": (
        {},
        {
            "aud": "api://gateway",
            "nbf": ABSENT,
            "sub": "alice@acme.example",
            "uid": "00u1",
            "cid": "client-1",
            "scp": ["mcp"],
            "groups": ["sre"],
            "ver": 1,
        },
    ),
    "google": (
        {"typ": "JWT"},
        {
            "aud": "gateway.apps.googleusercontent.com",
            "azp": "gateway.apps.googleusercontent.com",
            "nbf": ABSENT,
            "sub": "104",
            "hd": "acme.example",
            "email": "alice@acme.example",
            "email_verified": True,
        },
    ),
    "keycloak": (
        {"typ": "JWT"},
        {
            "nbf": ABSENT,
            "sub": "f3a1",
            "typ": "Bearer",
            "azp": "inspector",
            "sid": "session-1",
            "preferred_username": "alice",
            "realm_access": {"roles": ["operator"]},
            "groups": ["sre"],
            "acr": "1",
        },
    ),
    "auth0": (
        {"typ": "at+jwt"},
        {
            "aud": ["https://gateway.example", "https://acme.eu.auth0.com/userinfo"],
            "nbf": ABSENT,
            "sub": "auth0|5f7c",
            "client_id": "client-1",
            "permissions": ["call:tools"],
            "https://acme.example/groups": ["sre"],
        },
    ),
    "github-actions": (
        {"typ": "JWT"},
        {
            "nbf": NOW - 300,
            "sub": "repo:acme/orders:ref:refs/heads/main",
            "repository": "acme/orders",
            "repository_owner": "acme",
            "job_workflow_ref": "acme/orders/.github/workflows/x.yml@refs/heads/main",
        },
    ),
    "kubernetes": (
        {},
        {
            "aud": [RESOURCE],
            "exp": NOW + 3600,
            "sub": "system:serviceaccount:shop:robot",
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "robot", "uid": "u-1"}},
        },
    ),
    "gitlab-ci": (
        {"typ": "JWT"},
        {
            "nbf": NOW - 5,
            "sub": "project_path:acme/orders:ref_type:branch:ref:main",
            "namespace_path": "acme",
            "project_path": "acme/orders",
            "user_email": "alice@acme.example",
        },
    ),
    "aws": (
        {"typ": "JWT"},
        {
            "nbf": ABSENT,
            "sub": "arn:aws:iam::123456789012:role/robot",
            "https://sts.amazonaws.com/": {"aws_account": "123456789012", "source_region": "eu-central-1"},
        },
    ),
    "gcp": (
        {"typ": "JWT"},
        {"nbf": ABSENT, "sub": "112233", "azp": "112233", "email": "robot@acme.iam.gserviceaccount.com"},
    ),
}
"""Header members and claims of an access token that the vendor issues, besides issuer, key and times."""


def provider(key: str, **changes: Any) -> Provider:
    """Return the provider that the preset `key` makes, filled in."""
    values = {**PRESETS[key].values, **FILLED[key], **changes}
    for name in ("audiences", "algorithms", "token_types", "authorized_parties", "tenants"):
        values[name] = frozenset(values.get(name, ()))
    values["required_claims"] = {name: frozenset(texts) for name, texts in values.get("required_claims", {}).items()}
    for name in ("preset", "scim_subject", "scim_group_name"):
        values.pop(name, None)
    base = {"id": key, "leeway_seconds": 30, "jwks_url": "", "pinned_jwks": None, "allowed_networks": ()}
    defaults = {"groups_claim": "groups", "max_token_seconds": 3600}
    return Provider(**(base | defaults | values))


def token(key: str, *, issuer: str | None = None, header_type: str | None = None, **changes: Any) -> bytes:
    """Return an honest token of the vendor, changed by `changes`; `ABSENT` leaves a claim out."""
    header, claims = HONEST[key]
    given = {"aud": RESOURCE, "iat": NOW, "nbf": NOW, "exp": NOW + 300, "iss": issuer or provider(key).issuer}
    merged = {name: value for name, value in {**given, **claims, **changes}.items() if value is not ABSENT}
    signing = SIGNER.signing["RS256"]
    written = {"alg": "RS256", "kid": signing.kid, **header, **({} if header_type is None else {"typ": header_type})}
    return signed(written, merged, signing, "RS256").encode()
