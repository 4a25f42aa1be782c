"""Tokens for the REST API and the receivers beside it: their form, and who a presented one speaks for.

A token is `wg_`, 8 characters that find its row, 43 of secret (256 bits), and 6 of checksum, all of them letters and
digits: one word for whoever selects it, one pattern for scanners of leaked secrets. The checksum refuses what was
mistyped or made up before the database is asked. The row keeps the SHA-256 of the whole token: against 256 bits of
randomness a slow hash would add nothing but time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from accounts.exceptions import DomainError
from accounts.models import ApiToken, Lock, in_force

TOKEN_PREFIX: Final = "wg_"  # noqa: S105 - a form, not a secret
PREFIX_LENGTH: Final = len(TOKEN_PREFIX) + 8
USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)

_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(rf"wg_[0-9A-Za-z]{{{8 + _SECRET_LENGTH + _CHECKSUM_LENGTH}}}")
_NO_DIGEST = "0" * 64
_BEARER = re.compile(r"bearer (\S+)", re.IGNORECASE)


class ApiTokenRefused(DomainError):
    """The request brings no API token that is good here. `code` says why; nothing of the token is repeated."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class ScopeMissing(ApiTokenRefused):
    """The token is good and was not made for this."""

    def __init__(self, scope: str | None) -> None:
        detail = (
            "API tokens cannot be used here."
            if scope is None
            else f"The API token does not have the scope {scope}. Make one that does."
        )
        super().__init__("scope_missing", detail)


def made() -> str:
    """Return a new token; the only time that anybody sees it."""
    body = TOKEN_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(8 + _SECRET_LENGTH))
    return body + _checksum(body)


def prefix_of(token: str) -> str:
    """Return the characters that name the token without being secret."""
    return token[:PREFIX_LENGTH]


def digest_of(token: str) -> str:
    """Return what a row keeps of the token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def has_form(token: str) -> bool:
    """Return whether `token` is written as ours are, checksum included."""
    return _FORM.fullmatch(token) is not None and _checksum(token[:-_CHECKSUM_LENGTH]) == token[-_CHECKSUM_LENGTH:]


def authenticate(header: str, *, scope: str | None, now: datetime, address: str) -> ApiToken:
    """Return the token that the Authorization `header` brings, with its user and provider loaded.

    The caller still has to ask for the user's permissions: a scope gives none.

    Args:
        header: the whole value of the header, `Bearer wg_...`.
        scope: what the token must have been made for; None when no token may be used here.
        now: the moment of the request.
        address: from where it came; kept with the time of the last use, which is noted once a minute.

    Raises:
        ScopeMissing: the token is good, and not for this.
        ApiTokenRefused: missing, malformed, unknown, expired or revoked, or its user or provider is out of action.
    """
    token = _found(_presented(header))
    _refuse_what_has_ended(token, now)
    _refuse_who_was_stopped(token, now)
    if scope is None or scope not in token.scopes:
        raise ScopeMissing(scope)
    _note_use(token, now, address)
    return token


def _presented(header: str) -> str:
    if not header:
        raise ApiTokenRefused("token_missing", "Send an API token: Authorization: Bearer, a space, the token.")
    found = _BEARER.fullmatch(header)
    if found is None or not has_form(found[1]):
        raise ApiTokenRefused("token_malformed", "The Authorization header does not hold an API token of Wardgate.")
    return found[1]


def _found(presented: str) -> ApiToken:
    """Return the row; comparing in constant time, and also when there is none."""
    token = ApiToken.objects.select_related("user__principal", "provider").filter(prefix=prefix_of(presented)).first()
    is_same = hmac.compare_digest(_NO_DIGEST if token is None else token.digest, digest_of(presented))
    if token is None or not is_same:
        raise ApiTokenRefused("token_unknown", "There is no such API token.")
    return token


def _refuse_what_has_ended(token: ApiToken, now: datetime) -> None:
    if token.revoked_at is not None:
        raise ApiTokenRefused("token_revoked", "The API token was revoked.")
    if now >= token.expires_at:
        raise ApiTokenRefused("token_expired", "The API token has expired. Make a new one.")


def _refuse_who_was_stopped(token: ApiToken, now: datetime) -> None:
    """Refuse a token whose person may no longer log in, or whose principal or provider is locked."""
    if not token.user.is_active:
        raise ApiTokenRefused("user_inactive", "The account of this API token is not active.")
    if token.provider is not None and not token.provider.is_active:
        raise ApiTokenRefused("provider_inactive", "The identity provider of this API token is not active.")
    targets = Q(pk__in=[])
    if token.provider is not None:
        targets |= Q(kind=Lock.Kind.PROVIDER, provider=token.provider)
    principal = token.user.principal
    if principal is not None:
        targets |= Q(kind=Lock.Kind.PRINCIPAL, principal=principal)
        targets |= Q(kind=Lock.Kind.PROVIDER, provider__issuer=principal.issuer)
    if Lock.objects.filter(targets, in_force(now)).exists():
        raise ApiTokenRefused("locked", "The person or identity provider of this API token is locked.")


def _note_use(token: ApiToken, now: datetime, address: str) -> None:
    """Keep when and from where the token was used; at most once a minute, so that reading does not become writing."""
    if token.last_used_at is not None and now - token.last_used_at < USE_IS_NOTED_EVERY:
        return
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=now, last_used_address=address[:64])
    token.last_used_at, token.last_used_address = now, address[:64]


def _checksum(text: str) -> str:
    number, written = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        written = _ALPHABET[digit] + written
    return written
