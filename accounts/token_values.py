"""The values of token verification: who issues, what a token says, who it speaks for, and why it is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Provider:
    """An issuer as an administrator configured it; the plain value of an `IdentityProvider` row.

    `requires_nbf` off accepts tokens without `nbf` (Keycloak, Okta and Google leave it out); one that is there is
    checked all the same. Claims are named by dotted paths. Empty `authorized_parties` and `tenants` accept any;
    `required_claims` are the accepted texts of each claim that must be there, and conditions of policy may look at
    `condition_claims`. `missing_groups_are_unknown` is for issuers whose tokens never list groups. Keys that were
    fetched before `keys_flushed_at`, in seconds since 1970, are forgotten. An issuer that `introspects` is asked about
    tokens that have been good for a while (RFC 7662).
    """

    id: str
    name: str
    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    token_types: frozenset[str]
    groups_claim: str
    max_token_seconds: int
    leeway_seconds: int
    jwks_url: str
    pinned_jwks: Mapping[str, Any] | None = field(hash=False, repr=False)
    allowed_networks: tuple[str, ...]
    requires_nbf: bool = True
    subject_claim: str = "sub"
    roles_claim: str = ""
    name_claim: str = ""
    authorized_parties: frozenset[str] = frozenset()
    tenant_claim: str = "tid"
    tenants: frozenset[str] = frozenset()
    condition_claims: tuple[str, ...] = ()
    required_claims: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    principal_kind: str = "unknown"
    missing_groups_are_unknown: bool = False
    uses_directory: bool = False
    keys_flushed_at: float = 0.0
    introspects: bool = False


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What is left of a principal's access: one connection (by slug), and tools by glob. It only takes away."""

    connection: str
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token speaks for. The key is (issuer, subject); e-mail and name are for display only.

    `groups` is None when they are unknown: the issuer said that there are some and left them out, or never says.
    `roles`, which count as groups, are part of known groups already. `expires_at` and `issued_at` are in seconds since
    1970. `token_digest` is the SHA-256 of the whole token, `twin_digest` that of its other spelling if there is one
    (`keys.twin_signature`). `session_id` is the provider's own session (`sid`). `kind` is human, machine, agent or
    unknown. `actors` are those who act for the subject (RFC 8693 section 4.1), the one at the gateway first.
    `claims` are those that the provider lists for conditions of policy, by their paths, as far as they are plain.
    """

    issuer: str
    subject: str
    groups: frozenset[str] | None
    expires_at: int
    display_name: str = field(repr=False)
    email: str = field(repr=False)
    client_id: str
    token_digest: bytes = field(repr=False)
    provider_id: str
    token_id: str
    audiences: frozenset[str]
    issued_at: int = 0
    session_id: str = ""
    kind: str = "unknown"
    actors: tuple[str, ...] = ()
    narrowing: Narrowing | None = None
    twin_digest: bytes = field(default=b"", repr=False)
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a token is not accepted: a stable code, and a sentence that is safe to show to the caller."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself, to choose the provider and the key by. Nothing in it is proven."""

    issuer: str
    key_id: str | None
    algorithm: str
    _type: str = field(repr=False)
    _claims: Mapping[str, Any] = field(repr=False)
    _message: bytes = field(repr=False)
    _signature: bytes = field(repr=False)
    _raw: bytes = field(repr=False)
