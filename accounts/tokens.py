"""Whether a bearer token is one of ours: raw token, provider, keys and the time in; Identity or Rejected out. Pure.

The ladder, first failure wins:

1. `peek`, before any library sees the token: length, three segments of canonical base64url, strict JSON, an asymmetric
   algorithm, no header that changes how the token is read (`crit`, `b64`, `zip`, `enc`, `cty`).
2. `token_checks.CHECKS`, in their order: the issuer, the algorithm and the token type against the provider; the key,
   found by its id in the provider's own key set (`jwk`, `jku`, `x5u` and `x5c` headers are never read: a token cannot
   bring or name its own key); the signature; the claims: who, when, how long, for whom, that it is an access token, and
   what else the provider asks for; the groups, which are *unknown* when the issuer left them out.

Nothing here falls back to anonymous: whatever is not an `Identity` is a refusal with a stable code. The details are
fixed sentences that repeat nothing of the token.

Sources: RFC 7515, RFC 7519, RFC 8725 (JWT best practices), RFC 9068 (access tokens), OpenID Connect Core 1.0.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from . import claims as read
from .claims import ClaimRefused
from .keys import ALGORITHMS, MAX_KEY_ID, KeySet, decode_segment, key_set, load_object, twin_signature
from .token_checks import CHECKS, Case
from .token_values import Identity, Narrowing, Provider, Rejected, Unverified

__all__ = [
    "ALGORITHMS",
    "Identity",
    "KeySet",
    "Narrowing",
    "Provider",
    "Rejected",
    "Unverified",
    "key_set",
    "peek",
    "verify",
]

TOKEN_BYTES: Final = 16 * 1024
MAX_EMAIL: Final = 320

_REFUSED_HEADERS = frozenset({"crit", "b64", "zip", "enc", "cty"})
_NAME_CLAIMS = ("name", "preferred_username", "upn")


def peek(raw: bytes, *, limit: int = TOKEN_BYTES) -> Unverified | Rejected:
    """Return what `raw` says of itself, or why it is not worth a signature check.

    Args:
        raw: the token as it came, without the word Bearer.
        limit: most bytes, checked before anything is decoded.
    """
    try:
        return _peek(raw, limit)
    except ClaimRefused as refusal:
        return Rejected(refusal.code, refusal.detail)


def verify(
    raw: bytes,
    *,
    provider: Provider,
    keys: KeySet,
    now: float,
    audience: str,
    unverified: Unverified | None = None,
) -> Identity | Rejected:
    """Return the identity that `raw` proves, or why it proves none.

    Args:
        raw: the token as it came.
        provider: whose rules apply; its issuer must equal the token's to the letter.
        keys: the provider's keys, and nobody else's.
        now: seconds since 1970. A token is good while `nbf - leeway <= now < exp + leeway`.
        audience: the URL of the connection that is called, accepted besides the provider's audiences.
        unverified: the result of `peek` on the same bytes, to save doing it twice.
    """
    try:
        if unverified is None or unverified._raw != raw:
            unverified = _peek(raw, TOKEN_BYTES)
        case = Case(unverified, provider, keys, now, audience)
        return _identity(case, {check.rule: check.run(case) for check in CHECKS})
    except ClaimRefused as refusal:
        return Rejected(refusal.code, refusal.detail)


def _peek(raw: bytes, limit: int) -> Unverified:
    if not raw:
        raise ClaimRefused("token_missing", "No bearer token was sent.")
    if len(raw) > limit:
        raise ClaimRefused("token_too_long", "The token is longer than the gateway accepts.")
    if raw.count(b".") != 2:
        raise ClaimRefused("token_malformed", "The token is not a signed JWT of three segments.")
    message, _, signature_segment = raw.rpartition(b".")
    header_segment, _, claims_segment = message.partition(b".")
    header = _object(header_segment, "The token's header is not strict base64url JSON.")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ClaimRefused("token_algorithm", "The token's signature algorithm is not accepted.")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise ClaimRefused("token_header", "The token's header asks for an extension that is not accepted.")
    key_id = header.get("kid")
    if "kid" in header and not (isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID):
        raise ClaimRefused("token_header", "The token's key id is not a short string.")
    token_type = header.get("typ", "")
    if not isinstance(token_type, str) or ("typ" in header and not token_type):
        raise ClaimRefused("token_type", "The token's type is not a string.")
    claims = _object(claims_segment, "The token's claims are not strict base64url JSON.")
    issuer = read.text(claims, "iss", longest=read.MAX_AUDIENCE_CHARACTERS)
    try:
        signature = decode_segment(signature_segment)
    except ValueError:
        signature = b""
    if not signature:
        raise ClaimRefused("token_malformed", "The token's signature is not strict base64url.")
    return Unverified(issuer, key_id, algorithm, token_type, claims, message, signature, raw)


def _identity(case: Case, found: Mapping[str, Any]) -> Identity:
    """Return who the token speaks for, of what its checks `found`; all of them passed."""
    claims, provider = case.claims, case.provider
    groups, roles, clients = found["groups"], found["roles"], found["clients"]
    return Identity(
        issuer=case.token.issuer,
        subject=found["subject"],
        groups=None if groups is None else groups | roles,
        expires_at=found["exp"],
        display_name=_display_name(claims, provider.name_claim),
        email=read.display(claims.get("email"), MAX_EMAIL),
        client_id=clients[0] if clients else "",
        token_digest=hashlib.sha256(case.token._raw).digest(),
        provider_id=provider.id,
        token_id=found["token_id"],
        audiences=found["audience"],
        issued_at=found["iat"],
        session_id=found["session_id"],
        kind=read.kind(claims, clients, provider.principal_kind),
        actors=found["actors"],
        twin_digest=_twin_digest(case.token),
        roles=roles,
        claims=read.plain(claims, provider.condition_claims),
    )


def _twin_digest(token: Unverified) -> bytes:
    """Return the digest of the token with the other signature that anybody can make of its own; see `keys`."""
    twin = twin_signature(token.algorithm, token._signature)
    if not twin:
        return b""
    segment = base64.urlsafe_b64encode(twin).rstrip(b"=")
    return hashlib.sha256(token._message + b"." + segment).digest()


def _display_name(claims: Mapping[str, Any], path: str) -> str:
    if path:
        try:
            return read.display(read.value_at(claims, path), read.MAX_TEXT)
        except ClaimRefused:
            return ""
    return next((shown for name in _NAME_CLAIMS if (shown := read.display(claims.get(name), read.MAX_TEXT))), "")


def _object(segment: bytes, detail: str) -> dict[str, Any]:
    try:
        return load_object(decode_segment(segment))
    except ValueError:
        raise ClaimRefused("token_malformed", detail) from None
