"""PURE: an event as other systems get it, and the seven ways in which they want it written.

Every record has an id that is the same whenever it is sent (process and number in its chain), so that a receiver can
tell a repetition. Sources: OCSF 1.3.0, class API Activity (6003), profile Security Control; Micro Focus "Implementing
ArcSight Common Event Format", version 25; Splunk "Format events for HTTP Event Collector"; Elasticsearch bulk API;
Datadog logs API v2; Standard Webhooks; OpenTelemetry Protocol 1.3, logs, JSON encoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

PRODUCT: Final = "Wardgate"
VERSION: Final = "1"
DENIED: Final = frozenset({"gateway:call:denied", "upstream:message:withheld"})
UNCERTAIN: Final = frozenset({"gateway:call:outcome_unknown", "gateway:call:aborted_by_client"})
FAILED: Final = frozenset({"gateway:call:upstream_error", "gateway:call:not_sent"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """One event with what is known of its call, session and caller; times are microseconds since 1970 in UTC."""

    instance: str
    seq: int
    at_us: int
    event: str
    session: str = ""
    call: str = ""
    connection: str = ""
    issuer: str = ""
    subject: str = ""
    client: str = ""
    user_agent: str = ""
    address: str = ""
    method: str = ""
    name: str = ""
    verdict: str = ""
    rule: str = ""
    reason: str = ""
    status: int | None = None
    duration_us: int | None = None
    masked: int = 0
    hash: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    message: str | None = None

    @property
    def id(self) -> str:
        """What tells a repetition."""
        return f"{self.instance}-{self.seq}"

    @property
    def severity(self) -> int:
        """OCSF's severity: 1 informational, 2 low, 3 medium."""
        if self.event in DENIED or self.event in UNCERTAIN:
            return 3
        return 2 if self.event in FAILED else 1

    @property
    def title(self) -> str:
        """The event as a sentence for people."""
        what = self.name or self.method or self.event
        why = f": {self.reason}" if self.reason else ""
        return f"{self.event.rpartition(':')[2].replace('_', ' ')} {what} on {self.connection or 'the gateway'}{why}"


def plain(record: Record) -> dict[str, Any]:
    """Return the record with our own names; what is empty is left out."""
    members: dict[str, Any] = {
        "id": record.id,
        "time": moment(record.at_us),
        "event": record.event,
        "session": record.session,
        "call": record.call,
        "connection": record.connection,
        "principal": {"issuer": record.issuer, "subject": record.subject} if record.subject else None,
        "client": record.client,
        "address": record.address,
        "method": record.method,
        "name": record.name,
        "verdict": record.verdict,
        "rule": record.rule,
        "reason": record.reason,
        "status": record.status,
        "duration_us": record.duration_us,
        "masked": record.masked,
        "hash": record.hash,
        "body": record.body or None,
        "message": record.message,
    }
    return {name: value for name, value in members.items() if value not in (None, "")}


def ocsf(record: Record) -> dict[str, Any]:
    """Return the record as an OCSF event of the class API Activity."""
    is_denied, is_bad = record.event in DENIED, record.event in DENIED | UNCERTAIN | FAILED
    activity = {"tools/list": 2, "resources/read": 2, "prompts/get": 2, "resources/list": 2, "prompts/list": 2}
    activity_id = activity.get(record.method, 99)
    event: dict[str, Any] = {
        "class_uid": 6003,
        "class_name": "API Activity",
        "category_uid": 6,
        "category_name": "Application Activity",
        "activity_id": activity_id,
        "activity_name": "Read" if activity_id == 2 else record.method or record.event,
        "type_uid": 600300 + activity_id,
        "time": record.at_us // 1000,
        "severity_id": record.severity,
        "severity": ("Informational", "Low", "Medium")[record.severity - 1],
        "status_id": 2 if is_bad else 1,
        "status": "Failure" if is_bad else "Success",
        "action_id": 2 if is_denied else 1,
        "action": "Denied" if is_denied else "Allowed",
        "disposition_id": 2 if is_denied else 1,
        "disposition": "Blocked" if is_denied else "Allowed",
        "message": record.title,
        "metadata": {
            "version": "1.3.0",
            "uid": record.id,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": VERSION},
            "profiles": ["security_control"],
            "log_name": record.event,
            "sequence": record.seq,
        },
        "actor": {
            "user": {"uid": record.subject or "unknown", "domain": record.issuer},
            "session": {"uid": record.session},
        },
        "api": {
            "operation": record.name or record.method or record.event,
            "service": {"name": record.connection or PRODUCT},
            "request": {"uid": record.call},
        },
        "src_endpoint": {"ip": record.address or "0.0.0.0", "name": record.client},  # noqa: S104 - not known
        "unmapped": {"hash": record.hash, "masked": record.masked, "instance": record.instance, **record.body},
    }
    if record.rule:
        event["policy"] = {"name": record.rule}
    if record.reason:
        event["status_detail"] = record.reason
    if record.status is not None:
        event["api"]["response"] = {"code": record.status}
    if record.duration_us is not None:
        event["duration"] = record.duration_us // 1000
    if record.user_agent:
        event["http_request"] = {"user_agent": record.user_agent}
    if record.message is not None:
        event["raw_data"] = record.message
    return event


