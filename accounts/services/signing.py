"""Writes of the keys that sign the gateway's own tokens.

A key is published before it signs, so that whoever has the key set in a cache knows it in time, and stays published
until the last token that it signed has expired. Nothing stops while keys change: at every moment one key signs, and
every token that is good can be verified.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from accounts import issuing, sealing, vault
from accounts.exceptions import DomainError
from accounts.models import SigningKey

JWKS_CACHE_SECONDS: Final = 300
"""How long anybody may keep the published keys; the answer says so."""
PUBLISHED_AHEAD: Final = timedelta(seconds=2 * JWKS_CACHE_SECONDS)
PUBLISHED_BEHIND: Final = timedelta(seconds=issuing.MAX_TOKEN_SECONDS + 4 * issuing.LEEWAY_SECONDS)

_PLACE = "accounts_signingkey"
_LOCK = 0x57475349
"""The advisory lock under which keys change: two processes make one key, not two."""


class SigningKeyUnusable(DomainError):
    """The signing key does not open under the configured master keys."""

    code = "signing_key_unusable"

    def __init__(self) -> None:
        super().__init__("The signing key cannot be opened: put its master key back, or withdraw it to get a new one.")


@transaction.atomic
def signing_key_rotate(*, now: datetime) -> SigningKey:
    """Make the next key, publish it at once, and let it sign when every cache knows it; the first key signs at once.

    A key that waits for its turn already is returned as it is, so that nothing is won by asking twice.

    Raises:
        MasterKeysUnusable: the private key cannot be sealed.
    """
    _take_turns()
    waiting = SigningKey.objects.filter(signs_from__gt=now).order_by("signs_from").first()
    if waiting is not None:
        return waiting
    is_first = not SigningKey.objects.filter(signs_from__lte=now, signs_until__gt=now).exists()
    key = _made(signs_from=now if is_first else now + PUBLISHED_AHEAD, now=now)
    for row in SigningKey.objects.filter(signs_until__gt=key.signs_from).exclude(pk=key.pk):
        _end_signing(row, key.signs_from)
    return key


@transaction.atomic
def signing_key_withdraw(*, kid: str, now: datetime) -> SigningKey:
    """Stop trusting a key at once, because somebody else may have it: every token that it signed is refused.

    Returns the key that signs from now on.

    Raises:
        SigningKey.DoesNotExist: there is no such key.
        MasterKeysUnusable: there is no other key, and a new one cannot be sealed.
    """
    _take_turns()
    key = SigningKey.objects.get(pk=kid)
    key.signs_until = min(key.signs_until, now)
    key.published_until = min(key.published_until, now)
    _forget_private_key(key)
    key.save()
    current = _signing_at(now)
    if current is None:
        # The next key may be waiting for caches to learn of it; better a cache that asks again than nobody who signs.
        waiting = SigningKey.objects.filter(signs_from__gt=now).order_by("signs_from").first()
        current = waiting or _made(signs_from=now, now=now)
        current.signs_from = now
        current.save(update_fields=["signs_from"])
    return current


@transaction.atomic
def signing_keys_tend(*, now: datetime) -> bool:
    """Make the first key, rotate when the newest is WARDGATE_SIGNING_KEY_DAYS old, forget private keys that are over.

    Returns whether a new key was made.

    Raises:
        MasterKeysUnusable: a new key cannot be sealed.
    """
    _take_turns()
    for key in SigningKey.objects.filter(signs_until__lte=now).exclude(ciphertext=b""):
        _forget_private_key(key)
        key.save()
    newest = SigningKey.objects.order_by("-signs_from").first()
    if newest is not None and now < newest.signs_from + timedelta(days=settings.WARDGATE_SIGNING_KEY_DAYS):
        return False
    signing_key_rotate(now=now)
    return True


def signing_keys_seal_again() -> tuple[int, int]:
    """Seal the private keys under the first master key; return how many moved, and how many do not open.

    Private keys that are forgotten count as neither.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return sealing.rows_seal_again(SigningKey.objects.exclude(ciphertext=b""), place=_PLACE)


def signing_key_state(key: SigningKey, now: datetime) -> str:
    """Return what the key does at `now`: waits, signs, verifies (what it signed is still good), or is over."""
    if now >= key.published_until:
        return "over"
    if now >= key.signs_until:
        return "verifies"
    return "signs" if now >= key.signs_from else "waits"


def signer_at(now: datetime) -> issuing.Signer:
    """Return the key that signs at `now`; where there is none, make it.

    Raises:
        SigningKeyUnusable: its private key does not open.
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    key = _signing_at(now) or signing_key_rotate(now=now)
    kept = vault.Sealed(key.key_id, bytes(key.wrapped_key), bytes(key.ciphertext))
    try:
        secret = sealing.opened(kept, place=_PLACE, row_id=key.kid)
    except vault.CannotOpen:
        raise SigningKeyUnusable from None
    return issuing.Signer.opened(key.kid, secret.reveal())


def _signing_at(now: datetime) -> SigningKey | None:
    keys = SigningKey.objects.filter(signs_from__lte=now, signs_until__gt=now)
    return keys.order_by("-signs_from").first()


def _made(*, signs_from: datetime, now: datetime) -> SigningKey:
    """Save a new key. It signs until its successor does; where no sweep ever runs, for twice its age."""
    signer = issuing.Signer.new()
    kept = sealing.sealed(signer.private_pem().decode(), place=_PLACE, row_id=signer.kid)
    signs_until = signs_from + 2 * timedelta(days=settings.WARDGATE_SIGNING_KEY_DAYS)
    return SigningKey.objects.create(
        kid=signer.kid,
        algorithm=issuing.ALGORITHM,
        public_jwk=signer.public_jwk(),
        key_id=kept.key_id,
        wrapped_key=kept.wrapped_key,
        ciphertext=kept.ciphertext,
        created_at=now,
        signs_from=signs_from,
        signs_until=signs_until,
        published_until=signs_until + PUBLISHED_BEHIND,
    )


def _end_signing(key: SigningKey, moment: datetime) -> None:
    key.signs_until = moment
    key.published_until = moment + PUBLISHED_BEHIND
    key.save(update_fields=["signs_until", "published_until"])


def _forget_private_key(key: SigningKey) -> None:
    key.wrapped_key = key.ciphertext = b""


def _take_turns() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
