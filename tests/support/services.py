"""Pytest plugin: real PostgreSQL and real Valkey for the whole run, before Django reads its settings.

With DATABASE_URL and REDIS_URL set, those are used. The services are started once, by the process that pytest-xdist
calls the controller; every worker has a Redis database and a channel prefix of its own, since pub/sub ignores database
numbers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Importing the project loads its Celery application, which would choose the settings of a deployment.
os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings.test"

from gateway_project.embedded import EmbeddedError, Postgres, Valkey

_running: list[Postgres | Valkey] = []
_folders: list[Path] = []


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Start what the environment does not name, then let pytest-django load the settings."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        try:
            _start()
        except EmbeddedError as error:
            _stop()
            raise pytest.UsageError(str(error)) from error
    else:
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{number}"
    os.environ["WARDGATE_CHANNEL_PREFIX"] = f"wardgate-test-{worker or 'main'}"
    return (yield)


def pytest_unconfigure() -> None:
    """Stop what was started here."""
    _stop()


def _start() -> None:
    wanted = {"DATABASE_URL": Postgres, "REDIS_URL": Valkey}
    missing = [name for name in wanted if not os.environ.get(name)]
    if not missing:
        return
    folder = Path(tempfile.mkdtemp(prefix="wardgate-test-"))
    _folders.append(folder)
    for name in missing:
        server = Postgres(folder, throwaway=True) if name == "DATABASE_URL" else Valkey(folder)
        _running.append(server)
        server.launch()
    for name, server in zip(missing, _running, strict=True):
        os.environ[name] = server.wait_until_ready()


def _stop() -> None:
    while _running:
        _running.pop().stop()
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)
