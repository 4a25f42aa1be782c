"""The secrets of web push under a new master key: the gateway's own key pair, and the keys of every browser."""

from __future__ import annotations

from accounts import sealing
from policies.models import PushKey, PushSubscription

from .notice_people import PUSH_PLACE
from .push_keys import PLACE


def push_secrets_seal_again() -> tuple[int, int]:
    """Seal them under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    keys, stuck_keys = sealing.rows_seal_again(PushKey.objects.all(), place=PLACE)
    browsers, stuck_browsers = sealing.rows_seal_again(PushSubscription.objects.all(), place=PUSH_PLACE)
    return keys + browsers, stuck_keys + stuck_browsers
