"""Slack's Web API in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from policies.notices import slack_api
from tests.support.chats import service
from tests.support.chats import slack_api as answers

from .slack import Workspace


@pytest.fixture
def workspace(settings: Any) -> Iterator[Workspace]:
    slack_api._teams.clear()
    with service(answers) as running:
        settings.WARDGATE_SLACK_API_URL = f"{running.url}/api/"
        yield Workspace(running, Client(raise_request_exception=False))
