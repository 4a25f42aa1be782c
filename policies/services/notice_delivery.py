"""Sending what waits: each message by one worker at a time, again after growing pauses, and given up with its reason.

A worker takes a message under a lock that others skip, and has it for `LEASE`; when it dies, another one takes it after
that, and what it may have sent already is sent again under the same id. A channel that did not take a message rests,
and with it whatever waits for it: nothing is tried in vain a thousand times.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection as database
from django.db import transaction
from django.db.models import F, Q, QuerySet

from accounts import sealing, vault
from accounts.exceptions import DomainError
from accounts.models import User
from policies.models import ApprovalRequest, NoticeChannel, NoticeDelivery, NoticeOutbox, PushSubscription
from policies.notices import composing
from policies.notices.message import ASKING, ENDING, Event, Notice, NotSent, Sent
from policies.notices.ways import WAYS

from .notice_channels import secret_of
from .notice_people import PUSH_PLACE
from .notice_recipients import may_decide_now
from .notice_spreading import channels_for

logger = logging.getLogger(__name__)
State = NoticeDelivery.State
Way = NoticeDelivery.Way
LEASE: Final = timedelta(seconds=55)
"""How long a worker has a message to itself: longer than sending one may take."""
MOST_ATTEMPTS: Final = 12
FIRST_PAUSE_SECONDS: Final = 5
LONGEST_PAUSE_SECONDS: Final = 900
LONGEST_REST_SECONDS: Final = 60
"""How long a channel rests at most, unless its service asks for more."""
TOO_OLD: Final = timedelta(days=1)
MOST_SENDERS: Final = 2
_SOON: Final = timedelta(seconds=10)
_LOCK: Final = 0x57474E53


class NothingToRetry(DomainError):
    """The message was sent, or is on its way."""

    code = "nothing_to_retry"


class _Dropped(Exception):
    """The message is no longer needed; the text says why."""


class _NotYet(Exception):
    """The message that is to be changed is on its way itself."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one run did."""

    sent: int = 0
    failed: int = 0


@contextmanager
def sending() -> Iterator[bool]:
    """Tell whether this worker may send: `MOST_SENDERS` do at a time, so that a slow service holds up no other task."""
    taken = next((slot for slot in range(MOST_SENDERS) if _asked("pg_try_advisory_lock", slot)), None)
    try:
        yield taken is not None
    finally:
        if taken is not None:
            _asked("pg_advisory_unlock", taken)


def _asked(function: str, slot: int) -> bool:
    with database.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", [_LOCK, slot])
        return bool(cursor.fetchone()[0])


def deliveries_send(*, now: datetime, seconds: float) -> Delivered:
    """Send what is due, for about so many seconds; `now` is when that begins. Several at once share the work."""
    began = time.monotonic()
    sent = failed = 0
    while (elapsed := time.monotonic() - began) < seconds:
        at = now + timedelta(seconds=elapsed)
        delivery = _taken(at)
        if delivery is None:
            break
        is_sent = _sent(delivery, at)
        sent, failed = sent + is_sent, failed + (not is_sent)
    return Delivered(sent, failed)


@transaction.atomic
def delivery_retry(*, delivery_id: UUID, now: datetime) -> NoticeDelivery:
    """Send a message that was given up once more, as if it was new.

    Raises:
        NoticeDelivery.DoesNotExist: there is no such message.
        NothingToRetry: it was sent, or will be, or is told in another one.
    """
    delivery = NoticeDelivery.objects.select_for_update().get(pk=delivery_id)
    if delivery.state != State.FAILED or (delivery.channel_id is None and delivery.user_id is None):
        raise NothingToRetry("Only a message that failed, and whose place is still there, can be sent again.")
    delivery.state, delivery.attempts, delivery.next_at = State.WAITING, 0, now
    delivery.error, delivery.ended_at, delivery.created_at = "", None, now
    delivery.save()
    return delivery


