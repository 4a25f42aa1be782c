"""Events as other systems get them: one line, one meaning, whatever is in them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions import export_records as formats
from sessions.export_records import Record

TEXTS = st.text(max_size=60)
RECORDS = st.builds(
    Record,
    instance=st.uuids().map(str),
    seq=st.integers(1, 2**40),
    at_us=st.integers(0, 2**51),
    event=st.sampled_from(["gateway:call:denied", "gateway:call:completed", "gateway:call:outcome_unknown", "a:b:c"]),
    connection=TEXTS,
    issuer=TEXTS,
    subject=TEXTS,
    client=TEXTS,
    method=TEXTS,
    name=TEXTS,
    rule=TEXTS,
    reason=TEXTS,
    status=st.none() | st.integers(100, 599),
    duration_us=st.none() | st.integers(0, 10**9),
    body=st.dictionaries(TEXTS, st.integers() | TEXTS, max_size=3),
    message=st.none() | TEXTS,
)


def cef_fields(line: str) -> tuple[list[str], dict[str, str]]:
    """Read a line of CEF as a receiver does."""
    parts = re.split(r"(?<!\\)((?:\\\\)*)\|", line, maxsplit=7)
    header = ["".join(pair) for pair in zip(parts[0:14:2], parts[1:14:2], strict=True)]
    found = re.findall(r"(?:^| )([A-Za-z0-9]+)=((?:\\.|[^\\=])*?)(?= [A-Za-z0-9]+=|$)", parts[14])
    unescape = {"\\\\": "\\", "\\=": "=", "\\n": "\n", "\\r": "\r"}
    return header, {name: re.sub(r"\\.", lambda hit: unescape[hit[0]], value) for name, value in found}


@given(record=RECORDS)
def test_a_line_of_cef_has_one_meaning(record: Record) -> None:
    line = formats.cef(record)
    assert "\n" not in line
    assert all(letter.isprintable() for letter in line)
    header, fields = cef_fields(line)
    assert (header[0], header[4]) == ("CEF:0", record.event)
    assert fields["externalId"] == record.id
    assert fields["rt"] == str(record.at_us // 1000)
    if record.subject.isprintable() and record.subject.strip() == record.subject and record.subject:
        assert fields["suser"] == record.subject


@given(record=RECORDS)
def test_an_ocsf_event_has_what_its_class_requires(record: Record) -> None:
    event = json.loads(formats.compact(formats.ocsf(record)))
    required = {
        "activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time",
        "type_uid",
    }  # fmt: skip
    assert required <= event.keys()
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["class_uid"] // 1000 == event["category_uid"]
    assert event["api"]["operation"]
    assert event["metadata"]["product"]["vendor_name"]
    assert event["metadata"]["version"] == "1.3.0"


@given(record=RECORDS)
def test_syslog_says_its_length_and_is_one_line(record: Record) -> None:
    framed = formats.syslog(record, formats.compact(formats.ocsf(record)), host="gw 1\n")
    length, _, message = framed.partition(b" ")
    assert int(length) == len(message)
    assert b"\n" not in message
    assert re.match(rb"<1(08|10)>1 \d{4}-\d\d-\d\dT[0-9:.]+Z gw1 wardgate - event - \{", message)


@given(records=st.lists(RECORDS, min_size=1, max_size=5))
def test_every_body_is_json_with_every_record(records: list[Record]) -> None:
    ids = [record.id for record in records]
    lines = formats.elastic(records, index="audit").splitlines()
    assert [json.loads(line)["create"]["_id"] for line in lines[::2]] == ids
    assert [json.loads(line)["event"]["id"] for line in formats.splunk(records, host="h", index="").splitlines()] == ids
    assert [event["id"] for event in json.loads(formats.webhook(records))["data"]] == ids
    assert len(json.loads(formats.datadog(records, host="h", service=""))) == len(ids)
    logs = json.loads(formats.otlp(records, host="h"))["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert [log["timeUnixNano"] for log in logs] == [str(record.at_us * 1000) for record in records]


@pytest.mark.parametrize(
    ("event", "severity", "status"),
    [
        ("gateway:call:denied", 3, "Failure"),
        ("gateway:call:outcome_unknown", 3, "Failure"),
        ("gateway:call:upstream_error", 2, "Failure"),
        ("gateway:call:completed", 1, "Success"),
    ],
)
def test_what_happened_decides_how_bad_it_is(event: str, severity: int, status: str) -> None:
    found = formats.ocsf(Record("i", 1, 1, event))
    assert (found["severity_id"], found["status"]) == (severity, status)
