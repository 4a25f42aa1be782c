"""Whether a bearer token is one of ours: raw token, provider, keys and the time in; Identity or Rejected out. Pure.

The ladder, first failure wins:

1. `peek`, before any library sees the token: length, three segments of canonical base64url, strict JSON, an asymmetric
   algorithm, no header that changes how the token is read (`crit`, `b64`, `zip`, `enc`, `cty`).
2. The issuer, the algorithm and the token type against the provider.
3. The key, found by its id in the provider's own key set. `jwk`, `jku`, `x5u` and `x5c` headers are never read: a token
   cannot bring or name its own key.
4. The signature.
5. The claims: who, when, how long, for whom, and that it is an access token.
6. The groups, which are *unknown* when the issuer left them out for being too many.

Nothing here falls back to anonymous: whatever is not an `Identity` is a refusal with a stable code. The details are
fixed sentences that repeat nothing of the token.

Sources: RFC 7515, RFC 7519, RFC 8725 (JWT best practices), RFC 9068 (access tokens), OpenID Connect Core 1.0.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .keys import ALGORITHMS, MAX_KEY_ID, KeySet, decode_segment, key_set, load_object

__all__ = ["ALGORITHMS", "Identity", "KeySet", "Provider", "Rejected", "Unverified", "key_set", "peek", "verify"]

TOKEN_BYTES: Final = 16 * 1024
MAX_TEXT: Final = 255
"""Longest subject, client id, token id or group name, in characters."""
MAX_AUDIENCE_CHARACTERS: Final = 2048
MAX_AUDIENCES: Final = 100
MAX_GROUPS: Final = 1000
MAX_EMAIL: Final = 320

_REFUSED_HEADERS = frozenset({"crit", "b64", "zip", "enc", "cty"})
_DEFAULT_TYPES = frozenset({"at+jwt", "jwt", ""})
# An ID token proves a login to one client and a logout or event token proves nothing about a call. Typed access tokens
# (RFC 9068) may carry any of these claims; an untyped token that does is taken for what the claim belongs to.
_FOREIGN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash", "events")
_CLIENT_CLAIMS = ("client_id", "azp", "appid", "cid")
_NAME_CLAIMS = ("name", "preferred_username", "upn")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Provider:
    """An issuer as an administrator configured it; the plain value of an `IdentityProvider` row.

    `requires_nbf` off accepts tokens without `nbf` (Keycloak, Okta and Google leave it out); one that is there is
    checked all the same.
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
    required_claims: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    principal_kind: str = "unknown"
    missing_groups_are_unknown: bool = False
    uses_directory: bool = False


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What is left of a principal's access: one connection (by slug), and tools by glob. It only takes away."""

    connection: str
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token speaks for. The key is (issuer, subject); e-mail and name are for display only.

    `groups` is None when they are unknown: the issuer said that there are some and left them out. `expires_at` and
    `issued_at` are in seconds since 1970; `token_digest` is the SHA-256 of the whole token. `session_id` is the
    provider's own session (`sid`). `kind` is human, machine, agent or unknown. `actors` are those who act for the
    subject (RFC 8693 section 4.1), the one at the gateway first.
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


