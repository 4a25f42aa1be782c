"""Writes of the keys that sign checkpoints, releases and sealed recordings, and the signatures themselves.

One key signs at a time. The next one is vouched for by the one before it, so that whoever trusts a key of the record
can follow to all later ones; the private half of a key that has stopped signing is forgotten.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction

from accounts import sealing, vault
from accounts.exceptions import DomainError

from .models import CheckpointKey
from .statements import kid_of, signed_bytes

_PLACE = "gateway_sessions_checkpointkey"
LOCK = 0x5747434B
"""The advisory lock under which keys change and statements are chained: no checkpoint is signed by a key that went."""


class CheckpointKeyUnusable(DomainError):
    """The key of the record does not open under the configured master keys."""

    code = "checkpoint_key_unusable"

    def __init__(self) -> None:
        super().__init__(
            "The key that signs the record cannot be opened: put its master key back, or change to a new key without "
            "the old one's word for it."
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """An Ed25519 signature and the name of the key that made it."""

    kid: str
    signature: bytes


@transaction.atomic
def checkpoint_key_rotate(*, now: datetime, is_vouched_for: bool = True) -> CheckpointKey:
    """Sign with a new key from the next statement on.

    Args:
        now: the time.
        is_vouched_for: let the present key sign the new one. Not when somebody else may have the present key: then
            whoever verifies has to be told of the new one.

    Raises:
        CheckpointKeyUnusable: the present key cannot vouch.
        MasterKeysUnusable: the private half cannot be sealed.
    """
    take_turns()
    return _next_key(now, is_vouched_for=is_vouched_for)


def checkpoint_keys_seal_again() -> tuple[int, int]:
    """Seal the private half of the present key under the first master key; return how many moved, and how many cannot.

    Those of earlier keys are forgotten already, and count as neither.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return sealing.rows_seal_again(CheckpointKey.objects.exclude(ciphertext=b""), place=_PLACE)


def signed(purpose: str, body: bytes, *, now: datetime) -> Signature:
    """Sign a statement with the present key; the first one is made when there is none.

    Raises:
        CheckpointKeyUnusable: the key does not open.
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    with transaction.atomic():
        take_turns()
        key = _present() or _next_key(now, is_vouched_for=False)
        return Signature(key.kid, _opened(key).sign(signed_bytes(purpose, body)))


def present_kid(*, now: datetime) -> str:
    """Return the name of the key that signs; inside a transaction that took its turn it stays the one."""
    return (_present() or _next_key(now, is_vouched_for=False)).kid


def present_key_age(*, now: datetime) -> float | None:
    """Return for how many seconds the present key has signed, None when there is none."""
    key = _present()
    return None if key is None else (now - key.created_at).total_seconds()


def public_key_document(key: CheckpointKey) -> dict[str, Any]:
    """Return what anybody may know of a key, as exports and sinks carry it; bytes are base64."""
    return {
        "kid": key.kid,
        "public_key": base64.b64encode(bytes(key.public_key)).decode(),
        "created_at": key.created_at.isoformat(),
        "endorsed_by": key.endorsed_by,
        "endorsement": base64.b64encode(bytes(key.endorsement)).decode(),
    }


def public_keys() -> list[dict[str, Any]]:
    """Return all public keys, the first one first."""
    return [public_key_document(key) for key in CheckpointKey.objects.order_by("created_at", "kid")]


def take_turns() -> None:
    """Wait until no other transaction chains statements or changes keys, until the end of this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _present() -> CheckpointKey | None:
    return CheckpointKey.objects.filter(signs_until=None).order_by("-created_at").first()


def _next_key(now: datetime, *, is_vouched_for: bool) -> CheckpointKey:
    present = _present()
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    vouching = _opened(present) if present is not None and is_vouched_for else None
    kid = kid_of(public)
    kept = sealing.sealed(private.private_bytes_raw().hex(), place=_PLACE, row_id=kid)
    CheckpointKey.objects.filter(signs_until=None).update(signs_until=now, wrapped_key=b"", ciphertext=b"")
    return CheckpointKey.objects.create(
        kid=kid,
        public_key=public,
        key_id=kept.key_id,
        wrapped_key=kept.wrapped_key,
        ciphertext=kept.ciphertext,
        created_at=now,
        endorsed_by=present.kid if present is not None and vouching is not None else "",
        endorsement=b"" if vouching is None else vouching.sign(signed_bytes("key", public)),
    )


def _opened(key: CheckpointKey) -> Ed25519PrivateKey:
    kept = vault.Sealed(key.key_id, bytes(key.wrapped_key), bytes(key.ciphertext))
    try:
        secret = sealing.opened(kept, place=_PLACE, row_id=key.kid)
    except vault.CannotOpen:
        raise CheckpointKeyUnusable from None
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret.reveal().decode()))
