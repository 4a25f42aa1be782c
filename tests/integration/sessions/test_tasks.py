"""The sweep over sessions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from sessions.tasks import end_idle_sessions
from tests.support.record import Record


@pytest.mark.django_db
def test_only_idle_sessions_are_ended_and_a_second_run_changes_nothing():
    idle_for = timedelta(seconds=settings.WARDGATE_SESSION_IDLE_SECONDS)
    idle = Record(start=timezone.now() - idle_for - timedelta(minutes=5))
    idle.call()
    busy = Record(slug="wiki", start=timezone.now() - idle_for - timedelta(minutes=5))
    busy.now = timezone.now() - timedelta(seconds=10)
    busy.call()
    for _ in range(2):
        end_idle_sessions()
        idle.session.refresh_from_db()
        busy.session.refresh_from_db()
        assert idle.session.ended_at == idle.session.events.order_by("-id").first().at
        assert idle.session.end_reason == "idle"
        assert busy.session.ended_at is None
