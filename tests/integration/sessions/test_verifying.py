"""The stand-alone verifier on exports of a real database: what it accepts, and what it finds and where."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from sessions import chain, checkpoint_keys
from sessions.checkpoints import Due, chain_load, checkpoint_write_if_due
from sessions.exporting import Part, record_lines, sql_script
from sessions.models import Checkpoint, CheckpointKey
from sessions.shipping import checkpoint_line
from tests.support.chained import START, ChainWriter
from tests.support.servers import ROOT
from tests.support.verifying import PATH, first_problem, is_event, verified

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = Due(events=1, seconds=0, idle_seconds=3600)


def checkpoint(now: datetime) -> Checkpoint:
    found = checkpoint_write_if_due(chain=chain_load(), due=AT_ONCE, now=now)
    assert found is not None
    return found


def export(part: Part = Part()) -> list[str]:  # noqa: B008  (immutable)
    return list(record_lines(part=part, now=START))


def copies() -> list[dict[str, Any]]:
    keys = {key.kid: checkpoint_keys.public_key_document(key) for key in CheckpointKey.objects.all()}
    return [json.loads(checkpoint_line(row, keys)) for row in Checkpoint.objects.order_by("number")]


@pytest.fixture
def writer(now: datetime) -> ChainWriter:
    """Write a record of two processes, of 60 and 10 events, with a checkpoint every 20 of the first one's."""
    writer, other = ChainWriter(), ChainWriter()
    other.append(10)
    for turn in range(3):
        writer.append(20, payload=None if turn == 1 else b"\x28\xb5\x2f\xfd\x00compressed")
        checkpoint(now + timedelta(seconds=turn))
    return writer


def test_a_record_that_nobody_touched_holds(writer: ChainWriter) -> None:
    report = verified(export())
    assert report.problems == []
    assert (report.events, report.checkpoints, report.uncovered) == (70, 3, 0)


def test_events_after_the_last_checkpoint_hold_and_are_counted_as_not_covered(writer: ChainWriter) -> None:
    writer.append(4)
    report = verified(export())
    assert (report.holds, report.uncovered) == (True, 4)


def test_the_script_for_psql_is_the_one_that_the_application_uses() -> None:
    assert (ROOT / "deploy" / "record_export.sql").read_text() == sql_script()


