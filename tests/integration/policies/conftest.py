"""The servers that notifications go to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.notices import Hook, Mail, hook_server, mail_server


@pytest.fixture
def mail(settings: Any) -> Iterator[Mail]:
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        yield server


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hook_server() as server:
        yield server
