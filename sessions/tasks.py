"""Sweeps over sessions. They only tidy: nothing is allowed or refused by what they leave behind."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from accounts.exceptions import DomainError

from . import activity, compaction, exports, retention, search_index, services

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True, acks_late=True, time_limit=55, expires=50)
def end_idle_sessions() -> None:
    """End sessions that nobody uses any more. Beat: every 60 s. Idempotent.

    When it never runs, the list shows sessions as open that are not; calls are served and recorded all the same.
    """
    ended = services.sessions_end_idle(now=timezone.now(), idle_seconds=settings.WARDGATE_SESSION_IDLE_SECONDS)
    if ended:
        logger.info("idle sessions ended", extra={"count": ended})


@shared_task(ignore_result=True, acks_late=True, time_limit=55, expires=50)
def forget_activity() -> None:
    """Delete the calls that no rule about the past looks at any more. Beat: every 300 s. Idempotent.

    When it never runs, the table grows; rules look only as far back as WARDGATE_HISTORY_SECONDS all the same.
    """
    before = timezone.now() - timedelta(seconds=2 * settings.WARDGATE_HISTORY_SECONDS)
    activity.activity_forget(before=before)


@shared_task(ignore_result=True, acks_late=True, time_limit=55, expires=9)
def index_calls() -> None:
    """Take new events into the index that searches use. Beat: every 10 s. Idempotent.

    When it never runs, a search takes in what is new by itself, as far as that goes in a moment, and then misses what
    is newer; the record and every call are untouched.
    """
    indexed = search_index.catch_up(seconds=8.0)
    if indexed:
        logger.info("events indexed", extra={"count": indexed})


@shared_task(ignore_result=True, acks_late=True, time_limit=900, expires=55)
def compact_recordings() -> None:
    """Seal sessions that have ended into recordings. Beat: every 60 s. Idempotent, and safe to run many times at once.

    When it never runs, events stay in the database, where they are read all the same, and nothing is ever deleted.
    """
    made = compaction.compact_all(now=timezone.now(), seconds=600)
    if made.sealed or made.failed:
        logger.info("recordings sealed", extra={"count": made.sealed, "events": made.events, "failed": made.failed})


@shared_task(ignore_result=True, acks_late=True, time_limit=3500, expires=3500)
def apply_retention() -> None:
    """Let old months of events go, then delete recordings whose time is over. Beat: every hour. Idempotent.

    When it never runs, nothing is deleted and the database grows.
    """
    now = timezone.now()
    try:
        retention.months_release(now=now)
    except DomainError as error:
        logger.warning("months of events stay in the database", extra={"code": error.code, "reason": str(error)})
    applied = retention.retention_apply(now=now)
    if applied.deleted or applied.waiting:
        logger.info("retention applied", extra={"count": applied.deleted, "waiting": applied.waiting})


@shared_task(ignore_result=True, acks_late=True, time_limit=30, expires=9)
def export_events() -> None:
    """Have every export sink whose turn it is served, each by a task of its own. Beat: every 10 s. Idempotent.

    When it never runs, nothing is streamed; what was not streamed stays in the database until it was.
    """
    for sink_id in exports.sinks_due(now=timezone.now()):
        export_to_sink.delay(str(sink_id))


@shared_task(ignore_result=True, acks_late=True, time_limit=120, expires=30)
def export_to_sink(sink_id: str) -> None:
    """Deliver to one sink what it does not have yet. Idempotent: two at once take turns, and a repetition is known."""
    sent = exports.sink_run(sink_id=UUID(sink_id), now=timezone.now(), seconds=50)
    if sent.delivered or sent.refused:
        logger.info("events exported", extra={"sink": sink_id, "count": sent.delivered, "refused": sent.refused})
