"""Reports for a period, and the evidence pack: right figures, a signature, and only for who may read it all."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import Client
from django.urls import reverse

from accounts.models import User
from connections.models import Connection
from gateway_project.reports import period_of
from policies import reports
from policies.models import AccessGrant, ApprovalDecision, ApprovalRequest
from sessions import search_index
from sessions.models import CallIndex, ReadEvent
from sessions.report_controls import CONTROLS
from sessions.reports import Period
from sessions.statements import signed_bytes
from tests.support.record import Record

pytestmark = pytest.mark.django_db

PERIOD = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
ASKED = "?since=2026-03-01&until=2026-04-01"
NOW = datetime(2026, 4, 2, tzinfo=UTC)


def browser_of(role: str) -> Client:
    user, _ = User.objects.get_or_create(username=role, defaults={"is_staff": True, "role_names": [role]})
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def record() -> Record:
    found = Record()
    for number in range(3):
        found.call("get_order", hits={"email": 2} if number else {})
    found.call("delete_order", verdict="deny", reason="not today")
    found.call("slow", state="outcome_unknown", answers=())
    search_index.catch_up(seconds=30)
    assert CallIndex.objects.count() == 5
    return found


def page_url(kind: str = "evidence") -> str:
    return reverse("gateway_sessions_recording_report", args=[kind]) + ASKED


def test_access_says_who_called_what_how_often_and_what_became_of_it(record):
    rows = {row["name"]: row for row in reports.SECTIONS["access"][1](PERIOD)["rows"]}
    assert rows.keys() == {"get_order", "delete_order", "slow"}
    assert (rows["get_order"]["calls"], rows["get_order"]["masked"], rows["get_order"]["principal"]) == (3, 4, "ada")
    assert (rows["delete_order"]["denied"], rows["slow"]["failed"]) == (1, 1)


def test_denied_masked_and_ended_calls_are_counted(record):
    denied = reports.SECTIONS["denials"][1](PERIOD)["rows"]
    assert [(row["rule"], row["calls"], row["principals"]) for row in denied] == [("deny it", 1, 1)]
    assert reports.SECTIONS["masking"][1](PERIOD)["rows"][0]["masked"] == 4
    assert {row["state"]: row["calls"] for row in reports.SECTIONS["outcomes"][1](PERIOD)["rows"]} == {
        "completed": 3,
        "denied": 1,
        "outcome_unknown": 1,
    }


def test_what_is_outside_of_the_period_is_left_out(record):
    earlier = Period(PERIOD.since - timedelta(days=30), PERIOD.since)
    assert reports.SECTIONS["access"][1](earlier)["rows"] == []
    assert reports.reports.totals(earlier)["calls"] == 0
    found = reports.reports.totals(PERIOD)
    assert (found["calls"], found["denied"], found["unknown"], found["masked"]) == (5, 1, 1, 4)
    assert (found["principals"], found["connections"], found["sessions"]) == (1, 1, 1)


def test_approvals_say_who_decided_and_how_long_it_took(record):
    approver = User.objects.create(username="rita")
    opened = PERIOD.since + timedelta(days=1)
    for number, seconds in enumerate((10, 30, 200)):
        request = ApprovalRequest.objects.create(
            code=f"APR-{number}",
            state="approved",
            principal=record.principal,
            connection=record.connection,
            name="delete_order",
            binding=bytes([number]) * 32,
            opened_at=opened,
            expires_at=opened + timedelta(hours=1),
            decided_at=opened + timedelta(seconds=seconds),
        )
        ApprovalDecision.objects.create(request=request, user=approver, verdict="approve", at=request.decided_at)
    found = reports.approvals(PERIOD)
    assert (found["median_seconds"], found["by_state"]) == (30.0, {"approved": 3})
    assert [row["seconds"] for row in found["rows"]] == [10.0, 30.0, 200.0]
    assert found["rows"][0]["decisions"][0]["by"] == "rita"


def test_a_grant_that_nobody_used_is_listed(record):
    wiki = Connection.objects.create(slug="wiki", name="Wiki", upstream_url="https://wiki.example.com/mcp")
    AccessGrant.objects.create(connection=wiki, principal=record.principal, tools=["read_page"])
    rows = reports.unused(PERIOD)["rows"]
    assert [(row["connection"], row["calls"]) for row in rows] == [("wiki", 0)]


def test_the_pack_has_every_section_and_every_control_points_to_one(record):
    pack = reports.evidence(period=PERIOD, by="ann", now=NOW)["pack"]
    assert pack["sections"].keys() == reports.SECTIONS.keys()
    assert {name for control in CONTROLS for name in control.sections} <= reports.SECTIONS.keys()
    assert {control.framework for control in CONTROLS} == {"SOC 2", "ISO 27001:2022"}


def test_the_signature_of_a_pack_holds_for_the_file_that_was_taken_away_and_for_no_other(record):
    answer = browser_of("auditor").get(page_url() + "&as=json")
    found = json.loads(answer.content)
    proof = found["proof"]
    digest = sha256(reports.canonical(found["pack"])).hexdigest()
    assert digest == proof["sha256"]
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(proof["public_key"]))
    key.verify(base64.b64decode(proof["signature"]), signed_bytes("report", digest.encode()))
    assert proof["key"] in {entry["kid"] for entry in found["pack"]["sections"]["verification"]["public_keys"]}
    found["pack"]["totals"]["denied"] = 0
    assert sha256(reports.canonical(found["pack"])).hexdigest() != digest


@pytest.mark.parametrize("kind", ["evidence", *reports.SECTIONS])
def test_every_report_is_a_page_and_json_and_it_is_noted_who_read_it(kind, record):
    client = browser_of("auditor")
    page = client.get(page_url(kind))
    assert page.status_code == 200
    assert "script-src 'none'" in page["Content-Security-Policy"]
    assert b"<script" not in page.content
    assert client.get(reverse("api:report-detail", args=[kind]) + ASKED).status_code == 200
    noted = list(ReadEvent.objects.filter(kind="report").values_list("detail", flat=True))
    assert len(noted) == 2
    assert all(text.startswith(f"{kind}, 2026-03-01") for text in noted)


def test_nothing_that_a_stranger_wrote_becomes_markup_in_a_report(record):
    record.call("<img src=x onerror=alert(1)>", verdict="deny", reason="<script>alert(1)</script>")
    search_index.catch_up(seconds=30)
    page = browser_of("auditor").get(page_url()).content.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


@pytest.mark.parametrize("role", ["viewer", "approver", "operator"])
def test_who_may_not_read_the_whole_record_gets_no_report(role):
    client = browser_of(role)
    assert client.get(page_url()).status_code == 403
    assert client.get(reverse("api:report-detail", args=["evidence"]) + ASKED).status_code == 403
    assert ReadEvent.objects.count() == 0


@pytest.mark.parametrize(
    "query",
    ["?since=2026-04-01&until=2026-03-01", "?since=x", "?since=2026-02-31", "?since=2020-01-01&until=2026-01-01"],
)
def test_a_period_that_makes_no_sense_is_refused(query):
    client = browser_of("auditor")
    assert client.get(reverse("gateway_sessions_recording_report") + query).status_code == 400
    assert client.get(reverse("api:report-detail", args=["access"]) + query).status_code == 400
    assert client.get(reverse("api:report-detail", args=["nothing"])).status_code == 404


def test_without_a_period_it_is_the_last_thirty_days():
    found = period_of({}, NOW)
    assert (found.since, found.until) == (NOW - timedelta(days=30), NOW)
