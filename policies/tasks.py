"""Work on policy that takes its time, or that time brings. A late or lost run opens nothing."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from . import services
from .services.notice_delivery import sending
from .services.slack_messages import slack_messages_forget

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True, acks_late=True, time_limit=3600)
def run_back_test(back_test_id: str) -> None:
    """Run a back-test. Idempotent: it is run by one worker at a time, and one that has ended is not run again.

    When it never runs, the back-test waits; `resume_back_tests` finds it.
    """
    if services.back_test_run(back_test_id=UUID(back_test_id), now=timezone.now()):
        logger.info("back-test ended", extra={"back_test": back_test_id})


@shared_task(ignore_result=True, acks_late=True, time_limit=55, expires=50)
def resume_back_tests() -> None:
    """Send every back-test that nobody works on to a worker. Beat: every 60 s. Idempotent.

    When it never runs, a back-test whose worker was lost, or that was asked for while the broker was away, waits.
    """
    for back_test_id in services.back_tests_left(now=timezone.now()):
        run_back_test.delay(str(back_test_id))


def send_back_test(back_test_id: UUID) -> None:
    """Send a back-test to a worker as soon as its row is there; without a broker `resume_back_tests` does it later."""
    transaction.on_commit(partial(_send, str(back_test_id)))


def _send(back_test_id: str) -> None:
    try:
        run_back_test.apply_async((back_test_id,), retry=False)
    except OperationalError:
        logger.warning("the broker is away; the back-test is sent later", extra={"back_test": back_test_id})


@shared_task(ignore_result=True, acks_late=True, time_limit=25, expires=20)
def expire_approvals() -> None:
    """End requests that nobody decided, and approvals that nobody used, in time. Beat: every 10 s. Idempotent.

    When it never runs, nothing opens: the time is looked at where a decision is made and where a call would run.
    """
    ended = services.requests_expire(now=timezone.now())
    escalated = services.requests_escalate(now=timezone.now())
    if ended or escalated:
        logger.info("approvals ended or escalated", extra={"ended": ended, "escalated": len(escalated)})


@shared_task(ignore_result=True, acks_late=True, time_limit=110, expires=4)
def send_notices() -> None:
    """Find out who is told what, and send what is due, for some seconds. Beat: every 5 s. Idempotent.

    Two at once share the messages; a third one leaves them to those. When it never runs, nobody is told; what is to be
    told waits in the database, and the inbox shows every request all the same.
    """
    now = timezone.now()
    services.reminders_note(now=now)
    services.overdue_reviews_note(now=now)
    services.outbox_spread(now=now)
    with sending() as may_send:
        done = services.deliveries_send(now=timezone.now(), seconds=20 if may_send else 0)
    if done.sent or done.failed:
        logger.info("notifications sent", extra={"sent": done.sent, "failed": done.failed})


@shared_task(ignore_result=True, acks_late=True, time_limit=600, expires=3500)
def forget_notices() -> None:
    """Delete old entries of the log of notifications. Beat: every hour. Idempotent.

    When it never runs, the log grows.
    """
    before = timezone.now() - timedelta(days=settings.WARDGATE_NOTICE_DAYS)
    services.notices_forget(before=before)
    slack_messages_forget(before=before)


@shared_task(ignore_result=True, acks_late=True, time_limit=55, expires=3500)
def watch_reviews() -> None:
    """Say in the log which emergencies nobody has reviewed within a day. Beat: every hour. Idempotent.

    When it never runs, the console's first page and the page of reviews say it all the same.
    """
    codes = list(services.reviews_overdue(now=timezone.now()).values_list("request__code", flat=True)[:100])
    if codes:
        logger.warning("emergencies wait for a review for longer than a day", extra={"codes": codes})
