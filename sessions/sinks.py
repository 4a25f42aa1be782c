"""How copies of checkpoints leave this machine: a file, an S3-compatible bucket, a webhook, syslog. No database.

What is delivered are lines of JSON, the same everywhere and the same that `wardgate-verify` reads with `--witness`. A
delivery that is repeated does no harm: a reader knows a checkpoint by its number.
"""

from __future__ import annotations

import base64
import hmac
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from accounts import outbound
from accounts.vault import Secret

from . import s3, syslog

SECONDS = 8.0
"""How long one delivery may take."""
_SYSLOG_PRIORITY = 13 * 8 + 5
"""Facility 13 (log audit), severity 5 (notice): RFC 5424, section 6.2.1."""


class DeliveryFailed(Exception):
    """The sink did not take the checkpoints, or may not have. The text is a sentence without a secret or a URL."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line to deliver: a checkpoint's number (0 in a test), its time, and its JSON without a line break."""

    number: int
    at: datetime
    line: bytes


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and how to deliver; what the members mean is said at `CheckpointSink`. `folder` is for files."""

    id: str
    kind: str
    target: str
    folder: str = ""
    bucket: str = ""
    prefix: str = ""
    region: str = ""
    access_key: str = ""
    has_tls: bool = True
    ca_certificate: str = ""
    allowed_networks: tuple[str, ...] = ()
    secret: Secret = field(default_factory=lambda: Secret(b""), repr=False)


def deliver(to: Destination, items: Sequence[Item]) -> None:
    """Deliver `items`, all of them or none that counts.

    Raises:
        DeliveryFailed: they have to be delivered again.
    """
    ways = {"file": _to_file, "s3": _to_bucket, "webhook": _to_webhook, "syslog": _to_syslog}
    ways[to.kind](to, items)


def webhook_signature(secret: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature` (Standard Webhooks): HMAC-SHA256 over id, time and body."""
    digest = hmac.new(secret, f"{identifier}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def syslog_message(item: Item, *, host: str, process: int) -> bytes:
    """Return a message of RFC 5424; its text is ASCII JSON, so that nothing has to be escaped."""
    at = item.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    name = "".join(letter for letter in host if letter.isascii() and 33 <= ord(letter) <= 126)[:255] or "-"
    return f"<{_SYSLOG_PRIORITY}>1 {at} {name} wardgate {process} checkpoint - ".encode() + item.line


def _to_file(to: Destination, items: Sequence[Item]) -> None:
    if not to.folder:
        raise DeliveryFailed("WARDGATE_CHECKPOINT_FOLDER is not set: set it to a folder of this gateway's machine.")
    folder = Path(to.folder) / to.target
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        by_month: dict[str, list[bytes]] = {}
        for item in items:
            by_month.setdefault(item.at.astimezone(UTC).strftime("%Y-%m"), []).append(item.line)
        for month, lines in by_month.items():
            _append(folder / f"checkpoints-{month}.jsonl", lines)
    except OSError as error:
        raise DeliveryFailed(f"The file cannot be written: {(error.strerror or 'an error').lower()}.") from None


def _append(path: Path, lines: Sequence[bytes]) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        # What a full disk cut off stays as a line of its own; its checkpoints come again after it.
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        text = (b"\n" if is_cut else b"") + b"".join(line + b"\n" for line in lines)
        while text:
            text = text[os.write(descriptor, text) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_bucket(to: Destination, items: Sequence[Item]) -> None:
    bucket = s3.Bucket(
        url=to.target,
        name=to.bucket,
        access_key=to.access_key,
        secret_key=to.secret,
        region=to.region or "us-east-1",
        allowed_networks=to.allowed_networks,
        seconds=SECONDS,
    )
    prefix = f"{to.prefix.strip('/')}/" if to.prefix.strip("/") else ""
    name = f"{prefix}checkpoints/{items[0].number:012d}-{items[-1].number:012d}.jsonl"
    try:
        s3.put(bucket, name, [b"".join(item.line + b"\n" for item in items)])
    except s3.BucketFailed as error:
        raise DeliveryFailed(str(error)) from None


def _to_webhook(to: Destination, items: Sequence[Item]) -> None:
    body = b'{"type":"wardgate.checkpoints","checkpoints":[' + b",".join(item.line for item in items) + b"]}"
    identifier, timestamp = f"{to.id}-{items[0].number}-{items[-1].number}", int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "wardgate",
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": webhook_signature(to.secret.reveal(), identifier, timestamp, body),
    }
    try:
        answer = outbound.request(
            "POST",
            to.target,
            allowed_networks=to.allowed_networks,
            headers=headers,
            body=body,
            limit=64 * 1024,
            seconds=SECONDS,
        )
    except outbound.OutboundFailed as error:
        raise DeliveryFailed(str(error)) from None
    if not 200 <= answer.status < 300:
        raise DeliveryFailed(f"The webhook answered {answer.status}.")


def _to_syslog(to: Destination, items: Sequence[Item]) -> None:
    here, process = socket.gethostname(), os.getpid()
    messages = [syslog_message(item, host=here, process=process) for item in items]
    try:
        syslog.send(
            to.target,
            b"".join(b"%d %b" % (len(message), message) for message in messages),
            allowed_networks=to.allowed_networks,
            has_tls=to.has_tls,
            ca_certificate=to.ca_certificate,
            seconds=SECONDS,
        )
    except syslog.NotSent as error:
        raise DeliveryFailed(str(error)) from None
