"""Sweeps over identity. Nothing is allowed by what they leave behind, and nothing is refused but dormant principals."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

from . import services
from .services.saml import saml_sweep

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True, acks_late=True, time_limit=280, expires=290)
def forget_expired() -> None:
    """Forget revocations, event tokens and SAML messages that have expired. Beat: every 300 s. Idempotent.

    When it never runs, tables grow and gateway processes load rows that match nothing; everything is refused all the
    same, because a row's end is looked at when it is used.
    """
    now = timezone.now()
    swept = services.revocations_sweep(now=now)
    saml = saml_sweep(now=now)
    if any((*swept, saml)):
        logger.info("expired identity rows forgotten", extra={**swept._asdict(), "saml": saml})


@shared_task(ignore_result=True, acks_late=True, time_limit=280, expires=3500)
def lock_dormant() -> None:
    """Lock principals that their provider has not seen for too long. Beat: every hour. Idempotent.

    When it never runs, a forgotten account stays open as long as its provider gives it tokens. The locks that it places
    are the report: the list of locks, filtered by the source `dormant`.
    """
    locked = services.dormant_lock(now=timezone.now())
    if locked:
        longest = min(entry.last_active for entry in locked)
        logger.warning("dormant principals locked", extra={"count": len(locked), "longest_unseen": longest.isoformat()})


@shared_task(ignore_result=True, acks_late=True, time_limit=55, expires=3500)
def tend_signing_keys() -> None:
    """Make the first key of the gateway's own tokens, and the next one in time. Beat: every hour. Idempotent.

    When it never runs, a key signs for twice its age, and then the token endpoint makes the next one itself.
    """
    if services.signing_keys_tend(now=timezone.now()):
        logger.info("a new signing key is published")
