"""Whether an ID token proves a login to this console: raw token, provider, keys and the time in; who, or why not, out.

Pure. The ladder, first failure wins:

1. `tokens.peek`: length, canonical base64url, strict JSON, asymmetric algorithms only, no header that changes how the
   token is read.
2. Issuer, algorithm and type; the key by its id in the provider's own key set; the signature.
3. It was made for this client alone: `aud` is our client id, `azp` too where it is there, and with several audiences it
   must be. An access token, a logout token or a token of another client proves nothing here.
4. It was made now, for this very login: `exp`, `iat` at most ten minutes ago, our `nonce`, `at_hash` where it is there,
   and for a fresh proof `auth_time` not before it was asked for.
5. The tenant and the claims that the provider asks for, as for access tokens.

Sources: OpenID Connect Core 1.0 section 2 and 3.1.3.7, RFC 8725.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from . import claims as read
from .claims import ClaimRefused
from .keys import KeySet
from .token_values import Provider, Rejected, Unverified
from .tokens import MAX_EMAIL, peek

MAX_AGE_SECONDS: Final = 600
"""Oldest `iat`: the token was fetched a moment ago, so it was made a moment ago."""

_TYPES = frozenset({"", "jwt", "id_token"})
_NAME_CLAIMS = ("name", "preferred_username", "upn")
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups that claims name; `names` is None when they are unknown. `is_told`: the claims speak of groups."""

    names: frozenset[str] | None
    is_told: bool


@dataclass(frozen=True, slots=True)
class Login:
    """Whose login an ID token proves. The key is (issuer, subject); e-mail and name are for display only."""

    issuer: str
    subject: str
    own_subject: str = field(repr=False)
    """The token's `sub`, which that of the user info has to equal (OpenID Connect Core 1.0 section 5.3.2)."""
    groups: Groups
    display_name: str = field(repr=False)
    email: str = field(repr=False)
    session_id: str
    authenticated_at: int | None


def verify(
    raw: bytes,
    *,
    provider: Provider,
    keys: KeySet,
    client_id: str,
    nonce: str,
    access_token: str,
    now: float,
    authenticated_since: float | None = None,
) -> Login | Rejected:
    """Return the login that `raw` proves, or why it proves none.

    Args:
        raw: the ID token as it came from the token endpoint.
        provider: whose rules apply; its issuer must equal the token's to the letter.
        keys: the provider's keys, and nobody else's.
        client_id: the console's, at this provider.
        nonce: the one that was sent with the request for this login.
        access_token: what came along with it, for `at_hash`; empty when nothing came.
        now: seconds since 1970.
        authenticated_since: the person must have authenticated at this moment or later; None for any login.
    """
    token = peek(raw)
    if isinstance(token, Rejected):
        return token
    try:
        _check_origin(token, provider, keys)
        _check_client(token._claims, client_id)
        _check_moment(token._claims, provider, now)
        _check_request(token, nonce, access_token)
        return _login(token, provider, authenticated_since)
    except ClaimRefused as refusal:
        return Rejected(refusal.code, refusal.detail)


def with_groups(login: Login, groups: Groups) -> Login:
    """Return `login` with the groups that the user info told."""
    return replace(login, groups=groups)


def groups_in(claims: Mapping[str, Any], provider: Provider) -> Groups:
    """Return the groups and roles that `claims`, of an ID token or of user info, name.

    Raises:
        ClaimRefused: a claim has an unusable value.
    """
    if read.has_left_groups_out(claims):
        return Groups(None, True)
    roles = read.texts_at(claims, provider.roles_claim, "roles") if provider.roles_claim else None
    groups = read.texts_at(claims, provider.groups_claim, "groups")
    if groups is None and roles is None:
        return Groups(None if provider.missing_groups_are_unknown else frozenset(), False)
    return Groups((groups or frozenset()) | (roles or frozenset()), True)


