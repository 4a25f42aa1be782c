"""Pytest plugin: `client.force_login` logs in as the console does, with a login that can be ended from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone


@pytest.fixture(autouse=True, scope="session")
def _console_logins() -> None:
    from django.test.client import ClientMixin

    from accounts import services

    plain = ClientMixin._login

    def log_in(self: Any, user: Any, backend: str | None = None) -> None:
        plain(self, user, backend)
        session, now = self.session, timezone.now()
        session["wardgate_seen"] = int(now.timestamp())
        session.save()
        services.console_session_begin(user=user, session_key=session.session_key, method="test", now=now)

    ClientMixin._login = log_in
