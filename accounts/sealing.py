"""Secrets of rows in this app, sealed under the configured master keys and bound to their place.

Every secret names its place: what it is, and the id of its row. A ciphertext that is copied elsewhere does not open.
"""

from __future__ import annotations

from django.conf import settings

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


def _binding(place: str, row_id: object) -> bytes:
    return f"{place}|{row_id}".encode()


def _ring() -> vault.KeyRing:
    try:
        return vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    except vault.VaultSealed:
        raise MasterKeysUnusable from None