def _check_origin(token: Unverified, provider: Provider, keys: KeySet) -> None:
    if token.issuer != provider.issuer:
        raise ClaimRefused("token_issuer", "The token's issuer is not the one that was expected.")
    if token.algorithm not in provider.algorithms:
        raise ClaimRefused("token_algorithm", "The token's signature algorithm is not accepted from this issuer.")
    if token._type.lower().removeprefix("application/") not in _TYPES:
        raise ClaimRefused("token_type", "The token is not an ID token.")
    key = keys.get(token.key_id, token.algorithm)
    if key is None:
        raise ClaimRefused("token_key_unknown", "The key that signed the token is not known for this issuer.")
    if not key.verifies(token.algorithm, token._message, token._signature):
        raise ClaimRefused("token_signature", "The token's signature is not valid.")


def _check_client(claims: Mapping[str, Any], client_id: str) -> None:
    audiences = read.audiences(claims)
    if client_id not in audiences:
        raise ClaimRefused("token_audience", "The token was made for another client.")
    if ("azp" in claims or len(audiences) > 1) and read.text(claims, "azp") != client_id:
        raise ClaimRefused("token_party", "The token was given to another client.")
    # Keycloak and Cognito name the purpose in the claims; logout and event tokens carry `events`.
    is_other = str(claims.get("typ", "ID")).lower() != "id" or claims.get("token_use", "id") != "id"
    if is_other or "events" in claims or "cnf" in claims:
        raise ClaimRefused("token_type", "The token is not an ID token.")


def _check_moment(claims: Mapping[str, Any], provider: Provider, now: float) -> None:
    leeway = provider.leeway_seconds
    expires_at, issued_at = read.seconds(claims, "exp"), read.seconds(claims, "iat")
    if now >= expires_at + leeway:
        raise ClaimRefused("token_expired", "The token has expired.")
    if now < issued_at - leeway or ("nbf" in claims and now < read.seconds(claims, "nbf") - leeway):
        raise ClaimRefused("token_not_yet_valid", "The token is not valid yet.")
    if now > issued_at + MAX_AGE_SECONDS + leeway or expires_at <= issued_at:
        raise ClaimRefused("token_too_old", "The token was not made for a login of this moment.")


def _check_request(token: Unverified, nonce: str, access_token: str) -> None:
    given = read.text(token._claims, "nonce")
    if not nonce or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise ClaimRefused("token_nonce", "The token was made for another login.")
    if "at_hash" in token._claims:
        expected = _half_hash(token.algorithm, access_token)
        if not hmac.compare_digest(read.text(token._claims, "at_hash").encode(), expected):
            raise ClaimRefused("token_at_hash", "The token belongs to another access token.")


def _half_hash(algorithm: str, access_token: str) -> bytes:
    """Return `at_hash` (OpenID Connect Core 1.0 section 3.1.3.6); Ed25519 signs with SHA-512."""
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")


def _login(token: Unverified, provider: Provider, authenticated_since: float | None) -> Login:
    claims = token._claims
    own_subject = read.text(claims, "sub")
    if provider.tenants and read.text(claims, provider.tenant_claim) not in provider.tenants:
        raise ClaimRefused("token_tenant", "The token is of a tenant that is not accepted.")
    for path, accepted in provider.required_claims.items():
        if not read.holds_one_of(claims, path, accepted):
            raise ClaimRefused("token_claim_required", "The token lacks a claim that this issuer's tokens must have.")
    authenticated_at = read.seconds(claims, "auth_time") if "auth_time" in claims else None
    if authenticated_since is not None and (
        authenticated_at is None or authenticated_at < authenticated_since - provider.leeway_seconds
    ):
        raise ClaimRefused("token_auth_time", "The identity provider did not ask for a fresh login.")
    names = (provider.name_claim, *_NAME_CLAIMS) if provider.name_claim else _NAME_CLAIMS
    return Login(
        issuer=token.issuer,
        subject=own_subject if provider.subject_claim == "sub" else read.text_at(claims, provider.subject_claim),
        own_subject=own_subject,
        groups=groups_in(claims, provider),
        display_name=next((shown for name in names if (shown := read.display(claims.get(name), read.MAX_TEXT))), ""),
        email=read.display(claims.get("email"), MAX_EMAIL),
        session_id=read.text(claims, "sid") if "sid" in claims else "",
        authenticated_at=authenticated_at,
    )
