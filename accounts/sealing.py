"""Secrets of rows in this app, sealed under the configured master keys and bound to their place.

Every secret names its place: what it is, and the id of its row. A ciphertext that is copied elsewhere does not open.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts import vault
from accounts.exceptions import MasterKeysUnusable


def sealed(secret: str, *, place: str, row_id: object) -> vault.Sealed:
    """Return `secret` sealed for the row `row_id` of `place`, such as accounts_identityprovider.introspection.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return vault.seal(_ring(), secret.encode(), aad=_binding(place, row_id))


def opened(kept: vault.Sealed, *, place: str, row_id: object) -> vault.Secret:
    """Return the secret that was sealed for the same place and row.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
        vault.CannotOpen: its master key is gone, or it was changed or moved.
    """
    return vault.open_sealed(_ring(), kept, aad=_binding(place, row_id))


def sealed_again(kept: vault.Sealed, *, place: str, row_id: object) -> vault.Sealed:
    """Return the secret sealed under the first master key; the same object when it is so already.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
        vault.CannotOpen: as `opened`.
    """
    return vault.rewrap(_ring(), kept, aad=_binding(place, row_id))


def rows_seal_again(rows: QuerySet[Any], *, place: str) -> tuple[int, int]:
    """Seal the secrets of `rows` under the first master key; return how many moved, and how many do not open.

    Each row is locked and saved in a transaction of its own, so that everything else goes on meanwhile. One that is
    none of `rows` any more when its turn comes, because it was deleted or its secret forgotten, is passed over.

    Args:
        rows: rows that have a secret, in columns `key_id`, `wrapped_key` and `ciphertext`.
        place: what the secrets were sealed for, with the primary key as the id of the row.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    moved = stuck = 0
    for row_id in rows.values_list("pk", flat=True):
        with transaction.atomic():
            row = rows.select_for_update().filter(pk=row_id).first()
            if row is None:
                continue
            kept = vault.Sealed(row.key_id, bytes(row.wrapped_key), bytes(row.ciphertext))
            try:
                again = sealed_again(kept, place=place, row_id=row.pk)
            except vault.CannotOpen:
                stuck += 1
                continue
            if again is not kept:
                row.key_id, row.wrapped_key, row.ciphertext = again.key_id, again.wrapped_key, again.ciphertext
                row.save(update_fields=["key_id", "wrapped_key", "ciphertext"])
                moved += 1
    return moved, stuck


def _binding(place: str, row_id: object) -> bytes:
    return f"{place}|{row_id}".encode()


def _ring() -> vault.KeyRing:
    try:
        return vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    except vault.VaultSealed:
        raise MasterKeysUnusable from None
