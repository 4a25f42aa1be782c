"""One session to take away, in three formats, by who may read it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.urls import reverse

from sessions import selectors, session_exports
from sessions.models import ReadEvent, Session
from tests.integration.sessions.test_recording_pages import browser_of
from tests.support.record import Record

pytestmark = pytest.mark.django_db

NASTY = '=cmd|"/c calc"!A1,\r\n\u2028<script>\ud7ff'


@pytest.fixture
def session() -> Session:
    record = Record()
    record.call("get_order", answers=({"jsonrpc": "2.0", "id": 1, "result": {"text": NASTY}},), hits={"email": 2})
    record.call(NASTY, verdict="deny", reason="not today")
    record.call("slow", state="outcome_unknown", answers=(), reason="timeout")
    return record.session


def written(session: Session, kind: str) -> bytes:
    return b"".join(session_exports.FORMATS[kind][0](session))


def test_json_lines_have_every_event_and_nothing_breaks_a_line(session):
    lines = written(session, "jsonl").decode("ascii").split("\n")
    assert lines.pop() == ""
    found = [json.loads(line) for line in lines]
    events = list(selectors.events_of(session))
    assert [(line["seq"], line["name"], line["hash"]) for line in found] == [
        (event.seq, event.name, event.hash.hex()) for event in events
    ]
    assert json.loads(found[1]["message"])["result"]["text"] == NASTY


def test_a_table_has_one_line_for_each_call_and_no_formula(session):
    rows = list(csv.DictReader(io.StringIO(written(session, "csv").decode(), newline="")))
    assert [row["verdict"] for row in rows] == ["allow", "deny", "allow"]
    assert [row["state"] for row in rows] == ["completed", "denied", "outcome_unknown"]
    assert rows[0]["masked"] == "2"
    assert rows[1]["name"] == "'" + NASTY
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_an_archive_is_har_and_has_each_exchange(session):
    log = json.loads(written(session, "har"))["log"]
    assert log["version"] == "1.2"
    assert len(log["entries"]) == 3
    for entry in log["entries"]:
        assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= entry.keys()
        assert {"method", "url", "headers", "queryString", "cookies", "postData"} <= entry["request"].keys()
        assert min(entry["timings"].values()) >= 0
    assert NASTY in json.loads(log["entries"][0]["response"]["content"]["text"])["result"]["text"]


def test_more_calls_than_a_page_are_all_there(monkeypatch):
    record = Record()
    for number in range(25):
        record.call(f"tool{number}", answers=({"jsonrpc": "2.0", "id": 1, "result": {"n": "y" * 3000}},))
    monkeypatch.setattr(selectors, "PAGE_PAYLOAD_BYTES", 100)
    whole = [call.name for call in session_exports.calls(record.session)]
    assert whole == [f"tool{number}" for number in range(25)]
    assert all(call.messages for call in session_exports.calls(record.session))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "har"])
def test_who_reads_contents_takes_it_away_and_it_is_noted(session, kind):
    client = browser_of("auditor")
    for url in (
        reverse("admin:gateway_sessions_recording_export", args=[session.pk, kind]),
        reverse("api:session-export-detail", args=[session.pk]) + f"?kind={kind}",
    ):
        answer: Any = client.get(url)
        assert b"".join(answer.streaming_content) == written(session, kind)
        assert answer["Content-Disposition"] == f'attachment; filename="{session.pk}.{kind}"'
    noted = ReadEvent.objects.filter(kind="export", session=session)
    assert [row.detail for row in noted] == [f"the session as {kind}"] * 2


def test_who_reads_no_contents_takes_nothing(session):
    for role in ("viewer", "operator", "approver"):
        client = browser_of(role)
        url = reverse("api:session-export-detail", args=[session.pk])
        assert client.get(url).status_code in {403, 404}
        assert client.get(reverse("admin:gateway_sessions_recording_export", args=[session.pk, "csv"])).status_code in {
            403,
            404,
        }
    assert ReadEvent.objects.count() == 0


def test_an_unknown_format_or_session_is_not_found(session):
    client = browser_of("auditor")
    assert client.get(reverse("admin:gateway_sessions_recording_export", args=[session.pk, "exe"])).status_code == 404
    assert client.get(reverse("api:session-export-detail", args=[session.pk]) + "?kind=exe").status_code == 400
    assert client.get(reverse("api:session-export-detail", args=["nothing"])).status_code == 404
