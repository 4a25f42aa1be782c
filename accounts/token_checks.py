"""The ladder of checks that a well-formed token has to climb, each with its stable code. Pure.

`accounts.tokens` runs them in order and stops at the first that fails; `accounts.token_report` runs them all and says
what each found. Because both run the same list, what a report says is what a call would get.

Sources: RFC 7515 section 4.1.9, RFC 7519 section 4.1, RFC 7800, RFC 8693 section 4.1, RFC 8725, RFC 9068, OpenID
Connect Core 1.0 section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import claims as read
from .claims import ClaimRefused
from .keys import KeySet, VerifyingKey
from .token_values import Provider, Unverified

_DEFAULT_TYPES = frozenset({"at+jwt", "jwt", ""})
# An ID token proves a login to one client and a logout or event token proves nothing about a call. Typed access tokens
# (RFC 9068) may carry any of these claims; an untyped token that does is taken for what the claim belongs to.
_FOREIGN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash", "events")


@dataclass(frozen=True, slots=True)
class Case:
    """A token that is judged, and everything by which it is judged."""

    token: Unverified
    provider: Provider
    keys: KeySet
    now: float
    audience: str

    @property
    def claims(self) -> Mapping[str, Any]:
        """What the token claims."""
        return self.token._claims


@dataclass(frozen=True, slots=True)
class Check:
    """One step of the ladder: `run` returns what it found or raises `ClaimRefused`.

    `after` names the checks without which this one has nothing to say; `verify` never comes so far, a report does.
    """

    rule: str
    run: Callable[[Case], Any]
    after: tuple[str, ...] = ()


def _issuer(case: Case) -> None:
    if case.token.issuer != case.provider.issuer:
        raise ClaimRefused("token_issuer", "The token's issuer is not the one that was expected.")


def _algorithm(case: Case) -> None:
    if case.token.algorithm not in case.provider.algorithms:
        raise ClaimRefused("token_algorithm", "The token's signature algorithm is not accepted from this issuer.")


def _type(case: Case) -> None:
    accepted = frozenset(map(_short_type, case.provider.token_types)) or _DEFAULT_TYPES
    if _short_type(case.token._type) not in accepted:
        raise ClaimRefused("token_type", "The token's type is not accepted from this issuer.")


def _key(case: Case) -> VerifyingKey:
    key = case.keys.get(case.token.key_id, case.token.algorithm)
    if key is None:
        raise ClaimRefused("token_key_unknown", "The key that signed the token is not known for this issuer.")
    return key


def _signature(case: Case) -> None:
    token = case.token
    if not _key(case).verifies(token.algorithm, token._message, token._signature):
        raise ClaimRefused("token_signature", "The token's signature is not valid.")


def _subject(case: Case) -> str:
    path = case.provider.subject_claim
    if path != "sub" and "sub" in case.claims:
        # Not the key here, and yet nothing odd may stand in it: the kind is judged by it.
        read.text(case.claims, "sub")
    return read.text(case.claims, "sub") if path == "sub" else read.text_at(case.claims, path)


def _expires_at(case: Case) -> int:
    return read.seconds(case.claims, "exp")


def _issued_at(case: Case) -> int:
    return read.seconds(case.claims, "iat")


def _not_before(case: Case) -> int:
    is_needed = case.provider.requires_nbf or "nbf" in case.claims
    return read.seconds(case.claims, "nbf" if is_needed else "iat")


def _not_expired(case: Case) -> None:
    if case.now >= case.claims["exp"] + case.provider.leeway_seconds:
        raise ClaimRefused("token_expired", "The token has expired.")


def _valid_already(case: Case) -> None:
    if "nbf" in case.claims and case.now < case.claims["nbf"] - case.provider.leeway_seconds:
        raise ClaimRefused("token_not_yet_valid", "The token is not valid yet.")


def _issued_already(case: Case) -> None:
    if case.now < case.claims["iat"] - case.provider.leeway_seconds:
        raise ClaimRefused("token_not_yet_valid", "The token was issued in the future.")


def _lifetime(case: Case) -> None:
    lifetime = case.claims["exp"] - case.claims["iat"]
    if lifetime > case.provider.max_token_seconds:
        raise ClaimRefused("token_lifetime", "The token is valid for longer than this issuer may grant.")
    if lifetime <= 0:
        raise ClaimRefused("token_lifetime", "The token ends before it was issued.")


def _audience(case: Case) -> frozenset[str]:
    audiences = read.audiences(case.claims)
    if case.audience not in audiences and case.provider.audiences.isdisjoint(audiences):
        raise ClaimRefused("token_audience", "The token was made for another audience.")
    return audiences


def _purpose(case: Case) -> None:
    """Refuse tokens that are genuine and ours, and yet not access tokens."""
    claims = case.claims
    if _short_type(case.token._type) != "at+jwt" and any(name in claims for name in _FOREIGN_CLAIMS):
        raise ClaimRefused("token_type", "The token is not an access token.")
    # Keycloak and Cognito name the purpose in the claims: ID, Refresh, Logout; id.
    if str(claims.get("typ", "bearer")).lower() != "bearer" or claims.get("token_use", "access") != "access":
        raise ClaimRefused("token_type", "The token is not an access token.")


def _bearer(case: Case) -> None:
    """Refuse a token that only the holder of a key may use (RFC 7800): a bearer request cannot prove to be that."""
    if "cnf" in case.claims:
        raise ClaimRefused("token_bound", "The token is bound to a key and cannot be used as a bearer token.")


def _clients(case: Case) -> tuple[str, ...]:
    return read.clients(case.claims)


def _party(case: Case) -> None:
    """Refuse a token of a client that is not accepted; one that names several needs all of them to be."""
    accepted = case.provider.authorized_parties
    if accepted and not ((named := read.clients(case.claims)) and accepted.issuperset(named)):
        raise ClaimRefused("token_party", "The token was given to a client that is not accepted from this issuer.")


def _tenant(case: Case) -> None:
    provider = case.provider
    if provider.tenants and read.text_at(case.claims, provider.tenant_claim) not in provider.tenants:
        raise ClaimRefused("token_tenant", "The token belongs to a tenant that is not accepted from this issuer.")


def _required(case: Case) -> None:
    for path, accepted in case.provider.required_claims.items():
        if not read.holds_one_of(case.claims, path, accepted):
            raise ClaimRefused("token_claim_required", f"The token's {path} claim is not what this issuer needs.")


def _token_groups(case: Case) -> frozenset[str] | None:
    """Return the groups of the token; None when it does not say which there are."""
    if read.has_left_groups_out(case.claims):
        return None
    groups = read.texts_at(case.claims, case.provider.groups_claim, "groups")
    if groups is None:
        return None if case.provider.missing_groups_are_unknown else frozenset()
    return groups


def _roles(case: Case) -> frozenset[str]:
    path = case.provider.roles_claim
    return (path and read.texts_at(case.claims, path, "roles")) or frozenset()


def _token_id(case: Case) -> str:
    return read.text(case.claims, "jti") if "jti" in case.claims else ""


def _session_id(case: Case) -> str:
    return read.text(case.claims, "sid") if "sid" in case.claims else ""


CHECKS: Final = (
    Check("issuer", _issuer),
    Check("algorithm", _algorithm),
    Check("type", _type),
    Check("key", _key, after=("algorithm",)),
    Check("signature", _signature, after=("key",)),
    Check("subject", _subject),
    Check("exp", _expires_at),
    Check("iat", _issued_at),
    Check("nbf", _not_before, after=("iat",)),
    Check("not_expired", _not_expired, after=("exp",)),
    Check("valid_already", _valid_already, after=("nbf",)),
    Check("issued_already", _issued_already, after=("iat",)),
    Check("lifetime", _lifetime, after=("exp", "iat")),
    Check("audience", _audience),
    Check("purpose", _purpose),
    Check("bearer", _bearer),
    Check("tenant", _tenant),
    Check("clients", _clients),
    Check("party", _party, after=("clients",)),
    Check("required", _required),
    Check("groups", _token_groups),
    Check("roles", _roles),
    Check("actors", lambda case: read.actors(case.claims)),
    Check("token_id", _token_id),
    Check("session_id", _session_id),
)
"""The ladder after `peek`, first failure wins. What was refused first is what the caller is told."""


def _short_type(token_type: str) -> str:
    """Return the type without `application/`; RFC 7515 section 4.1.9: media types compare without regard to case."""
    return token_type.lower().removeprefix("application/")
