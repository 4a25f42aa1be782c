"""From what happened to who is told in which way: the outbox becomes deliveries, one for each place.

One process does so at a time, so that what is counted a minute is exact. A row of the outbox and its deliveries change
in one transaction: whatever dies in between, nobody is left out and nobody told twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from django.db import connection as database
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from accounts.models import User
from policies.models import (
    NoticeChannel,
    NoticeDelivery,
    NoticeOutbox,
    NoticePreference,
    PushSubscription,
)
from policies.notices import email
from policies.notices.message import ASKING, CHOSEN, ENDING, Event
from policies.notices.ways import WAYS

from .notice_recipients import Recipient, recipients_of
from .notices import notify
from .reviews import reviews_overdue

logger = logging.getLogger(__name__)
State = NoticeDelivery.State
Way = NoticeDelivery.Way
MOST_PER_PERSON: Final = 20
"""Messages that one person gets in one way in a minute; what is beyond is told in one."""
MINUTE: Final = timedelta(minutes=1)
_LOCK: Final = 0x57474E54


class _NotAlone(Exception):
    """Another process makes deliveries."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one person chose."""

    email_events: frozenset[str]
    push_events: frozenset[str]
    preference: NoticePreference | None


def outbox_spread(*, now: datetime, seconds: float = 30, most: int = 200) -> int:
    """Make the deliveries of what is in the outbox, oldest first, for about so many seconds; return how many were done.

    An entry that breaks stays for the next run and keeps none of the others back.
    """
    ends_at, done = time.monotonic() + seconds, 0
    for entry_id in NoticeOutbox.objects.filter(spread_at=None).order_by("id").values_list("pk", flat=True)[:most]:
        try:
            done += _spread_entry(entry_id, now)
        except _NotAlone:
            break
        except Exception:
            logger.exception("nobody could be told of something", extra={"entry": entry_id})
        if time.monotonic() > ends_at:
            break
    return done


@transaction.atomic
def _spread_entry(entry_id: int, now: datetime) -> bool:
    """Make the deliveries of one entry; tell whether it was still to be done.

    Raises:
        _NotAlone: somebody else does this right now.
    """
    if not _is_alone():
        raise _NotAlone
    entry = _entries().select_for_update(of=("self",)).filter(pk=entry_id, spread_at=None).first()
    if entry is None:
        return False
    _spread(entry, now)
    entry.spread_at = now
    entry.save(update_fields=["spread_at"])
    return True


@transaction.atomic
def overdue_reviews_note(*, now: datetime) -> int:
    """Note, once, every approval in an emergency that waits for its review for too long; return how many."""
    if not _is_alone():
        return 0
    known = NoticeOutbox.objects.filter(request=OuterRef("request"), event=Event.REVIEW_DUE)
    overdue = [decision.request for decision in reviews_overdue(now=now).filter(~Exists(known))]
    for request in overdue:
        notify(request=request, event=Event.REVIEW_DUE, now=now)
    return len(overdue)


def channels_for(entry: NoticeOutbox) -> list[NoticeChannel]:
    """Return the channels that are told of `entry` anew, by their filters."""
    found = NoticeChannel.objects.filter(is_active=True).prefetch_related("approval_rules", "connections")
    return [channel for channel in found if _is_wanted(channel, entry)]


def quiet_until(preference: NoticePreference | None, now: datetime) -> datetime:
    """Return `now`, or when the person's quiet hours are over that `now` is in."""
    if preference is None or preference.quiet_from is None or preference.quiet_until is None:
        return now
    here = now.astimezone(ZoneInfo(preference.time_zone))
    begins, ends, at = preference.quiet_from, preference.quiet_until, here.time().replace(tzinfo=None)
    is_quiet = begins <= at < ends if begins < ends else at >= begins or at < ends
    if not is_quiet:
        return now
    over = here.replace(hour=ends.hour, minute=ends.minute, second=0, microsecond=0, fold=0)
    return over if over > here else over + timedelta(days=1)


def _spread(entry: NoticeOutbox, now: datetime) -> None:
    wanted = channels_for(entry)
    for channel in wanted:
        _tell_channel(entry, channel, now, is_wanted=True)
    if entry.event in ENDING:
        # Whoever was asked there and can be shown the end, is shown it, whichever events the channel wants.
        known = [channel.pk for channel in wanted]
        for channel in NoticeChannel.objects.filter(is_active=True).exclude(pk__in=known):
            _tell_channel(entry, channel, now, is_wanted=False)
    for person in recipients_of(entry, now=now):
        _tell_person(entry, person, now)


