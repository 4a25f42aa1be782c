"""The secrets of web push under a new master key: the gateway's own key pair, and the keys of every browser."""

from __future__ import annotations

from django.db import transaction

from accounts import sealing, vault
from policies.models import PushKey, PushSubscription

from .notice_people import PUSH_PLACE
from .push_keys import PLACE


def push_secrets_seal_again() -> tuple[int, int]:
    """Seal them under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    moved = stuck = 0
    for model, place in ((PushKey, PLACE), (PushSubscription, PUSH_PLACE)):
        for row_id in model.objects.values_list("pk", flat=True):
            with transaction.atomic():
                row = model.objects.select_for_update().filter(pk=row_id).first()
                if row is None:
                    continue
                kept = vault.Sealed(row.key_id, bytes(row.wrapped_key), bytes(row.ciphertext))
                try:
                    again = sealing.sealed_again(kept, place=place, row_id=row.pk)
                except vault.CannotOpen:
                    stuck += 1
                    continue
                if again is not kept:
                    row.key_id, row.wrapped_key, row.ciphertext = again.key_id, again.wrapped_key, again.ciphertext
                    row.save(update_fields=["key_id", "wrapped_key", "ciphertext"])
                    moved += 1
    return moved, stuck