def cef(record: Record) -> str:
    """Return the record as a line of CEF; everything is escaped, so it stays one line with one meaning."""
    severity = {1: 3, 2: 5, 3: 7}[record.severity]
    header = "|".join(_cef_header(part) for part in (PRODUCT, PRODUCT, VERSION, record.event, record.title))
    fields: list[tuple[str, object]] = [
        ("rt", record.at_us // 1000),
        ("externalId", record.id),
        ("suser", record.subject),
        ("sntdom", record.issuer),
        ("src", record.address),
        ("requestClientApplication", record.client or record.user_agent),
        ("requestMethod", record.method),
        ("act", record.verdict or record.event.rpartition(":")[2]),
        ("outcome", "failure" if record.severity > 1 else "success"),
        ("reason", record.reason),
        ("cs1Label", "connection" if record.connection else ""),
        ("cs1", record.connection),
        ("cs2Label", "tool" if record.name else ""),
        ("cs2", record.name),
        ("cs3Label", "rule" if record.rule else ""),
        ("cs3", record.rule),
        ("cs4Label", "session" if record.session else ""),
        ("cs4", record.session),
        ("cs5Label", "call" if record.call else ""),
        ("cs5", record.call),
        ("cs6Label", "hash" if record.hash else ""),
        ("cs6", record.hash),
        ("cn1Label", "masked"),
        ("cn1", record.masked),
        ("msg", record.message if record.message is not None else ""),
    ]
    if record.duration_us is not None:
        fields += [("cn2Label", "duration_us"), ("cn2", record.duration_us)]
    extension = " ".join(f"{name}={_cef_value(str(value))}" for name, value in fields if value != "")
    return f"CEF:0|{header}|{severity}|{extension}"


def syslog(record: Record, text: str, *, host: str) -> bytes:
    """Return a message of RFC 5424 with its length before it (octet counting, RFC 5425 section 4.3.1)."""
    # Facility 13, log audit; severity 4 (warning) or 6 (informational).
    priority = 13 * 8 + (4 if record.severity == 3 else 6)
    message = f"<{priority}>1 {moment(record.at_us)} {_printable(host, 255)} wardgate - event - {text}".encode()
    return b"%d %b" % (len(message), message)


def splunk(records: Sequence[Record], *, host: str, index: str) -> bytes:
    """Return a body for the HTTP Event Collector: JSON objects, one after the other."""
    extra = {"index": index} if index else {}
    return b"\n".join(
        _json(
            {
                "time": f"{record.at_us / 1_000_000:.6f}",
                "host": host,
                "source": "wardgate",
                "sourcetype": "wardgate:event",
                **extra,
                "event": plain(record),
            }
        )
        for record in records
    )


def elastic(records: Sequence[Record], *, index: str) -> bytes:
    """Return a body for the bulk API. Each document is created under the record's id: a repetition is a conflict."""
    lines = []
    for record in records:
        lines.append(_json({"create": {"_index": index, "_id": record.id}}))
        lines.append(_json({"@timestamp": moment(record.at_us), "wardgate": plain(record), "message": record.title}))
    return b"\n".join(lines) + b"\n"


def datadog(records: Sequence[Record], *, host: str, service: str) -> bytes:
    """Return a body for the logs API."""
    status = {1: "info", 2: "warn", 3: "error"}
    return _json(
        [
            {
                "ddsource": "wardgate",
                "service": service or "wardgate",
                "hostname": host,
                "timestamp": record.at_us // 1000,
                "status": status[record.severity],
                "message": record.title,
                "wardgate": plain(record),
            }
            for record in records
        ]
    )


def webhook(records: Sequence[Record]) -> bytes:
    """Return the body of a webhook: a type, a time and the data, as Standard Webhooks has them."""
    last = moment(max(record.at_us for record in records))
    return _json({"type": "wardgate.events", "timestamp": last, "data": [plain(record) for record in records]})


def otlp(records: Sequence[Record], *, host: str) -> bytes:
    """Return an ExportLogsServiceRequest."""
    severities = {1: (9, "INFO"), 2: (13, "WARN"), 3: (17, "ERROR")}
    return _json(
        {
            "resourceLogs": [
                {
                    "resource": {
                        "attributes": [_attribute("service.name", "wardgate"), _attribute("host.name", host)],
                    },
                    "scopeLogs": [
                        {
                            "scope": {"name": "wardgate", "version": VERSION},
                            "logRecords": [
                                {
                                    "timeUnixNano": str(record.at_us * 1000),
                                    "observedTimeUnixNano": str(record.at_us * 1000),
                                    "severityNumber": severities[record.severity][0],
                                    "severityText": severities[record.severity][1],
                                    "body": {"stringValue": record.title},
                                    "attributes": [
                                        _attribute(f"wardgate.{name}", value) for name, value in plain(record).items()
                                    ],
                                }
                                for record in records
                            ],
                        }
                    ],
                }
            ]
        }
    )


def moment(at_us: int) -> str:
    """Return a moment as RFC 3339 has it."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def compact(value: Any) -> str:
    """Return JSON without blanks; ASCII, so that no character of it can end a line."""
    return json.dumps(value, separators=(",", ":"))


def _json(value: Any) -> bytes:
    return compact(value).encode()


def _attribute(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    return {"key": name, "value": {"stringValue": value if isinstance(value, str) else compact(value)}}


def _cef_header(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")
    return _one_line(escaped)


def _one_line(text: str) -> str:
    """Return `text` with every character that a reader could take for the end of a line, or a control, as a blank."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _printable(text: str, length: int) -> str:
    return "".join(letter for letter in text if letter.isascii() and 33 <= ord(letter) <= 126)[:length] or "-"
