"""Secrets of rows in this app, sealed under the configured master keys and bound to their place.

Every secret names its place: what it is, and the id of its row. A ciphertext that is copied elsewhere does not open.
"""

from __future__ import annotations

from collections.abc import Callable
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
    return vault.seal(key_ring(), secret.encode(), aad=binding(place, row_id))


def opened(kept: vault.Sealed, *, place: str, row_id: object) -> vault.Secret:
    """Return the secret that was sealed for the same place and row.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
        vault.CannotOpen: its master key is gone, or it was changed or moved.
    """
    return vault.open_sealed(key_ring(), kept, aad=binding(place, row_id))


def rows_seal_again(rows: QuerySet[Any], *, place: str, prefix: str = "") -> tuple[int, int]:
    """Seal the secrets of `rows` under the first master key; return how many moved, and how many do not open.

    Args:
        rows: as `bound_rows_seal_again`.
        place: what the secrets were sealed for, with the primary key as the id of the row.
        prefix: as `bound_rows_seal_again`.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    moved, stuck = bound_rows_seal_again(rows, bound_to=lambda row: binding(place, row.pk), prefix=prefix)
    return moved, len(stuck)


def bound_rows_seal_again(
    rows: QuerySet[Any], *, bound_to: Callable[[Any], bytes], prefix: str = ""
) -> tuple[int, list[Any]]:
    """Seal the secrets of `rows` under the first master key; return how many moved, and the ids of what does not open.

    Args:
        rows: rows that have a secret, in columns `key_id`, `wrapped_key` and `ciphertext`.
        bound_to: the `aad` under which the secret of a row was sealed.
        prefix: what the names of the three columns begin with.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    ring = key_ring()
    columns = [f"{prefix}{name}" for name in ("key_id", "wrapped_key", "ciphertext")]

    def seal_again(row: Any) -> list[str]:
        key_id, wrapped_key, ciphertext = (getattr(row, column) for column in columns)
        kept = vault.Sealed(key_id, bytes(wrapped_key or b""), bytes(ciphertext or b""))
        again = vault.rewrap(ring, kept, aad=bound_to(row))
        if again is kept:
            return []
        for column, value in zip(columns, (again.key_id, again.wrapped_key, again.ciphertext), strict=True):
            setattr(row, column, value)
        return columns

    return each_row_seals_again(rows, seal_again)


def each_row_seals_again(rows: QuerySet[Any], seal_again: Callable[[Any], list[str]]) -> tuple[int, list[Any]]:
    """Let `seal_again` move the secret of each of `rows`; return how many moved, and the ids of what does not open.

    Each row is locked and saved in a transaction of its own, so that everything else goes on meanwhile. One that is
    none of `rows` any more when its turn comes, because it was deleted or its secret forgotten, is passed over.

    Args:
        rows: rows that have a secret.
        seal_again: changes a row and returns the names of the changed columns, none when its secret is there already;
            raises `vault.CannotOpen`.
    """
    moved = 0
    stuck: list[Any] = []
    for row_id in rows.values_list("pk", flat=True):
        with transaction.atomic():
            row = rows.select_for_update(of=("self",)).filter(pk=row_id).first()
            if row is None:
                continue
            try:
                changed = seal_again(row)
            except vault.CannotOpen:
                stuck.append(row_id)
                continue
            if changed:
                row.save(update_fields=changed)
                moved += 1
    return moved, stuck


def binding(place: str, row_id: object) -> bytes:
    """Return what a secret of the row `row_id` of `place` is bound to."""
    return f"{place}|{row_id}".encode()


def key_ring() -> vault.KeyRing:
    """Return the configured master keys.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    try:
        return vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    except vault.VaultSealed:
        raise MasterKeysUnusable from None
