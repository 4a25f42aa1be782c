"""Copies of checkpoints: to real servers, in order, at least once, and what the state says of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from sessions.checkpoint_state import record_state
from sessions.checkpoints import Due, chain_load, checkpoint_write_if_due
from sessions.exporting import Part, record_lines
from sessions.models import CheckpointSink
from sessions.shipping import (
    SinkFailed,
    checkpoint_secrets_seal_again,
    checkpoint_sink_save,
    checkpoint_sink_test,
    checkpoints_ship,
    destination_of,
)
from tests.support.chained import START, ChainWriter
from tests.support.s3 import ACCESS_KEY, REGION, SECRET_KEY, s3_server
from tests.support.syslog import certificate, syslog_server
from tests.support.upstream import Seen, json_answer, scripted_upstream
from tests.support.verifying import tool

pytestmark = pytest.mark.django_db(transaction=True)

LOOPBACK = ["127.0.0.0/8"]
AT_ONCE = Due(events=1, seconds=0, idle_seconds=3600)
HOOK_SECRET = "whsec-5b1f"
OTHER_KEY = "other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.WARDGATE_CHECKPOINT_FOLDER = str(tmp_path / "copies")
    return tmp_path / "copies"


@pytest.fixture
def writer(now: datetime) -> ChainWriter:
    """Write a record with three checkpoints."""
    writer = ChainWriter()
    for turn in range(3):
        writer.append(5)
        checkpoint_write_if_due(chain=chain_load(), due=AT_ONCE, now=now + timedelta(seconds=turn))
    return writer


def sink(now: datetime, **values: Any) -> CheckpointSink:
    return checkpoint_sink_save(sink_id=None, name=values.pop("name", "copies"), now=now, **values)


def numbers(lines: list[bytes]) -> list[int]:
    return [json.loads(line)["number"] for line in lines]


def test_a_file_gets_every_checkpoint_once_and_the_verifier_takes_it_as_a_witness(
    writer: ChainWriter, folder: Path, pool: ThreadPoolExecutor, now: datetime
) -> None:
    sink(now, kind="file", target="here")
    assert checkpoints_ship(pool=pool, now=now) == 3
    assert checkpoints_ship(pool=pool, now=now) == 0
    file = folder / "here" / "checkpoints-2026-11.jsonl"
    assert numbers(file.read_bytes().splitlines()) == [1, 2, 3]
    report = tool.Report()
    lines = [line.encode() + b"\n" for line in record_lines(part=Part(), now=START)]
    tool.verify_lines(lines, report, list(tool.read_witness(str(file))))
    assert report.problems == []
    assert "no key was named" not in " ".join(report.notes)


def test_a_line_that_a_full_disk_cut_off_spoils_no_later_one(
    writer: ChainWriter, folder: Path, pool: ThreadPoolExecutor, now: datetime
) -> None:
    file = folder / "here" / "checkpoints-2026-11.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"type":"checkpoint","numb')
    sink(now, kind="file", target="here")
    checkpoints_ship(pool=pool, now=now)
    assert [entry["number"] for entry in tool.read_witness(str(file))] == [1, 2, 3]


def test_a_bucket_gets_them_signed(writer: ChainWriter, pool: ThreadPoolExecutor, now: datetime) -> None:
    with s3_server() as server:
        sink(
            now,
            kind="s3",
            target=server.url,
            bucket="evidence",
            prefix="wardgate/eu",
            region=REGION,
            access_key=ACCESS_KEY,
            secret=SECRET_KEY,
            allowed_networks=LOOPBACK,
        )
        assert checkpoints_ship(pool=pool, now=now) == 3
        (name,) = server.objects
        assert name == "evidence/wardgate/eu/checkpoints/000000000001-000000000003.jsonl"
        assert numbers(server.objects[name].splitlines()) == [1, 2, 3]


def test_a_webhook_gets_them_with_a_signature_over_id_time_and_body(
    writer: ChainWriter, pool: ThreadPoolExecutor, now: datetime
) -> None:
    arrived: list[Seen] = []

    def script(seen: Seen, connection: Any) -> None:
        arrived.append(seen)
        connection.sendall(json_answer(b"{}"))

    with scripted_upstream() as server:
        server.script = script
        sink(now, kind="webhook", target=server.url, secret=HOOK_SECRET, allowed_networks=LOOPBACK)
        assert checkpoints_ship(pool=pool, now=now) == 3
    (seen,) = arrived
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    expected = base64.b64encode(hmac.new(HOOK_SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert seen.headers["webhook-signature"] == f"v1,{expected}"
    assert [entry["number"] for entry in json.loads(seen.body)["checkpoints"]] == [1, 2, 3]


@pytest.mark.parametrize("has_tls", [True, False])
def test_syslog_gets_messages_of_rfc_5424(
    writer: ChainWriter, pool: ThreadPoolExecutor, now: datetime, tmp_path: Path, has_tls: bool
) -> None:
    file, pem = certificate(tmp_path)
    with syslog_server(file if has_tls else None) as server:
        sink(
            now,
            kind="syslog",
            target=f"127.0.0.1:{server.port}",
            has_tls=has_tls,
            ca_certificate=pem if has_tls else "",
            allowed_networks=LOOPBACK,
        )
        assert checkpoints_ship(pool=pool, now=now) == 3, CheckpointSink.objects.get().last_error
        headers = [message.split(b" - {")[0].split(b" ") for message in server.messages]
        assert [header[0] for header in headers] == [b"<109>1"] * 3
        assert headers[0][1] == b"2026-11-03T12:00:00.000000Z"
        assert numbers([message[message.index(b"{") :] for message in server.messages]) == [1, 2, 3]


def test_a_syslog_server_with_another_certificate_gets_nothing(
    writer: ChainWriter, pool: ThreadPoolExecutor, now: datetime, tmp_path: Path
) -> None:
    file, _ = certificate(tmp_path)
    _, other = certificate(tmp_path / "..")
    with syslog_server(file) as server:
        sink(
            now,
            kind="syslog",
            target=f"127.0.0.1:{server.port}",
            ca_certificate=other,
            allowed_networks=LOOPBACK,
        )
        assert checkpoints_ship(pool=pool, now=now) == 0
        assert server.messages == []


def test_a_sink_that_fails_is_asked_again_later_and_later_and_the_others_go_on(
    writer: ChainWriter, folder: Path, pool: ThreadPoolExecutor, now: datetime
) -> None:
    sink(now, name="good", kind="file", target="here")
    sink(now, name="dead", kind="syslog", target="127.0.0.1:1", has_tls=False, allowed_networks=LOOPBACK)
    assert checkpoints_ship(pool=pool, now=now) == 3
    dead = CheckpointSink.objects.get(name="dead")
    assert (dead.failures, dead.delivered, dead.retry_at) == (1, 0, now + timedelta(seconds=1))
    assert dead.last_error
    checkpoints_ship(pool=pool, now=now + timedelta(seconds=2))
    dead.refresh_from_db()
    assert dead.retry_at == now + timedelta(seconds=4)
    assert any("dead lacks 3 checkpoints" in problem for problem in record_state(now=now).problems)


def test_what_was_delivered_and_not_noted_is_delivered_again(
    writer: ChainWriter, folder: Path, pool: ThreadPoolExecutor, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the delivery and its note, as between the checkpoint and its delivery, repeats and loses none."""
    made = sink(now, kind="file", target="here")
    checkpoints_ship(pool=pool, now=now)
    CheckpointSink.objects.filter(pk=made.pk).update(delivered=1)
    assert checkpoints_ship(pool=pool, now=now) == 2
    file = folder / "here" / "checkpoints-2026-11.jsonl"
    assert numbers(file.read_bytes().splitlines()) == [1, 2, 3, 2, 3]


