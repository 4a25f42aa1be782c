"""Tokens that the gateway itself gives out for calls: what is in one, how it is signed, how it is read again. Pure.

Such a token speaks for the same principal as the one it was exchanged for, at one connection, for minutes. It is an
access token of RFC 9068 that any verifier can check against the published keys: issuer is the gateway, audience the
connection's URL. What the original token said of its principal travels along under names of our own:

| claim | holds |
|---|---|
| `sub` | the subject of the original token |
| `wg_iss` | its issuer: grants, locks and the record go by (`wg_iss`, `sub`) |
| `wg_groups` | its groups; left out when they are unknown |
| `wg_kind` | human, machine, agent or unknown |
| `wg_connection`, `wg_tools` | the connection's slug, and globs of the tools that are left |
| `act`, `sid`, `client_id` | as in RFC 8693, OpenID Connect, RFC 9068 |
| `jti` | the id of the row that is the evidence |

A gateway token is never exchanged again: each exchange begins with a token of an identity provider.

Sources: RFC 8693 (token exchange), RFC 9068 (access tokens), RFC 7517 and 7638 (keys and their names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

from joserfc import jwt
from joserfc.jwk import ECKey

from .keys import decode_segment, load_object
from .tokens import Identity, Narrowing, Provider, Rejected

ALGORITHM: Final = "ES256"
CURVE: Final = "P-256"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - a media type, not a secret
PROVIDER_ID: Final = "wardgate"
"""Stands for the gateway where a provider's id is asked for; rows have UUIDs, so it is nobody else's."""
MAX_TOKEN_SECONDS: Final = 900
LEEWAY_SECONDS: Final = 30
KINDS: Final = frozenset({"human", "machine", "agent", "unknown"})
EVERY_TOOL: Final = ("*",)


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key that signs, and its name in the published set."""

    kid: str
    _key: ECKey = field(repr=False)

    @classmethod
    def new(cls) -> Signer:
        """Return a new key, named by its thumbprint (RFC 7638)."""
        key = ECKey.generate_key(CURVE)
        return cls(key.thumbprint(), key)

    @classmethod
    def opened(cls, kid: str, pem: bytes) -> Signer:
        """Return the key that `private_pem` wrote."""
        return cls(kid, ECKey.import_key(pem))

    def private_pem(self) -> bytes:
        """Return the key as PKCS #8, to be sealed and kept."""
        return self._key.as_pem(private=True)

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half as it is published."""
        public = self._key.as_dict(private=False)
        return {**public, "kid": self.kid, "use": "sig", "alg": ALGORITHM}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return the token of these claims."""
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self.kid}
        return jwt.encode(header, dict(claims), self._key, algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be given out: to whom, for which connection, for how long. Times are epoch seconds."""

    identity: Identity
    token_id: str
    narrowing: Narrowing
    actors: tuple[str, ...]
    issued_at: int
    expires_at: int


def claims_of(order: Order, *, public_url: str) -> dict[str, Any]:
    """Return the claims of the token that `order` asks for.

    Raises:
        ValueError: the order would outlive the original token or the longest lifetime, names no tool, or speaks for
            a token that is itself one of the gateway's.
    """
    who = order.identity
    lifetime = order.expires_at - order.issued_at
    if who.issuer == public_url:
        raise ValueError("a token of the gateway is not exchanged again")
    if not 0 < lifetime <= MAX_TOKEN_SECONDS or order.expires_at > who.expires_at:
        raise ValueError("the token would live too long, or not at all")
    if not order.narrowing.tools:
        raise ValueError("the token would be good for nothing")
    claims: dict[str, Any] = {
        "iss": public_url,
        "sub": who.subject,
        "aud": resource_of(order.narrowing.connection, public_url=public_url),
        "iat": order.issued_at,
        "nbf": order.issued_at,
        "exp": order.expires_at,
        "jti": order.token_id,
        "wg_iss": who.issuer,
        "wg_kind": who.kind,
        "wg_connection": order.narrowing.connection,
        "wg_tools": list(order.narrowing.tools),
    }
    if who.groups is not None:
        claims["wg_groups"] = sorted(who.groups)
    if who.client_id:
        claims["client_id"] = who.client_id
    if who.session_id:
        claims["sid"] = who.session_id
    if order.actors:
        claims["act"] = _nested(order.actors)
    return claims


def resource_of(slug: str, *, public_url: str) -> str:
    """Return the URL of a connection, which is the audience of its tokens."""
    return f"{public_url}/mcp/{slug}"


class PublishedKey(Protocol):
    """What is needed of a SigningKey row."""

    public_jwk: dict[str, Any]
    published_until: datetime


def published(rows: Iterable[PublishedKey], *, now: datetime) -> dict[str, Any]:
    """Return the key set that anybody may read: every key that has signed, signs, or is about to."""
    return {"keys": [row.public_jwk for row in rows if now < row.published_until]}


def signing_provider(rows: Iterable[PublishedKey], *, now: datetime, public_url: str) -> Provider:
    """Return the gateway as the issuer of its own tokens, with its published keys pinned.

    It accepts no audience of its own: the token must name the very connection that is called.
    """
    return Provider(
        id=PROVIDER_ID,
        name="Wardgate",
        issuer=public_url,
        audiences=frozenset(),
        algorithms=frozenset({ALGORITHM}),
        token_types=frozenset({TOKEN_TYPE}),
        groups_claim="wg_groups",
        max_token_seconds=MAX_TOKEN_SECONDS,
        leeway_seconds=LEEWAY_SECONDS,
        jwks_url="",
        pinned_jwks=published(rows, now=now),
        allowed_networks=(),
        requires_nbf=True,
        missing_groups_are_unknown=True,
    )


def as_original(identity: Identity, raw: bytes, providers: Mapping[str, Provider]) -> Identity | Rejected:
    """Return who a verified gateway token speaks for: the principal of the token that it was exchanged for.

    The result keeps the token's own end, id and digest, so that revoking this one token stops it. Its issuer is the
    original one, so that grants, locks and the record are the principal's.

    Args:
        identity: what `tokens.verify` made of `raw` with `signing_provider`.
        raw: the verified token.
        providers: the active providers by issuer; a token exchanged for one of another issuer is refused.
    """
    claims = load_object(decode_segment(raw.split(b".")[1]))
    issuer, slug, kind = (_text(claims, name) for name in ("wg_iss", "wg_connection", "wg_kind"))
    tools = claims.get("wg_tools")
    provider = providers.get(issuer)
    if provider is None or provider.id == PROVIDER_ID:
        return Rejected("token_issuer", "The token was exchanged for one of an issuer that is not accepted any more.")
    are_tools = isinstance(tools, list) and bool(tools) and all(isinstance(glob, str) and glob for glob in tools)
    if not slug or kind not in KINDS or not are_tools:
        return Rejected("token_claim_type", "The token does not say what it may be used for.")
    narrowing = Narrowing(slug, tuple(tools or ()))
    return replace(identity, issuer=issuer, provider_id=provider.id, kind=kind, narrowing=narrowing)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _nested(actors: tuple[str, ...]) -> dict[str, Any]:
    """Return `act` for `issuer|subject` entries, the one at the gateway outermost (RFC 8693, section 4.1)."""
    nested: dict[str, Any] = {}
    for actor in reversed(actors):
        issuer, separator, subject = actor.partition("|")
        named = {"iss": issuer, "sub": subject} if separator else {"sub": actor}
        nested = {**named, "act": nested} if nested else named
    return nested
