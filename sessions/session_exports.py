"""One session to take away: JSON lines of its events, a table of its calls (CSV), or an HTTP archive (HAR 1.2).

All of it is as it was recorded, masked. It is made while it is sent, a page of calls at a time, so that the longest
session needs no more memory than a page.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings

from . import selectors
from .calls import CallView, body_of, payload_text
from .models import Session

COLUMNS: Final = (
    "call",
    "at",
    "method",
    "name",
    "verdict",
    "rule",
    "reason",
    "state",
    "outcome_reason",
    "status",
    "masked",
    "messages",
    "bytes",
    "held_us",
    "upstream_us",
    "total_us",
    "policy_version",
    "credential_version",
    "outbound_sha256",
    "principal",
    "issuer",
    "connection",
    "session",
)
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula when a cell begins with it (OWASP, CSV injection)."""


def json_lines(session: Session) -> Iterator[bytes]:
    """Yield each event as a line of JSON, in order. The text is ASCII, so that no character can end a line."""
    for event in selectors.events_of(session):
        line = {
            "position": event.position,
            "seq": event.seq,
            "at": _moment(event.at),
            "session": str(session.pk),
            "call": None if event.call_id is None else str(event.call_id),
            "name": event.name,
            "body": body_of(event),
            "message": payload_text(event.payload),
            "hash": event.hash.hex(),
        }
        yield json.dumps(line, separators=(",", ":")).encode() + b"\n"


def table(session: Session) -> Iterator[bytes]:
    """Yield the calls as lines of CSV (RFC 4180), the names of the columns first."""
    yield _row(COLUMNS)
    for call in calls(session):
        yield _row([_cell(value) for value in _values(session, call)])


def archive(session: Session) -> Iterator[bytes]:
    """Yield the calls as an HTTP archive (HAR 1.2), each as the exchange that it was for the client."""
    head = {
        "version": "1.2",
        "creator": {"name": "Wardgate", "version": "1"},
        "comment": f"Session {session.pk} of {session.principal} on {session.connection}. Masked, as it was recorded.",
    }
    yield b'{"log":' + json.dumps(head).encode()[:-1] + b',"entries":['
    for place, call in enumerate(calls(session)):
        yield (b"," if place else b"") + json.dumps(_exchange(session, call)).encode()
    yield b"]}}"


FORMATS: Final[dict[str, tuple[Callable[[Session], Iterator[bytes]], str]]] = {
    "jsonl": (json_lines, "application/x-ndjson"),
    "csv": (table, "text/csv; charset=utf-8"),
    "har": (archive, "application/json"),
}
"""What a session can be taken away as: who writes it, and its media type."""


def calls(session: Session) -> Iterator[CallView]:
    """Yield the calls of a session with all their messages, in the order in which they began."""
    after: int | None = 0
    while after is not None:
        page = selectors.calls_of(session=session, after=after)
        for call in page.calls:
            whole = selectors.call_of(session=session, call_id=call.id) if call.id in page.shortened else call
            yield whole or call
        after = page.after


def _values(session: Session, call: CallView) -> list[object]:
    return [
        call.id,
        _moment(call.at),
        call.method,
        call.name,
        call.verdict,
        call.rule,
        call.reason,
        call.state,
        call.outcome_reason,
        call.status,
        call.hits_count,
        len(call.messages),
        call.bytes,
        call.held_us,
        call.upstream_us,
        call.total_us,
        call.policy_version,
        call.credential_version,
        call.outbound_sha256,
        session.principal.subject,
        session.principal.issuer,
        session.connection.slug,
        session.pk,
    ]


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _row(cells: Any) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode("utf-8", "backslashreplace")


def _exchange(session: Session, call: CallView) -> dict[str, Any]:
    request = call.request or ""
    answer = "\n".join(message.text or f"(withheld: {message.reason})" for message in call.messages)
    total, held, upstream = ((value or 0) / 1000 for value in (call.total_us, call.held_us, call.upstream_us))
    json_type = "application/json"
    return {
        "startedDateTime": _moment(call.begins_at),
        "time": total,
        "request": {
            "method": call.verb or "POST",
            "url": f"{settings.WARDGATE_PUBLIC_URL}/mcp/{session.connection.slug}",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [{"name": "Content-Type", "value": json_type}],
            "queryString": [],
            "postData": {"mimeType": json_type, "text": request},
            "headersSize": -1,
            "bodySize": len(request.encode("utf-8", "replace")),
        },
        "response": {
            "status": call.status or 0,
            "statusText": call.state,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [],
            "content": {"size": len(answer.encode("utf-8", "replace")), "mimeType": json_type, "text": answer},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1 if call.bytes is None else call.bytes,
        },
        "cache": {},
        "timings": {"blocked": held, "send": 0, "wait": upstream, "receive": max(0.0, total - held - upstream)},
        "_wardgate": {
            "call": str(call.id),
            "method": call.method,
            "name": call.name,
            "verdict": call.verdict,
            "rule": call.rule,
            "reason": call.reason,
            "state": call.state,
            "outcome_reason": call.outcome_reason,
            "masked": call.hits,
            "policy_version": call.policy_version,
            "outbound_sha256": call.outbound_sha256,
            "hashes": [step.hash for step in call.steps],
        },
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
