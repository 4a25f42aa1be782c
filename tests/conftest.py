"""What every test may use."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
import pytest_django
from hypothesis import settings

from tests.support.tools import NEEDS, ToolMissing

# The same examples each time, so that a run says something about the change and not about luck. New ones are looked for
# with WARDGATE_TEST_EXAMPLES=random (CONTRIBUTING.md, "Slow runs").
settings.register_profile("same", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("WARDGATE_TEST_EXAMPLES", "same"))

pytest_plugins = ["tests.support.gateway", "tests.support.logins"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing, or fail it where the machine promises the program."""
    for marker, (find, promise) in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        try:
            find()
        except ToolMissing as error:
            if os.environ.get(promise) == "1":
                pytest.fail(f"{error}, and {promise}=1", pytrace=False)
            pytest.skip(str(error))


def pytest_report_header() -> list[str]:
    """Say on top of the run which programs are missing, so that a skip never goes unnoticed."""
    lines = []
    for marker, (find, _promise) in NEEDS.items():
        try:
            lines.append(f"{marker}: {find()}")
        except ToolMissing as error:
            lines.append(f"{marker}: skipped, {error}")
    return lines


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> None:
    """Let Django empty the tables of its own test database between tests, which the record's guards refuse.

    Databases of `tests.support.database` keep their guards: a gateway of a test runs as in a deployment.
    """
    from tests.support.database import let_django_empty_the_tables

    with django_db_blocker.unblock():
        let_django_empty_the_tables()


@pytest.fixture
def now() -> datetime:
    """Return a fixed moment, so that no test depends on the day it runs."""
    return datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