def notices_forget(*, before: datetime) -> int:
    """Delete what was told, and from what, before a moment; return how many messages."""
    ended = NoticeDelivery.objects.filter(created_at__lt=before).exclude(state__in=[State.WAITING, State.SENDING])
    deleted = ended.count()
    ended.delete()
    NoticeOutbox.objects.filter(at__lt=before, deliveries=None, request__ended_at__isnull=False).exclude(
        spread_at=None
    ).delete()
    return deleted


def pause_after(attempts: int, asked: float | None) -> float:
    """Return the seconds until the next try: growing, never the same for all, and no less than the service asks for."""
    longest: float = min(FIRST_PAUSE_SECONDS * 2 ** max(attempts - 1, 0), LONGEST_PAUSE_SECONDS)
    return max(longest * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311  (spreads load; guards nothing)


def _taken(now: datetime) -> NoticeDelivery | None:
    """Take a message that is due, if there is one that nobody has."""
    rests = Q(channel__retry_at__gt=now)
    with transaction.atomic():
        due = NoticeDelivery.objects.filter(state__in=[State.WAITING, State.SENDING], next_at__lte=now).exclude(rests)
        delivery = due.select_for_update(skip_locked=True, of=("self",)).order_by("next_at").first()
        if delivery is None:
            return None
        delivery.state, delivery.attempts, delivery.next_at = State.SENDING, delivery.attempts + 1, now + LEASE
        delivery.save(update_fields=["state", "attempts", "next_at"])
    return delivery


def _sent(delivery: NoticeDelivery, now: datetime) -> bool:
    """Send a message that was taken, and write down what became of it; tell whether it was sent."""
    try:
        sent = _send(delivery, now)
    except _Dropped as error:
        _end(delivery, State.DROPPED, now, error=str(error))
        return False
    except _NotYet:
        _mine(delivery).update(state=State.WAITING, attempts=F("attempts") - 1, next_at=now + _SOON)
        return False
    except NotSent as error:
        _failed(delivery, error, now)
        return False
    except Exception as error:
        logger.error("a notification broke", extra={"delivery": str(delivery.pk), "error": type(error).__name__})
        _failed(delivery, NotSent(f"The gateway itself failed ({type(error).__name__})."), now)
        return False
    _end(delivery, State.SENT, now, reference=sent.reference)
    if delivery.channel_id is not None:
        NoticeChannel.objects.filter(pk=delivery.channel_id).update(
            sent=F("sent") + 1, sent_at=now, failures=0, last_error="", retry_at=None
        )
    if delivery.subscription_id is not None:
        PushSubscription.objects.filter(pk=delivery.subscription_id).update(sent_at=now)
    return True


def _send(delivery: NoticeDelivery, now: datetime) -> Sent:
    way = WAYS.get(delivery.way)
    if way is None:
        raise _Dropped("There is no such way any more.")
    if now - delivery.created_at > TOO_OLD:
        raise NotSent("It could not be sent for a day.", is_final=True)
    request = _request_of(delivery)
    if request is not None:
        _check_needed(delivery, request, now)
    target, secret, networks = _place(delivery)
    reference = _reference(delivery) if delivery.updates_id is not None else ""
    return way.send(_notice(delivery, request), target, secret, networks, reference=reference)


def _request_of(delivery: NoticeDelivery) -> ApprovalRequest | None:
    rows = ApprovalRequest.objects.select_related("principal__owner", "connection")
    return None if delivery.request_id is None else rows.get(pk=delivery.request_id)


def _check_needed(delivery: NoticeDelivery, request: ApprovalRequest, now: datetime) -> None:
    """Refuse to ask for a decision that nobody needs any more, or somebody who may not make it any more."""
    if delivery.event not in ASKING:
        return
    if request.state != ApprovalRequest.State.HELD or request.expires_at <= now:
        raise _Dropped("Nobody has to decide any more.")
    if delivery.user is not None and not may_decide_now(request, delivery.user, now=now):
        raise _Dropped("The person does not have to decide any more.")


def _place(delivery: NoticeDelivery) -> tuple[str, vault.Secret, tuple[str, ...]]:
    """Return where to send to, the secret for it, and which networks may be reached besides public addresses."""
    channel = delivery.channel
    if channel is not None:
        if not channel.is_active:
            raise _Dropped("The channel is switched off.")
        return channel.target, secret_of(channel), tuple(channel.allowed_networks)
    if delivery.way == Way.EMAIL:
        return _address(delivery), vault.Secret(b""), ()
    subscription = delivery.subscription
    if subscription is None:
        raise _Dropped("The browser is told nothing any more.")
    kept = vault.Sealed(subscription.key_id, bytes(subscription.wrapped_key), bytes(subscription.ciphertext))
    try:
        return subscription.endpoint, sealing.opened(kept, place=PUSH_PLACE, row_id=subscription.pk), ()
    except vault.CannotOpen:
        raise NotSent("The keys of the browser cannot be opened.", is_final=True) from None


def _address(delivery: NoticeDelivery) -> str:
    if delivery.user is not None:
        user: User = delivery.user
        if not (user.is_active and user.email):
            raise _Dropped("The person has no address, or no account any more.")
        return user.email
    if delivery.principal is None or not delivery.principal.email:
        raise _Dropped("There is no address any more.")
    return delivery.principal.email


def _reference(delivery: NoticeDelivery) -> str:
    """Return by what the earlier message is known; empty when it never arrived, and this one goes as a new one."""
    earlier, entry = delivery.updates, delivery.outbox
    if earlier is not None and earlier.state in {State.WAITING, State.SENDING}:
        raise _NotYet
    if earlier is not None and earlier.reference:
        return earlier.reference
    siblings = NoticeDelivery.objects.filter(outbox=entry, channel=delivery.channel).exclude(pk=delivery.pk)
    is_told = siblings.exclude(state=State.DROPPED).exists()
    if entry is None or is_told or delivery.channel not in channels_for(entry):
        raise _Dropped("There is no message to bring up to date.")
    return ""


def _notice(delivery: NoticeDelivery, request: ApprovalRequest | None) -> Notice:
    identifier, entry = str(delivery.pk), delivery.outbox
    if delivery.event == Event.SUMMARY or request is None:
        return composing.summary_of(delivery.count, delivery=identifier)
    told_person = delivery.user is not None or delivery.principal is not None
    return composing.notice_of(
        request,
        Event(delivery.event),
        by="" if entry is None or entry.by is None else str(entry.by),
        text="" if entry is None else entry.text,
        for_requester=told_person and _is_for_requester(delivery, entry),
        with_arguments=delivery.channel is not None and delivery.channel.includes_arguments,
        delivery=identifier,
    )


def _is_for_requester(delivery: NoticeDelivery, entry: NoticeOutbox | None) -> bool:
    is_answer = delivery.event == Event.QUESTION and entry is not None and entry.to_id is not None
    return delivery.event in ENDING or (delivery.event == Event.QUESTION and not is_answer)


def _failed(delivery: NoticeDelivery, error: NotSent, now: datetime) -> None:
    sentence = str(error)[:300]
    if error.is_gone and delivery.subscription_id is not None:
        PushSubscription.objects.filter(pk=delivery.subscription_id).delete()
    is_over = error.is_final or delivery.attempts >= MOST_ATTEMPTS
    pause = pause_after(delivery.attempts, error.retry_after)
    if is_over:
        _end(delivery, State.FAILED, now, error=sentence)
    else:
        _mine(delivery).update(state=State.WAITING, error=sentence, next_at=now + timedelta(seconds=pause))
    if delivery.channel_id is None:
        return
    rest = max(min(pause, LONGEST_REST_SECONDS), error.retry_after or 0)
    rests_until = None if error.is_final else now + timedelta(seconds=rest)
    NoticeChannel.objects.filter(pk=delivery.channel_id).update(
        failures=F("failures") + 1, last_error=sentence, retry_at=rests_until
    )


def _end(delivery: NoticeDelivery, state: str, now: datetime, *, error: str = "", reference: str = "") -> None:
    _mine(delivery).update(state=state, error=error[:300], reference=reference[:200], ended_at=now)


def _mine(delivery: NoticeDelivery) -> QuerySet[NoticeDelivery]:
    """Return the row, as long as nobody else has taken it since."""
    return NoticeDelivery.objects.filter(pk=delivery.pk, state=State.SENDING, attempts=delivery.attempts)