def test_the_command_writes_a_file_that_the_tool_accepts_on_its_own(writer: ChainWriter, tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl.gz"
    call_command("record_export", output=str(file))
    kid = CheckpointKey.objects.get().kid
    done = subprocess.run(
        [sys.executable, "-I", str(PATH), "--trust", kid, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["events"] == 70


def test_a_key_that_is_not_the_trusted_one_is_found(writer: ChainWriter) -> None:
    assert first_problem(verified(export(), trusted=["0" * 32]))["kind"] == "key"


def test_keys_that_a_trusted_one_vouches_for_are_trusted(writer: ChainWriter, now: datetime) -> None:
    first = CheckpointKey.objects.get().kid
    for turn in range(2):
        checkpoint_keys.checkpoint_key_rotate(now=now + timedelta(minutes=turn))
        writer.append(1)
        checkpoint(now + timedelta(minutes=turn, seconds=30))
    assert verified(export(), trusted=[first]).holds


def test_a_key_that_nobody_vouches_for_is_not_trusted(writer: ChainWriter, now: datetime) -> None:
    first = CheckpointKey.objects.get().kid
    checkpoint_keys.checkpoint_key_rotate(now=now, is_vouched_for=False)
    writer.append(1)
    checkpoint(now + timedelta(seconds=30))
    assert not verified(export(), trusted=[first]).holds


def test_a_cut_export_is_told_from_a_cut_record(writer: ChainWriter) -> None:
    assert first_problem(verified(export()[:-1]))["kind"] == "export"


def test_the_part_that_holds_a_session_can_be_proved_by_itself(writer: ChainWriter, now: datetime) -> None:
    writer.session, session = uuid.uuid4(), writer.session
    writer.append(20)
    checkpoint(now + timedelta(minutes=1))
    writer.append(20)
    checkpoint(now + timedelta(minutes=2))
    lines = export(Part(session=session))
    report = verified(lines)
    assert report.problems == []
    assert report.events == 60
    later = export(Part(session=writer.session))
    assert (verified(later).problems, verified(later).events) == ([], 40)


def test_in_a_part_a_change_is_found_as_well(writer: ChainWriter) -> None:
    lines = export(Part(since=START + timedelta(milliseconds=25), until=START + timedelta(milliseconds=35)))
    events = [line for line in lines if is_event(line) and json.loads(line)["instance"] == writer.instance.id.hex]
    assert [json.loads(line)["seq"] for line in events] == list(range(21, 41))
    changed = [line.replace('\\"n\\": 33', '\\"n\\": 34') for line in lines]
    assert first_problem(verified(changed))["seq"] == 33
    without = [line for line in lines if not (is_event(line) and json.loads(line)["seq"] == 40)]
    assert not verified(without).holds


# What somebody with all rights on the database can do, done to the lines of an export.

Lines = list[dict[str, Any]]


def edit(lines: Lines, at: int) -> None:
    lines[at]["body"] = lines[at]["body"].replace("Ada", "Eve")


def delete(lines: Lines, at: int) -> None:
    del lines[at]


def insert(lines: Lines, at: int) -> None:
    lines.insert(at, dict(lines[at], body="{}"))


def reorder(lines: Lines, at: int) -> None:
    lines[at], lines[at - 1] = lines[at - 1], lines[at]


def swap_contents(lines: Lines, at: int) -> None:
    for name in ("body", "at_us"):
        lines[at][name], lines[at - 1][name] = lines[at - 1][name], lines[at][name]


def move_to_another_session(lines: Lines, at: int) -> None:
    lines[at]["session"] = uuid.uuid4().hex


def forget_message(lines: Lines, at: int) -> None:
    lines[at]["payload"] = None if lines[at]["payload"] else "e30="


def change_hash(lines: Lines, at: int) -> None:
    lines[at]["hash"] = "00" * 32


CHANGES = [edit, delete, insert, reorder, swap_contents, move_to_another_session, forget_message, change_hash]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_any_event_is_found_at_its_place(writer: ChainWriter, change: Any) -> None:
    lines = [json.loads(line) for line in export()]
    of_ours = [
        place
        for place, line in enumerate(lines)
        if line["type"] == "event" and line["instance"] == writer.instance.id.hex and line["seq"] > 1
    ]
    for place in of_ours:
        changed = [dict(line) for line in lines]
        seq = changed[place]["seq"]
        change(changed, place)
        problem = first_problem(verified(json.dumps(line) for line in changed))
        assert problem["instance"] == str(writer.instance.id)
        assert problem["seq"] in {seq - 1, seq, seq + 1}


def relinked(lines: Lines, instance: str) -> None:
    """Give every event of a chain the hash that it should have now, as an attacker who knows the layout would."""
    head, seq = chain.GENESIS, 0
    for line in lines:
        if line["type"] != "event" or line["instance"] != instance:
            continue
        seq += 1
        payload = None if line["payload"] is None else base64.b64decode(line["payload"])
        entry = chain.Entry(
            seq,
            line["at_us"],
            bytes.fromhex(line["session"]),
            bytes.fromhex(line["call"]),
            line["name"],
            line["body"].encode(),
            payload,
        )
        line["seq"], line["prev"] = seq, head.hex()
        head = chain.link(bytes.fromhex(instance), head, entry)
        line["hash"] = head.hex()


@pytest.mark.parametrize("change", [edit, delete, insert, reorder, move_to_another_session, forget_message])
def test_a_chain_that_was_linked_anew_contradicts_the_checkpoint_after_the_change(
    writer: ChainWriter, change: Any
) -> None:
    instance = writer.instance.id.hex
    lines = [json.loads(line) for line in export()]
    ours = [place for place, line in enumerate(lines) if line["type"] == "event" and line["instance"] == instance]
    for place in (ours[1], ours[19], ours[20], ours[33], ours[58]):
        changed = [dict(line) for line in lines]
        seq = changed[place]["seq"]
        change(changed, place)
        relinked(changed, instance)
        changed[-1]["events"] = sum(line["type"] == "event" for line in changed)
        problem = first_problem(verified(json.dumps(line) for line in changed))
        assert problem["reason"] in {"rewritten", "cut"}
        assert problem["seq"] - 1 <= seq <= problem["last"] + 1
        assert problem["last"] - problem["seq"] < 20


def test_every_cut_of_the_tail_is_found(writer: ChainWriter) -> None:
    instance = writer.instance.id.hex
    lines = [json.loads(line) for line in export()]
    for kept in range(60):
        cut = [
            line
            for line in lines
            if not (line.get("instance") == instance and line["type"] == "event" and line["seq"] > kept)
        ]
        problem = first_problem(verified(json.dumps(line) for line in cut))
        assert (problem["reason"], problem["seq"]) == ("cut", kept + 1)


def test_a_chain_that_was_taken_out_as_a_whole_is_found(writer: ChainWriter) -> None:
    lines = [line for line in export() if writer.instance.id.hex not in line or not is_event(line)]
    assert first_problem(verified(lines))["instance"] == str(writer.instance.id)


def test_a_chain_that_was_put_in_later_is_found(writer: ChainWriter, now: datetime) -> None:
    checkpoint_late = START + timedelta(hours=2)
    writer.append(1)
    checkpoint(checkpoint_late)
    ChainWriter().append(5)
    assert first_problem(verified(export()))["reason"] == "uncovered"


@pytest.mark.parametrize("member", ["body", "signature", "number"])
def test_a_changed_checkpoint_is_found(writer: ChainWriter, member: str) -> None:
    lines = [json.loads(line) for line in export()]
    target = next(line for line in lines if line["type"] == "checkpoint" and line["number"] == 2)
    target[member] = {
        "body": target["body"].replace('"events":50', '"events":49'),
        "signature": "A" * 86 + "==",
        "number": 7,
    }[member]
    problem = first_problem(verified(json.dumps(line) for line in lines))
    assert problem["kind"] == "checkpoint"
    assert problem["checkpoint"] == 2


def test_a_checkpoint_that_was_taken_out_is_found(writer: ChainWriter) -> None:
    lines = [line for line in export() if not (json.loads(line)["type"] == "checkpoint" and '"number" : 2,' in line)]
    assert first_problem(verified(lines))["checkpoint"] == 2


def test_a_record_that_was_put_back_to_an_older_state_contradicts_the_copies(
    writer: ChainWriter, now: datetime
) -> None:
    older = export()
    writer.append(5)
    checkpoint(now + timedelta(minutes=1))
    assert verified(older).holds
    report = verified(older, witnesses=copies())
    assert first_problem(report)["kind"] == "witness"
    cut = next(problem for problem in report.problems if problem.where.get("reason") == "cut")
    assert (cut.where["seq"], cut.where["last"]) == (61, 65)


def test_a_record_that_was_signed_anew_by_another_key_contradicts_the_copies(
    writer: ChainWriter, now: datetime
) -> None:
    kept = copies()
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE gateway_sessions_checkpoint, gateway_sessions_checkpointhead, gateway_sessions_checkpointkey"
        )
    checkpoint(now)
    assert verified(export()).holds
    assert first_problem(verified(export(), witnesses=kept))["kind"] in {"witness", "key"}


def test_copies_agree_with_a_record_that_went_on(writer: ChainWriter, now: datetime) -> None:
    kept = copies()
    writer.append(5)
    checkpoint(now + timedelta(minutes=1))
    assert verified(export(), witnesses=kept).problems == []