def test_a_test_says_what_went_wrong(now: datetime) -> None:
    made = sink(now, kind="syslog", target="127.0.0.1:1", has_tls=False, allowed_networks=LOOPBACK)
    with pytest.raises(SinkFailed, match="cannot be reached"):
        checkpoint_sink_test(sink_id=made.pk, now=now)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "file", "target": "../etc"}, "target"),
        ({"kind": "file", "target": "a/b"}, "target"),
        ({"kind": "webhook", "target": "http://logs.example.com/x", "secret": "s"}, "target"),
        ({"kind": "webhook", "target": "https://logs.example.com/x"}, "secret"),
        (
            {"kind": "s3", "target": "https://s3.example.com", "bucket": "UPPER", "access_key": "a", "secret": "s"},
            "bucket",
        ),
        ({"kind": "syslog", "target": "logs.example.com"}, "target"),
        ({"kind": "syslog", "target": "logs.example.com:514", "has_tls": False}, "has_tls"),
        ({"kind": "syslog", "target": "logs.example.com:6514", "ca_certificate": "hello"}, "ca_certificate"),
        ({"kind": "syslog", "target": "logs.example.com:6514", "allowed_networks": ["all"]}, "allowed_networks"),
    ],
)
def test_a_sink_that_cannot_work_or_is_not_safe_is_refused(
    folder: Path, now: datetime, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        sink(now, **values)
    assert field in refused.value.error_dict


def test_a_secret_does_not_follow_to_another_place(now: datetime) -> None:
    made = sink(now, kind="webhook", target="https://a.example.com/x", secret="s")
    with pytest.raises(ValidationError) as refused:
        checkpoint_sink_save(
            sink_id=made.pk, name="copies", kind="webhook", target="https://evil.example.com/x", now=now
        )
    assert "secret" in refused.value.error_dict


def test_a_secret_and_the_key_of_checkpoints_move_to_a_new_master_key(
    writer: ChainWriter, folder: Path, now: datetime, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sink(now, kind="webhook", target="https://a.example.com/x", secret=HOOK_SECRET)
    sink(now, name="here", kind="file", target="here")
    settings.WARDGATE_MASTER_KEYS = f"{OTHER_KEY},{settings.WARDGATE_MASTER_KEYS}"
    call_command("seal_again")
    said = capsys.readouterr().out.splitlines()
    assert {"keys of checkpoints: 1 sealed again", "secrets of checkpoint sinks: 1 sealed again"} <= set(said)
    assert said[-1] == "Everything is sealed under the first master key."
    settings.WARDGATE_MASTER_KEYS = OTHER_KEY
    assert destination_of(CheckpointSink.objects.get(pk=made.pk)).secret.reveal().decode() == HOOK_SECRET


def test_a_secret_and_a_key_that_do_not_open_are_said_to_be_stuck(
    writer: ChainWriter, now: datetime, settings: Any
) -> None:
    sink(now, kind="webhook", target="https://a.example.com/x", secret=HOOK_SECRET)
    settings.WARDGATE_MASTER_KEYS = OTHER_KEY
    assert checkpoint_secrets_seal_again() == (0, 1)
    with pytest.raises(CommandError, match=r"open: 1 keys of checkpoints, 1 secrets of checkpoint sinks\. Keep"):
        call_command("seal_again")


def test_the_state_tells_what_is_missing(writer: ChainWriter, now: datetime) -> None:
    later = START + timedelta(minutes=5)
    writer.append(2)
    state = record_state(now=later)
    assert (state.number, state.events, state.uncovered) == (3, 15, 2)
    assert state.uncovered_seconds > 290
    problems = " ".join(state.problems)
    assert "2 events have waited" in problems
    assert "No copy of the checkpoints leaves" in problems
    assert "owns the record" in problems


def test_a_line_carries_no_private_key(
    writer: ChainWriter, folder: Path, pool: ThreadPoolExecutor, now: datetime
) -> None:
    sink(now, kind="file", target="here")
    checkpoints_ship(pool=pool, now=now)
    (line, *_) = (folder / "here" / "checkpoints-2026-11.jsonl").read_bytes().splitlines()
    assert set(json.loads(line)["key"]) == {"kid", "public_key", "created_at", "endorsed_by", "endorsement"}
