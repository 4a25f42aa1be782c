"""What each person chooses for themselves: events by way, quiet hours, and the browsers that they are told in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, time
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import transaction

from accounts import sealing
from accounts.models import User
from accounts.saving import Refusals
from policies.models import NoticePreference, PushSubscription
from policies.notices.message import CHOSEN
from policies.notices.ways import WAYS

PUSH_PLACE: Final = "policies_pushsubscription"
MOST_BROWSERS: Final = 10


@transaction.atomic
def notice_preference_save(
    *,
    user: User,
    email_events: Iterable[object],
    push_events: Iterable[object],
    quiet_from: time | None = None,
    quiet_until: time | None = None,
    time_zone: str = "UTC",
    now: datetime,
) -> NoticePreference:
    """Keep what a person wants to be told.

    Raises:
        ValidationError: by field.
    """
    preference = NoticePreference.objects.select_for_update().filter(user=user).first() or NoticePreference(user=user)
    refusals = Refusals()
    known = [event.value for event in CHOSEN]
    for field, given in (("email_events", email_events), ("push_events", push_events)):
        texts = refusals.texts(field, given)
        if not set(texts) <= set(known):
            refusals.add(field, "unknown_choice", f"Choose among {', '.join(known)}.")
        setattr(preference, field, [name for name in known if name in texts])
    if (quiet_from is None) != (quiet_until is None) or (quiet_from is not None and quiet_from == quiet_until):
        refusals.add("quiet_until", "quiet_hours", "Give both a beginning and an end that differ, or neither.")
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        refusals.add("time_zone", "unknown_zone", "Write a time zone such as Europe/Berlin.")
    preference.quiet_from, preference.quiet_until, preference.time_zone = quiet_from, quiet_until, time_zone
    preference.changed_at = now
    refusals.save(preference)
    return preference


@transaction.atomic
def push_subscribe(
    *, user: User, endpoint: str, p256dh: str, auth: str, browser: str = "", now: datetime
) -> PushSubscription:
    """Tell a person in a browser from now on; the same browser again takes new keys, or a new person.

    Raises:
        ValidationError: by field.
        MasterKeysUnusable: the keys cannot be sealed.
    """
    digest = hashlib.sha256(endpoint.encode()).digest()
    keys = json.dumps({"p256dh": p256dh, "auth": auth}, sort_keys=True)
    refusals = Refusals()
    way = WAYS.get("web_push")
    problem = ("endpoint", "Web push is not set up here.") if way is None else way.refusal(endpoint, keys, ())
    if problem is not None:
        refusals.add("endpoint" if problem[0] == "target" else problem[0], "refused", problem[1])
    refusals.raise_any()
    known = PushSubscription.objects.select_for_update().filter(endpoint_sha256=digest).first()
    subscription = known or PushSubscription(endpoint=endpoint, endpoint_sha256=digest, created_at=now)
    others = PushSubscription.objects.filter(user=user).exclude(pk=subscription.pk).order_by("-created_at")
    for old in others[MOST_BROWSERS - 1 :]:
        old.delete()
    kept = sealing.sealed(keys, place=PUSH_PLACE, row_id=subscription.pk)
    subscription.key_id, subscription.wrapped_key, subscription.ciphertext = (
        kept.key_id,
        kept.wrapped_key,
        kept.ciphertext,
    )
    subscription.user, subscription.browser = user, browser[:200]
    refusals.save(subscription)
    return subscription


def push_unsubscribe(*, user: User, endpoint: str = "", subscription_id: UUID | None = None) -> None:
    """Tell the person nothing in that browser any more; it may be gone already."""
    own = PushSubscription.objects.filter(user=user)
    if subscription_id is not None:
        own.filter(pk=subscription_id).delete()
    else:
        own.filter(endpoint_sha256=hashlib.sha256(endpoint.encode()).digest()).delete()
