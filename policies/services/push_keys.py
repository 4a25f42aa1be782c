"""The key pair that push services know this gateway by: made when it is first needed, sealed, and always the same.

Every browser's subscription is bound to it. Another key would end all of them, so it is not replaced by time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import connection, transaction

from accounts import sealing, vault
from accounts.exceptions import DomainError
from policies.models import PushKey
from policies.notices import vapid

PLACE: Final = "policies_pushkey"
_LOCK = 0x57475055
"""The advisory lock under which it is made: two processes make one key, not two."""


class PushKeyUnusable(DomainError):
    """The key does not open under the configured master keys."""

    code = "push_key_unusable"

    def __init__(self) -> None:
        super().__init__("The key for web push cannot be opened: put its master key back.")


def push_public_key(*, now: datetime) -> str:
    """Return the public half, as browsers take it.

    Raises:
        MasterKeysUnusable: there is none yet, and it cannot be sealed.
    """
    return _row(now).public


def push_key(*, now: datetime) -> vapid.PushKey:
    """Return the key pair; where there is none, make it.

    Raises:
        PushKeyUnusable: it cannot be opened.
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    row = _row(now)
    kept = vault.Sealed(row.key_id, bytes(row.wrapped_key), bytes(row.ciphertext))
    try:
        return vapid.PushKey.opened(sealing.opened(kept, place=PLACE, row_id=row.pk).reveal())
    except vault.CannotOpen:
        raise PushKeyUnusable from None


def _row(now: datetime) -> PushKey:
    return PushKey.objects.order_by("created_at").first() or _made(now)


@transaction.atomic
def _made(now: datetime) -> PushKey:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    known = PushKey.objects.order_by("created_at").first()
    if known is not None:
        return known
    key, row = vapid.PushKey.new(), PushKey(created_at=now)
    kept = sealing.sealed(key.private_pem().decode(), place=PLACE, row_id=row.pk)
    row.public, row.key_id, row.wrapped_key, row.ciphertext = (
        key.public(),
        kept.key_id,
        kept.wrapped_key,
        kept.ciphertext,
    )
    row.save()
    return row
