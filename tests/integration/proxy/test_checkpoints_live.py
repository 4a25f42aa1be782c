"""Checkpoints of real gateway processes: who writes them, what a restart of the database does, and where they go."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_project.embedded import Postgres
from tests.support.database import fresh_database, migrate
from tests.support.gateway import LiveGateway, gateway_running
from tests.support.servers import ROOT, wait_until
from tests.support.upstream import ScriptedUpstream
from tests.support.verifying import verified

from .calls import post, tool

QUICK = {"WARDGATE_CHECKPOINT_SECONDS": "1"}


def checkpoints(gateway: LiveGateway) -> list[dict[str, Any]]:
    rows = gateway.sql(
        "SELECT number, body, prev_hash, hash, events, kid FROM gateway_sessions_checkpoint ORDER BY number"
    )
    return [{**row, "body": json.loads(row["body"])} for row in rows]


def assert_one_chain(found: list[dict[str, Any]]) -> None:
    assert [row["number"] for row in found] == list(range(1, len(found) + 1))
    for before, after in itertools.pairwise(found):
        assert after["prev_hash"] == before["hash"]
        assert after["body"]["prev"] == bytes(before["hash"]).hex()


def covers_everything(gateway: LiveGateway) -> bool:
    found = checkpoints(gateway)
    events = gateway.sql("SELECT count(*) AS n FROM gateway_sessions_event")[0]["n"]
    return bool(found) and found[-1]["events"] == events


def test_what_a_gateway_recorded_is_covered_when_it_has_stopped(gateway_seed: dict[str, Any], tmp_path: Path) -> None:
    with gateway_running(gateway_seed, tmp_path) as gateway:
        for number in range(3):
            post(gateway, tool("get_order", order=number))
        gateway.stop()
        assert covers_everything(gateway)


def test_two_processes_write_one_chain_and_the_other_goes_on_when_one_is_killed(
    gateway_seed: dict[str, Any], tmp_path: Path
) -> None:
    first_folder, second_folder = tmp_path / "1", tmp_path / "2"
    first_folder.mkdir()
    second_folder.mkdir()
    with fresh_database() as dsn, gateway_running(gateway_seed, first_folder, dsn=dsn, environment=QUICK) as first:
        second = LiveGateway(dsn=dsn, folder=second_folder, environment={**first.environment, **QUICK})
        second.issuer = first.issuer
        second.start()
        try:
            post(first, tool("get_order", order=1))
            wait_until(lambda: covers_everything(first), seconds=10, what="a checkpoint over both")
            first.kill()
            post(second, tool("get_order", order=2))
            wait_until(lambda: covers_everything(second), seconds=15, what="a checkpoint of the other process")
            assert_one_chain(checkpoints(second))
        finally:
            second.stop()


@pytest.fixture
def own_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("pg"), throwaway=True)
    server.start()
    try:
        migrate(server.url)
        yield server
    finally:
        server.stop()


def test_after_a_restart_of_the_database_the_same_process_goes_on_with_the_same_chain(
    gateway_seed: dict[str, Any], own_database: Postgres, tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    with gateway_running(gateway_seed, tmp_path, dsn=own_database.url, environment=QUICK) as gateway:
        post(gateway, tool("get_order", order=1))
        wait_until(lambda: covers_everything(gateway), seconds=10, what="a checkpoint")
        own_database.stop()
        own_database.start()
        wait_until(
            lambda: not post(gateway, tool("get_order", order=2)).json()["result"].get("isError"),
            seconds=10,
            what="a served call",
        )
        wait_until(lambda: covers_everything(gateway), seconds=10, what="a checkpoint after the restart")
        assert_one_chain(checkpoints(gateway))


def test_the_key_changes_under_load_and_every_checkpoint_is_signed_by_one_that_is_vouched_for(
    gateway_seed: dict[str, Any], tmp_path: Path
) -> None:
    rotate = (
        "import django; django.setup(); from django.utils import timezone; "
        "from sessions.checkpoint_keys import checkpoint_key_rotate; checkpoint_key_rotate(now=timezone.now())"
    )
    quick = {"WARDGATE_CHECKPOINT_EVENTS": "2"}
    with gateway_running(gateway_seed, tmp_path, environment=quick) as gateway:
        is_over = threading.Event()
        answers: list[int] = []

        def call() -> None:
            while not is_over.is_set():
                answers.append(post(gateway, tool("get_order", order=len(answers))).status_code)

        caller = threading.Thread(target=call)
        caller.start()
        try:
            for kids in (1, 2, 3):
                wait_until(
                    lambda kids=kids: len({row["kid"] for row in checkpoints(gateway)}) == kids,  # type: ignore[misc]
                    seconds=30,
                    what="a checkpoint by the new key",
                )
                if kids < 3:
                    subprocess.run(
                        [sys.executable, "-c", rotate], cwd=ROOT, env=gateway.environment, check=True, timeout=60
                    )
        finally:
            is_over.set()
            caller.join(20)
        gateway.stop()
        assert set(answers) == {200}
        first = checkpoints(gateway)[0]["kid"]
        done = subprocess.run(
            [sys.executable, "manage.py", "record_export"],
            cwd=ROOT,
            env=gateway.environment,
            capture_output=True,
            check=True,
        )
        report = verified(done.stdout.decode().split("\n"), trusted=[first])
        assert report.problems == []
        assert_one_chain(checkpoints(gateway))