class _Refusal(Exception):
    """Carries a Rejected out of the checks; never leaves this module."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.rejected = Rejected(code, detail)


def peek(raw: bytes, *, limit: int = TOKEN_BYTES) -> Unverified | Rejected:
    """Return what `raw` says of itself, or why it is not worth a signature check.

    Args:
        raw: the token as it came, without the word Bearer.
        limit: most bytes, checked before anything is decoded.
    """
    try:
        return _peek(raw, limit)
    except _Refusal as refusal:
        return refusal.rejected


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
        _check_signature(unverified, provider, keys)
        return _identity(unverified, provider, now, audience)
    except _Refusal as refusal:
        return refusal.rejected


def _peek(raw: bytes, limit: int) -> Unverified:
    if not raw:
        raise _Refusal("token_missing", "No bearer token was sent.")
    if len(raw) > limit:
        raise _Refusal("token_too_long", "The token is longer than the gateway accepts.")
    if raw.count(b".") != 2:
        raise _Refusal("token_malformed", "The token is not a signed JWT of three segments.")
    message, _, signature_segment = raw.rpartition(b".")
    header_segment, _, claims_segment = message.partition(b".")
    header = _object(header_segment, "The token's header is not strict base64url JSON.")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _Refusal("token_algorithm", "The token's signature algorithm is not accepted.")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise _Refusal("token_header", "The token's header asks for an extension that is not accepted.")
    key_id = header.get("kid")
    if "kid" in header and not (isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID):
        raise _Refusal("token_header", "The token's key id is not a short string.")
    token_type = header.get("typ", "")
    if not isinstance(token_type, str) or ("typ" in header and not token_type):
        raise _Refusal("token_type", "The token's type is not a string.")
    claims = _object(claims_segment, "The token's claims are not strict base64url JSON.")
    issuer = _text(claims, "iss", longest=MAX_AUDIENCE_CHARACTERS)
    try:
        signature = decode_segment(signature_segment)
    except ValueError:
        signature = b""
    if not signature:
        raise _Refusal("token_malformed", "The token's signature is not strict base64url.")
    return Unverified(issuer, key_id, algorithm, token_type, claims, message, signature, raw)


def _check_signature(token: Unverified, provider: Provider, keys: KeySet) -> None:
    if token.issuer != provider.issuer:
        raise _Refusal("token_issuer", "The token's issuer is not the one that was expected.")
    if token.algorithm not in provider.algorithms:
        raise _Refusal("token_algorithm", "The token's signature algorithm is not accepted from this issuer.")
    accepted = frozenset(map(_short_type, provider.token_types)) or _DEFAULT_TYPES
    if _short_type(token._type) not in accepted:
        raise _Refusal("token_type", "The token's type is not accepted from this issuer.")
    key = keys.get(token.key_id, token.algorithm)
    if key is None:
        raise _Refusal("token_key_unknown", "The key that signed the token is not known for this issuer.")
    if not key.verifies(token.algorithm, token._message, token._signature):
        raise _Refusal("token_signature", "The token's signature is not valid.")


def _identity(token: Unverified, provider: Provider, now: float, audience: str) -> Identity:
    claims = token._claims
    subject = _text(claims, "sub", longest=MAX_TEXT)
    expires_at = _check_times(claims, provider, now)
    audiences = _check_audience(claims, provider, audience)
    _check_purpose(claims, _short_type(token._type))
    return Identity(
        issuer=token.issuer,
        subject=subject,
        groups=_groups(claims, provider.groups_claim),
        expires_at=expires_at,
        display_name=next((text for name in _NAME_CLAIMS if (text := _display(claims.get(name), MAX_TEXT))), ""),
        email=_display(claims.get("email"), MAX_EMAIL),
        client_id=next((_text(claims, name, longest=MAX_TEXT) for name in _CLIENT_CLAIMS if name in claims), ""),
        token_digest=hashlib.sha256(token._raw).digest(),
        provider_id=provider.id,
        token_id=_text(claims, "jti", longest=MAX_TEXT) if "jti" in claims else "",
        audiences=audiences,
    )


def _check_times(claims: Mapping[str, Any], provider: Provider, now: float) -> int:
    """Return `exp` after all three times were found good; RFC 7519 section 4.1.4 to 4.1.6, whole seconds only."""
    expires_at, issued_at = _seconds(claims, "exp"), _seconds(claims, "iat")
    not_before = _seconds(claims, "nbf") if provider.requires_nbf or "nbf" in claims else issued_at
    leeway = provider.leeway_seconds
    if now >= expires_at + leeway:
        raise _Refusal("token_expired", "The token has expired.")
    if now < not_before - leeway:
        raise _Refusal("token_not_yet_valid", "The token is not valid yet.")
    if now < issued_at - leeway:
        raise _Refusal("token_not_yet_valid", "The token was issued in the future.")
    if not 0 < expires_at - issued_at <= provider.max_token_seconds:
        raise _Refusal("token_lifetime", "The token is valid for longer than this issuer may grant.")
    return expires_at


def _check_audience(claims: Mapping[str, Any], provider: Provider, audience: str) -> frozenset[str]:
    """Return the token's audiences after one was found to be us, by exact comparison."""
    value = _present(claims, "aud")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > MAX_AUDIENCES:
        raise _wrong_type("aud")
    if not all(isinstance(item, str) and _is_clean(item, MAX_AUDIENCE_CHARACTERS) for item in values):
        raise _wrong_type("aud")
    audiences = frozenset(values)
    if audience not in audiences and provider.audiences.isdisjoint(audiences):
        raise _Refusal("token_audience", "The token was made for another audience.")
    return audiences


