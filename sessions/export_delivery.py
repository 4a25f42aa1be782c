"""How a batch of records gets to another system, and what its answer means. No database.

An answer that is not good is one of three things: try again later (with the time that the service asks for), send fewer
at once, or these records will never be taken, which is counted and told and never silent.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from accounts import outbound
from accounts.vault import Secret

from . import export_records as formats
from . import syslog
from .export_records import Record
from .sinks import webhook_signature

SECONDS: Final = 15.0
"""How long one delivery may take."""
MAX_PAUSE_SECONDS: Final = 600
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Datadog takes 5 MB at once, and most proxies before the others less than 10."""
_ANSWER_BYTES: Final = 8 * 1024 * 1024


class NotTaken(Exception):
    """The service did not take the batch, or may not have: it has to be sent again.

    The text is a sentence without a secret or a URL. `pause` is how many seconds the service asks to wait.
    """

    def __init__(self, message: str, *, pause: float = 0) -> None:
        super().__init__(message)
        self.pause = pause


class TooMuch(Exception):
    """The batch is larger than the service takes at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to deliver; the members are those of `ExportSink`."""

    id: str
    kind: str
    target: str
    dataset: str = ""
    user: str = ""
    has_tls: bool = True
    ca_certificate: str = ""
    allowed_networks: tuple[str, ...] = ()
    secret: Secret = field(default_factory=lambda: Secret(b""), repr=False)


def deliver(to: Target, records: Sequence[Record]) -> int:
    """Deliver all records, and return how many of them the service refused for good.

    Raises:
        NotTaken: all of them have to be sent again.
        TooMuch: fewer have to be sent at once.
    """
    if to.kind in {"syslog_ocsf", "syslog_cef"}:
        _to_syslog(to, records)
        return 0
    body, headers = _written(to, records)
    if len(body) > MAX_BODY_BYTES and len(records) > 1:
        raise TooMuch
    answer = _posted(to, body, headers)
    if to.kind == "elastic":
        return _refused_by_elastic(answer)
    if to.kind == "otlp":
        return _refused_by_otlp(answer)
    if to.kind == "splunk" and _members(answer).get("code") != 0:
        raise NotTaken("Splunk did not say that it took the events.")
    return 0


def _written(to: Target, records: Sequence[Record]) -> tuple[bytes, dict[str, str]]:
    host = socket.gethostname()
    secret = to.secret.reveal().decode("latin-1")
    content = {"Content-Type": "application/json"}
    match to.kind:
        case "splunk":
            headers = {"Authorization": f"Splunk {secret}"}
            return formats.splunk(records, host=host, index=to.dataset), {**content, **headers}
        case "elastic":
            basic = base64.b64encode(f"{to.user}:{secret}".encode("latin-1")).decode()
            authorization = f"Basic {basic}" if to.user else f"ApiKey {secret}"
            headers = {"Content-Type": "application/x-ndjson", **({"Authorization": authorization} if secret else {})}
            return formats.elastic(records, index=to.dataset or "wardgate"), headers
        case "datadog":
            return formats.datadog(records, host=host, service=to.dataset), {**content, "DD-API-KEY": secret}
        case "otlp":
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            return formats.otlp(records, host=host), {**content, **headers}
    body, timestamp = formats.webhook(records), int(time.time())
    identifier = f"{to.id}-{records[0].id}-{len(records)}"
    return body, {
        **content,
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": webhook_signature(to.secret.reveal(), identifier, timestamp, body),
    }


def _posted(to: Target, body: bytes, headers: Mapping[str, str]) -> outbound.Answer:
    try:
        answer = outbound.request(
            "POST",
            to.target,
            allowed_networks=to.allowed_networks,
            headers={"User-Agent": "wardgate", **headers},
            body=body,
            limit=_ANSWER_BYTES,
            seconds=SECONDS,
        )
    except outbound.OutboundFailed as error:
        raise NotTaken(str(error)) from None
    if answer.status == 413:
        raise TooMuch
    if not 200 <= answer.status < 300:
        raise NotTaken(f"The service answered {answer.status}.", pause=_asked_pause(answer))
    return answer


def _asked_pause(answer: outbound.Answer) -> float:
    """Return the seconds of Retry-After; a date there counts as nothing, our own pauses grow anyway."""
    asked = answer.headers.get("retry-after", "")
    return min(int(asked), MAX_PAUSE_SECONDS) if asked.isascii() and asked.isdecimal() and len(asked) < 7 else 0


def _refused_by_elastic(answer: outbound.Answer) -> int:
    members = _members(answer)
    items = members.get("items")
    if not isinstance(items, list):
        raise NotTaken("The service did not say what it did with each event.")
    if not members.get("errors"):
        return 0
    refused = 0
    for item in items:
        result = next(iter(item.values()), None) if isinstance(item, dict) else None
        status = result.get("status") if isinstance(result, dict) else None
        # 409 is a repetition of what it has. What it is too busy for is sent again with all the others.
        if status in {200, 201, 409}:
            continue
        if not isinstance(status, int) or status == 429 or status >= 500:
            raise NotTaken(f"The service was too busy for some events ({status}).")
        refused += 1
    return refused


def _refused_by_otlp(answer: outbound.Answer) -> int:
    partial = _members(answer, may_be_empty=True).get("partialSuccess")
    count = partial.get("rejectedLogRecords", 0) if isinstance(partial, dict) else 0
    try:
        return max(0, int(count))
    except (TypeError, ValueError):
        return 0


def _members(answer: outbound.Answer, *, may_be_empty: bool = False) -> dict[str, Any]:
    if may_be_empty and not answer.body.strip():
        return {}
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotTaken("The service's answer cannot be read.")
    return found


def _to_syslog(to: Target, records: Sequence[Record]) -> None:
    here = socket.gethostname()
    write = formats.cef if to.kind == "syslog_cef" else lambda record: formats.compact(formats.ocsf(record))
    try:
        syslog.send(
            to.target,
            b"".join(formats.syslog(record, write(record), host=here) for record in records),
            allowed_networks=to.allowed_networks,
            has_tls=to.has_tls,
            ca_certificate=to.ca_certificate,
            seconds=SECONDS,
        )
    except syslog.NotSent as error:
        raise NotTaken(str(error)) from None
