"""Whether a logout token or a security event token is genuine and meant for us, and what it says. Pure.

Both are JWTs that an issuer pushes instead of a caller bringing them: nobody acts with one, so nothing here ever
becomes an `Identity`. They pass the same pre-checks as access tokens (`tokens.peek`: length, canonical base64url,
strict JSON, asymmetric algorithms, no header that brings a key) and are told apart from every other JWT of the issuer
by type and by what must and must not be in them.

A security event is about a subject. Only identifiers that are keys here are accepted: issuer and subject, an opaque id
(the subject at the provider), a session, a token. An e-mail address or a telephone number recognises nobody.

Sources: OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6; RFC 8417 (security event tokens) section 2; RFC
9493 (subject identifiers) section 3; OpenID Shared Signals Framework 1.0 section 4; CAEP 1.0 section 3; RISC 1.0
section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from . import claims as read
from . import tokens
from .claims import ClaimRefused
from .keys import KeySet
from .tokens import Rejected, Unverified

LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_MAX_AGE_SECONDS: Final = 600
"""Oldest logout token: a provider sends one while somebody logs out, and does not try for long."""
EVENT_MAX_AGE_SECONDS: Final = 7 * 86_400
"""Oldest security event token: a transmitter keeps what it could not deliver during an outage."""
MAX_EVENTS: Final = 16
MAX_ALIASES: Final = 16

_CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH: Final = "https://schemas.openid.net/secevent/oauth/event-type/"

_LOGOUT_TYPES = frozenset({"logout+jwt", "jwt", ""})
_EVENT_TYPES = frozenset({"secevent+jwt"})
_RISC_REASONS = frozenset({"hijacking", "bulk-account"})


class Effect(StrEnum):
    """What an event means here."""

    REVOKE_SESSION = "revoke_session"
    REVOKE_SUBJECT = "revoke_subject"
    DISABLE = "disable"
    ENABLE = "enable"


EFFECTS: Final[Mapping[str, Effect]] = {
    _CAEP + "session-revoked": Effect.REVOKE_SESSION,
    _CAEP + "token-claims-change": Effect.REVOKE_SUBJECT,
    _CAEP + "credential-change": Effect.REVOKE_SUBJECT,
    _RISC + "sessions-revoked": Effect.REVOKE_SUBJECT,
    _RISC + "account-credential-change-required": Effect.REVOKE_SUBJECT,
    _RISC + "credential-compromise": Effect.REVOKE_SUBJECT,
    _OAUTH + "tokens-revoked": Effect.REVOKE_SUBJECT,
    _RISC + "account-disabled": Effect.DISABLE,
    _RISC + "account-purged": Effect.DISABLE,
    _RISC + "account-enabled": Effect.ENABLE,
}
"""Every event that changes something. All others are acknowledged and change nothing, as RFC 8417 section 2.2 asks."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to agree with.

    `subject_issuers` are the issuers of the subjects that it may speak about; opaque ids are of the first.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    leeway_seconds: int
    subject_issuers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A session or a person logged out at the provider: `session_id` or `subject` is there, or both."""

    issuer: str
    token_id: str
    issued_at: int
    subject: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Who or what an event is about, by keys of `issuer`; what is not named is empty.

    `is_part` says that the event names less than the whole account, such as the account on one device.
    """

    issuer: str
    subject: str = ""
    session_id: str = ""
    token_id: str = ""
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event with an effect. `at` is when it happened, in seconds since 1970, never in the future."""

    name: str
    effect: Effect
    subject: Subject
    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SecurityEvents:
    """A security event token that verified; `ignored` are the names of its events without an effect here."""

    issuer: str
    token_id: str
    issued_at: int
    occurrences: tuple[Occurrence, ...]
    ignored: tuple[str, ...]


def logout_token(raw: bytes, *, expected: Expected, keys: KeySet, now: float) -> LogoutToken | Rejected:
    """Return what the logout token `raw` says, or why it says nothing to us. `now` is in seconds since 1970."""
    try:
        token = _opened(raw)
        _check_signed(token, expected, keys, _LOGOUT_TYPES)
        claims = token._claims
        token_id, issued_at = _check_claims(claims, expected, now, LOGOUT_MAX_AGE_SECONDS)
        if "nonce" in claims:
            # Section 2.4 forbids it, so that no ID token can be passed off as a logout token.
            raise ClaimRefused("token_type", "The token is not a logout token.")
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
            raise ClaimRefused("token_type", "The token is not a logout token.")
        subject = read.text(claims, "sub") if "sub" in claims else ""
        session_id = read.text(claims, "sid") if "sid" in claims else ""
        if not subject and not session_id:
            raise ClaimRefused("token_claim_missing", "The token names neither a subject nor a session.")
        return LogoutToken(token.issuer, token_id, issued_at, subject, session_id)
    except ClaimRefused as refusal:
        return Rejected(refusal.code, refusal.detail)


def security_events(raw: bytes, *, expected: Expected, keys: KeySet, now: float) -> SecurityEvents | Rejected:
    """Return what the security event token `raw` says, or why it says nothing to us. `now` is in seconds since 1970."""
    try:
        token = _opened(raw)
        _check_signed(token, expected, keys, _EVENT_TYPES)
        claims = token._claims
        token_id, issued_at = _check_claims(claims, expected, now, EVENT_MAX_AGE_SECONDS)
        if "sub" in claims:
            # Shared Signals section 4.1.3 forbids it: the event could be taken for a token of the subject.
            raise ClaimRefused("token_claim_type", "A security event names its subject in sub_id, not in sub.")
        events = read.present(claims, "events")
        if not isinstance(events, dict) or not 0 < len(events) <= MAX_EVENTS:
            raise read.wrong_type("events")
        if not all(read.is_clean(name, read.MAX_ISSUER) and isinstance(body, dict) for name, body in events.items()):
            raise read.wrong_type("events")
        known = [name for name in events if name in EFFECTS]
        return SecurityEvents(
            token.issuer,
            token_id,
            issued_at,
            tuple(_occurrence(name, events[name], claims, expected, min(issued_at, int(now)), now) for name in known),
            tuple(name for name in events if name not in EFFECTS),
        )
    except ClaimRefused as refusal:
        return Rejected(refusal.code, refusal.detail)


def _opened(raw: bytes) -> Unverified:
    peeked = tokens.peek(raw)
    if isinstance(peeked, Rejected):
        raise ClaimRefused(peeked.code, peeked.detail)
    return peeked


def _check_signed(token: Unverified, expected: Expected, keys: KeySet, types: frozenset[str]) -> None:
    if token.issuer != expected.issuer:
        raise ClaimRefused("token_issuer", "The token's issuer is not the one that was expected.")
    if token.algorithm not in expected.algorithms:
        raise ClaimRefused("token_algorithm", "The token's signature algorithm is not accepted from this issuer.")
    if token._type.lower().removeprefix("application/") not in types:
        raise ClaimRefused("token_type", "The token's type is not the one that is received here.")
    key = keys.get(token.key_id, token.algorithm)
    if key is None:
        raise ClaimRefused("token_key_unknown", "The key that signed the token is not known for this issuer.")
    if not key.verifies(token.algorithm, token._message, token._signature):
        raise ClaimRefused("token_signature", "The token's signature is not valid.")


def _check_claims(claims: Mapping[str, Any], expected: Expected, now: float, max_age: int) -> tuple[str, int]:
    """Return `jti` and `iat` after audience and times were found good."""
    if expected.audiences.isdisjoint(read.audiences(claims)):
        raise ClaimRefused("token_audience", "The token was made for another audience.")
    issued_at = read.seconds(claims, "iat")
    leeway = expected.leeway_seconds
    if now < issued_at - leeway or ("nbf" in claims and now < read.seconds(claims, "nbf") - leeway):
        raise ClaimRefused("token_not_yet_valid", "The token was issued in the future.")
    if now >= issued_at + max_age + leeway or ("exp" in claims and now >= read.seconds(claims, "exp") + leeway):
        raise ClaimRefused("token_expired", "The token is too old.")
    return read.text(claims, "jti"), issued_at


def _occurrence(
    name: str, body: Mapping[str, Any], claims: Mapping[str, Any], expected: Expected, issued_at: int, now: float
) -> Occurrence:
    """Return one event. Drafts of CAEP and RISC put the subject into the event; Shared Signals 1.0 puts it above."""
    sources = ((claims, "sub_id"), (body, "subject"))
    places = [source[member] for source, member in sources if member in source]
    if not places:
        raise ClaimRefused("token_claim_missing", "The event names no subject.")
    if any(place != places[0] for place in places):
        raise ClaimRefused("token_claim_type", "The event names two subjects.")
    subject = _subject(places[0], expected)
    effect = EFFECTS[name]
    if effect in {Effect.DISABLE, Effect.ENABLE} and not subject.subject:
        raise _unusable_subject("The event is about an account, and its subject is none.")
    if effect is Effect.ENABLE and (subject.is_part or subject.session_id):
        raise _unusable_subject("A part of an account cannot be enabled alone.")
    happened_at = _moment(body, "event_timestamp", _moment(claims, "toe", issued_at))
    reason = body.get("reason")
    return Occurrence(
        name=name.rpartition("/")[2],
        effect=effect,
        subject=subject,
        at=max(0, min(happened_at, int(now))),
        reason=reason if isinstance(reason, str) and reason in _RISC_REASONS else "",
    )


def _moment(place: Mapping[str, Any], name: str, default: int) -> int:
    """Return a NumericDate, which may have a fraction (RFC 7519 section 2)."""
    value = place.get(name, default)
    if type(value) is not int and type(value) is not float:
        raise read.wrong_type(name)
    return int(value)


def _subject(value: object, expected: Expected) -> Subject:
    """Return the subject that `value` identifies; RFC 9493, and the older spelling `subject_type` of RISC."""
    if not isinstance(value, dict):
        raise _unusable_subject("The event's subject is not an object.")
    form = _form(value)
    if form == "complex" or (not form and {"user", "session"} & value.keys()):
        return _complex(value, expected)
    if form == "aliases":
        return _aliases(value, expected)
    return _simple(form, value, expected)


def _simple(form: str, value: Mapping[str, Any], expected: Expected) -> Subject:
    if form == "iss_sub":
        return Subject(_issuer(value, expected), subject=read.text(value, "sub"))
    if form == "opaque":
        return Subject(expected.subject_issuers[0], subject=read.text(value, "id"))
    if form == "jwt_id":
        return Subject(_issuer(value, expected), token_id=read.text(value, "jti"))
    raise _unusable_subject("A subject is recognised by issuer and subject, an opaque id, a session or a token id.")


def _complex(value: Mapping[str, Any], expected: Expected) -> Subject:
    """Return the user, the session, or the session of the user; further members only narrow."""
    user = _part(value, "user", ("iss_sub", "opaque", "aliases"), expected)
    session = _part(value, "session", ("opaque", "jwt_id"), expected)
    is_part = bool(value.keys() - {"format", "subject_type", "user", "session", "tenant"})
    if user is None and session is None:
        raise _unusable_subject("The event's subject names neither a user nor a session.")
    found = user or Subject(expected.subject_issuers[0])
    if session is not None:
        # A session has no subject of its own: what identifies it is the session's id.
        found = replace(found, session_id=session.subject, token_id=session.token_id)
    return replace(found, is_part=is_part)


def _part(value: Mapping[str, Any], name: str, forms: tuple[str, ...], expected: Expected) -> Subject | None:
    """Return the subject in the member `name`, which must have one of `forms`."""
    if name not in value:
        return None
    part = value[name]
    if not isinstance(part, dict) or _form(part) not in forms:
        raise _unusable_subject(f"The {name} of the event's subject is not identified by one of {', '.join(forms)}.")
    return _subject(part, expected)


def _form(value: Mapping[str, Any]) -> str:
    named = value.get("format", value.get("subject_type", ""))
    return named.replace("-", "_") if isinstance(named, str) else ""


def _aliases(value: Mapping[str, Any], expected: Expected) -> Subject:
    """Return the one account that several identifiers name, of which we know some forms."""
    identifiers = value.get("identifiers")
    if not isinstance(identifiers, list) or not 0 < len(identifiers) <= MAX_ALIASES:
        raise _unusable_subject("The event's aliases cannot be read.")
    known = [entry for entry in identifiers if isinstance(entry, dict) and _form(entry) in {"iss_sub", "opaque"}]
    found = {_simple(_form(entry), entry, expected) for entry in known}
    if len(found) != 1:
        raise _unusable_subject("The event's aliases do not name exactly one account by issuer and subject.")
    return found.pop()


def _issuer(value: Mapping[str, Any], expected: Expected) -> str:
    issuer = read.text(value, "iss", longest=read.MAX_ISSUER)
    if issuer not in expected.subject_issuers:
        raise _unusable_subject("The event is about a subject of another issuer.")
    return issuer


def _unusable_subject(detail: str) -> ClaimRefused:
    return ClaimRefused("event_subject", detail)