def _check_purpose(claims: Mapping[str, Any], declared: str) -> None:
    """Refuse tokens that are genuine and ours, and yet not access tokens that the bearer alone may use."""
    if declared != "at+jwt" and any(name in claims for name in _FOREIGN_CLAIMS):
        raise _Refusal("token_type", "The token is not an access token.")
    # Keycloak and Cognito name the purpose in the claims: ID, Refresh, Logout; id.
    if str(claims.get("typ", "bearer")).lower() != "bearer" or claims.get("token_use", "access") != "access":
        raise _Refusal("token_type", "The token is not an access token.")
    if "cnf" in claims:
        # RFC 7800: only the holder of a key may use it, and a bearer request cannot prove to be that holder.
        raise _Refusal("token_bound", "The token is bound to a key and cannot be used as a bearer token.")


def _groups(claims: Mapping[str, Any], path: str) -> frozenset[str] | None:
    """Return the groups at the dotted `path`; None when the issuer says that it left them out.

    A claim whose own name is the whole path is taken first: names such as https://example.com/groups have dots.
    Microsoft Entra ID points with `_claim_names` to a place to fetch them from; nothing is ever fetched.
    """
    if "_claim_names" in claims or claims.get("hasgroups", False) is not False:
        return None
    value: Any = claims
    for name in [path] if path in claims else path.split("."):
        if not isinstance(value, dict) and value is not claims:
            raise _wrong_type("groups")
        if name not in value:
            return frozenset()
        value = value[name]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_GROUPS:
        raise _wrong_type("groups")
    if not all(isinstance(name, str) and _is_clean(name, MAX_TEXT) for name in names):
        raise _wrong_type("groups")
    return frozenset(names)


def _object(segment: bytes, detail: str) -> dict[str, Any]:
    try:
        return load_object(decode_segment(segment))
    except ValueError:
        raise _Refusal("token_malformed", detail) from None


def _present(claims: Mapping[str, Any], name: str) -> Any:
    if name not in claims:
        raise _Refusal("token_claim_missing", f"The token has no {name} claim.")
    return claims[name]


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = _present(claims, name)
    # Not isinstance: True is an int in Python and not a time.
    if type(value) is not int:
        raise _wrong_type(name)
    return value


def _text(claims: Mapping[str, Any], name: str, *, longest: int) -> str:
    value = _present(claims, name)
    if not isinstance(value, str) or not _is_clean(value, longest):
        raise _wrong_type(name)
    return value


def _wrong_type(name: str) -> _Refusal:
    return _Refusal("token_claim_type", f"The token's {name} claim has an unusable value.")


def _is_clean(text: str, longest: int) -> bool:
    """Return whether `text` has 1 to `longest` characters, without controls, line separators or lone surrogates."""
    if not 0 < len(text) <= longest:
        return False
    return text.isprintable() or not any(unicodedata.category(character) in _UNSAFE_CATEGORIES for character in text)


def _display(value: object, longest: int) -> str:
    """Return what may be shown of `value`; something odd in a display name costs the name, not the call."""
    if not isinstance(value, str):
        return ""
    shown = "".join(
        character for character in value[:longest] if unicodedata.category(character) not in _UNSAFE_CATEGORIES
    )
    return shown.strip()


def _short_type(token_type: str) -> str:
    """Return the type without `application/`; RFC 7515 section 4.1.9: media types compare without regard to case."""
    return token_type.lower().removeprefix("application/")