def _tell_channel(entry: NoticeOutbox, channel: NoticeChannel, now: datetime, *, is_wanted: bool) -> None:
    way = WAYS.get(channel.kind)
    earlier = list(_earlier(entry, channel)) if way is not None and way.UPDATES and entry.event in ENDING else []
    for message in earlier:
        _made(entry, now, way=channel.kind, channel=channel, told=channel.name, updates=message).save()
    if is_wanted and not earlier:
        delivery = _made(entry, now, way=channel.kind, channel=channel, told=channel.name)
        _place(delivery, channel.most_per_minute, now)


def _earlier(entry: NoticeOutbox, channel: NoticeChannel) -> QuerySet[NoticeDelivery]:
    """Return the messages of the channel that ask for the decision that was made, or is needed no more."""
    return NoticeDelivery.objects.filter(
        request=entry.request, channel=channel, event__in=ASKING, state__in=[State.WAITING, State.SENDING, State.SENT]
    )


def _tell_person(entry: NoticeOutbox, person: Recipient, now: datetime) -> None:
    if person.user is None:
        if email.is_set_up():
            made = _made(entry, now, way=Way.EMAIL, principal=person.principal, told=str(person.principal)[:200])
            _place(made, MOST_PER_PERSON, now)
        return
    wishes = wishes_of(person.user)
    starts_at = quiet_until(wishes.preference, now)
    told = str(person.user)[:200]
    if entry.event in wishes.email_events and person.user.email and email.is_set_up():
        _place(_made(entry, now, starts_at, way=Way.EMAIL, user=person.user, told=told), MOST_PER_PERSON, now)
    if entry.event in wishes.push_events and Way.WEB_PUSH in WAYS:
        for subscription in PushSubscription.objects.filter(user=person.user):
            made = _made(entry, now, starts_at, way=Way.WEB_PUSH, user=person.user, told=told)
            made.subscription = subscription
            _place(made, MOST_PER_PERSON, now)


def wishes_of(user: User) -> Wishes:
    """Return which events the person is told of in which way; without a choice all, in every way."""
    preference = NoticePreference.objects.filter(user=user).first()
    if preference is None:
        everything = frozenset(event.value for event in CHOSEN)
        return Wishes(everything, everything, None)
    return Wishes(frozenset(preference.email_events), frozenset(preference.push_events), preference)


def _place(delivery: NoticeDelivery, most: int, now: datetime) -> None:
    """Save a delivery, or, when its place was told as much as it may be, count it into a summary."""
    place = {name: getattr(delivery, name) for name in ("channel", "user", "principal", "subscription", "way")}
    here = NoticeDelivery.objects.filter(**_lookups(place))
    lately = here.filter(created_at__gt=now - MINUTE, updates=None).exclude(event=Event.TEST)
    if lately.exclude(state=State.MERGED).exclude(event=Event.SUMMARY).count() < most:
        delivery.save()
        return
    delivery.state, delivery.ended_at = State.MERGED, now
    delivery.save()
    waiting = here.filter(event=Event.SUMMARY, state=State.WAITING)
    if not waiting.update(count=F("count") + 1):
        soon = max(delivery.next_at, now + MINUTE)
        NoticeDelivery.objects.create(
            **place, event=Event.SUMMARY, told=delivery.told, count=1, created_at=now, next_at=soon
        )


def _lookups(place: dict[str, object]) -> dict[str, object]:
    return {
        f"{name}__isnull" if value is None else name: True if value is None else value for name, value in place.items()
    }


def _made(entry: NoticeOutbox, now: datetime, starts_at: datetime | None = None, **members: object) -> NoticeDelivery:
    return NoticeDelivery(
        outbox=entry,
        request=entry.request,
        event=entry.event,
        next_at=starts_at or now,
        created_at=now,
        **members,
    )


def _is_wanted(channel: NoticeChannel, entry: NoticeOutbox) -> bool:
    request = entry.request
    return (
        _has(channel.events, entry.event)
        and _has(channel.risks, str(request.terms.get("risk", "medium")))
        and _has([rule.pk for rule in channel.approval_rules.all()], request.approval_rule_id)
        and _has([row.pk for row in channel.connections.all()], request.connection_id)
        and channel.kind in WAYS
    )


def _has(chosen: Iterable[object], value: object) -> bool:
    chosen = list(chosen)
    return not chosen or value in chosen


def _entries() -> QuerySet[NoticeOutbox]:
    return NoticeOutbox.objects.select_related(
        "request__principal__owner", "request__connection", "request__approval_rule", "by", "to"
    )


def _is_alone() -> bool:
    """Tell whether nobody else spreads right now; holds until the end of the transaction."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])
