"""Writes of the sinks of checkpoints, and their delivery: in order, at least once, with longer and longer pauses."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts import addresses, sealing, vault
from accounts.exceptions import DomainError
from accounts.saving import Refusals

from . import syslog
from .checkpoint_keys import public_key_document
from .models import Checkpoint, CheckpointKey, CheckpointSink
from .sinks import DeliveryFailed, Destination, Item, deliver

BATCH = 200
LONGEST_PAUSE_SECONDS = 60
_PLACE = "gateway_sessions_checkpointsink"
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")


class SinkFailed(DomainError):
    """A test did not reach the sink; the message says why."""

    code = "sink_failed"


@transaction.atomic
def checkpoint_sink_save(
    *,
    sink_id: UUID | None,
    name: str,
    kind: str,
    target: str,
    bucket: str = "",
    prefix: str = "",
    region: str = "",
    access_key: str = "",
    has_tls: bool = True,
    ca_certificate: str = "",
    allowed_networks: Iterable[object] = (),
    secret: str = "",
    is_active: bool = True,
    now: datetime,
) -> CheckpointSink:
    """Add or change a sink. A new one gets all checkpoints from the first; an empty `secret` keeps the one there is.

    Raises:
        ValidationError: by field.
        CheckpointSink.DoesNotExist: there is no such sink.
        MasterKeysUnusable: the secret cannot be sealed.
    """
    sink = CheckpointSink(created_at=now)
    if sink_id is not None:
        sink = CheckpointSink.objects.select_for_update().get(pk=sink_id)
    was_at = None if sink_id is None else (sink.kind, sink.target, sink.bucket)
    sink.name, sink.kind, sink.target = name.strip(), kind, target.strip()
    sink.bucket, sink.prefix, sink.region, sink.access_key = bucket, prefix, region, access_key
    sink.has_tls, sink.ca_certificate, sink.is_active = has_tls, ca_certificate.strip(), is_active
    refusals = Refusals()
    sink.allowed_networks = refusals.texts("allowed_networks", allowed_networks)
    _check(sink, bool(secret or sink.ciphertext), refusals)
    if was_at is not None and was_at != (sink.kind, sink.target, sink.bucket):
        if sink.ciphertext and not secret:
            # A secret never follows to another place than the one that it was given for.
            refusals.add("secret", "secret_needed", "Give the secret again: the sink is another place now.")
        sink.delivered, sink.delivered_at = 0, None
    if secret:
        kept = sealing.sealed(secret, place=_PLACE, row_id=sink.pk)
        sink.key_id, sink.wrapped_key, sink.ciphertext = kept.key_id, kept.wrapped_key, kept.ciphertext
    sink.failures, sink.last_error, sink.retry_at = 0, "", None
    refusals.save(sink)
    return sink


def checkpoint_sink_delete(*, sink_id: UUID) -> None:
    """Stop sending to a sink; what it has stays there."""
    CheckpointSink.objects.filter(pk=sink_id).delete()


def checkpoint_secrets_seal_again() -> tuple[int, int]:
    """Seal the secrets of sinks under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return sealing.rows_seal_again(CheckpointSink.objects.exclude(key_id=""), place=_PLACE)


def checkpoint_sink_test(*, sink_id: UUID, now: datetime) -> None:
    """Send one line that is no checkpoint to the sink, now.

    Raises:
        SinkFailed: it did not take it.
        CheckpointSink.DoesNotExist: there is no such sink.
    """
    sink = CheckpointSink.objects.get(pk=sink_id)
    line = json.dumps({"type": "test", "at": now.isoformat(), "sink": sink.name}, separators=(",", ":")).encode()
    try:
        deliver(destination_of(sink), [Item(0, now, line)])
    except DeliveryFailed as error:
        raise SinkFailed(str(error)) from None


def checkpoints_ship(*, pool: Executor, now: datetime) -> int:
    """Deliver to every sink whose turn it is what it does not have yet, all sinks at once; return how many went."""
    due = CheckpointSink.objects.filter(Q(retry_at=None) | Q(retry_at__lte=now), is_active=True)
    keys = {key.kid: public_key_document(key) for key in CheckpointKey.objects.all()}
    under_way = []
    for sink in due:
        items = [
            Item(checkpoint.number, checkpoint.at, checkpoint_line(checkpoint, keys))
            for checkpoint in Checkpoint.objects.filter(number__gt=sink.delivered).order_by("number")[:BATCH]
        ]
        if items:
            under_way.append((sink, items, pool.submit(_delivered, sink, items)))
    sent = 0
    for sink, items, future in under_way:
        problem = future.result()
        if problem is None:
            sent += len(items)
            CheckpointSink.objects.filter(pk=sink.pk, delivered__lt=items[-1].number).update(
                delivered=items[-1].number, delivered_at=now, failures=0, last_error="", retry_at=None
            )
        else:
            pause = min(2**sink.failures, LONGEST_PAUSE_SECONDS)
            CheckpointSink.objects.filter(pk=sink.pk).update(
                failures=sink.failures + 1, last_error=problem[:300], retry_at=now + timedelta(seconds=pause)
            )
    return sent


def checkpoint_line(checkpoint: Checkpoint, keys: dict[str, dict[str, Any]]) -> bytes:
    """Return a checkpoint as a line of JSON with the public key that it is signed by; see docs/record.md."""
    members = {
        "type": "checkpoint",
        "number": checkpoint.number,
        "body": checkpoint.body,
        "kid": checkpoint.kid,
        "signature": base64.b64encode(bytes(checkpoint.signature)).decode(),
        "key": keys.get(checkpoint.kid),
    }
    return json.dumps(members, separators=(",", ":")).encode()


def destination_of(sink: CheckpointSink) -> Destination:
    """Return where to deliver, with the secret opened.

    Raises:
        DeliveryFailed: the secret does not open.
    """
    secret = vault.Secret(b"")
    if sink.ciphertext:
        kept = vault.Sealed(sink.key_id, bytes(sink.wrapped_key), bytes(sink.ciphertext))
        try:
            secret = sealing.opened(kept, place=_PLACE, row_id=sink.pk)
        except (vault.CannotOpen, DomainError):
            raise DeliveryFailed("The secret of the sink cannot be opened: set it again.") from None
    return Destination(
        id=str(sink.pk),
        kind=sink.kind,
        target=sink.target,
        folder=settings.WARDGATE_CHECKPOINT_FOLDER,
        bucket=sink.bucket,
        prefix=sink.prefix,
        region=sink.region,
        access_key=sink.access_key,
        has_tls=sink.has_tls,
        ca_certificate=sink.ca_certificate,
        allowed_networks=tuple(sink.allowed_networks),
        secret=secret,
    )


def _delivered(sink: CheckpointSink, items: list[Item]) -> str | None:
    """Deliver, in a thread without a database; return what went wrong."""
    try:
        deliver(destination_of(sink), items)
    except DeliveryFailed as error:
        return str(error)
    except Exception as error:  # (whatever a sink does, the others go on)
        return f"The delivery failed ({type(error).__name__})."
    return None


def _check(sink: CheckpointSink, has_secret: bool, refusals: Refusals) -> None:
    try:
        addresses.parse_networks(sink.allowed_networks)
    except addresses.NetworkRefused as error:
        refusals.add("allowed_networks", "bad_network", error.message)
    check = {"file": _check_file, "s3": _check_bucket, "webhook": _check_url, "syslog": _check_syslog}.get(sink.kind)
    if check is not None:
        check(sink, refusals)
    if sink.kind in {"s3", "webhook"} and not has_secret:
        refusals.add("secret", "secret_needed", "Give the secret that deliveries are signed with.")


def _check_file(sink: CheckpointSink, refusals: Refusals) -> None:
    if not settings.WARDGATE_CHECKPOINT_FOLDER:
        refusals.add("kind", "no_folder", "Files need WARDGATE_CHECKPOINT_FOLDER: set it on every gateway.")
    if _FOLDER.fullmatch(sink.target) is None:
        refusals.add(
            "target", "bad_folder", "Give the name of one folder: letters, digits, dots, hyphens, underscores."
        )


def _check_url(sink: CheckpointSink, refusals: Refusals) -> None:
    try:
        target = addresses.parse_upstream_url(sink.target)
    except addresses.UrlRefused as error:
        refusals.add("target", error.code, error.message)
        return
    if target.scheme == "http" and not sink.allowed_networks:
        refusals.add("target", "plain_http", "Plain http is for allowed networks only: use https.")


def _check_bucket(sink: CheckpointSink, refusals: Refusals) -> None:
    _check_url(sink, refusals)
    if _BUCKET.fullmatch(sink.bucket) is None:
        refusals.add("bucket", "bad_bucket", "Give the bucket's name.")
    if _PREFIX.fullmatch(sink.prefix) is None:
        refusals.add("prefix", "bad_prefix", "Use letters, digits, dots, hyphens, underscores and slashes.")
    if not sink.access_key:
        refusals.add("access_key", "access_key_needed", "Give the access key id.")


def _check_syslog(sink: CheckpointSink, refusals: Refusals) -> None:
    if not syslog.is_address(sink.target):
        refusals.add("target", "bad_syslog", "Give host:port, such as logs.example.com:6514.")
    if not sink.has_tls and not sink.allowed_networks:
        refusals.add("has_tls", "plain_text", "Without TLS only into allowed networks: name them, or use TLS.")
    if sink.ca_certificate and "BEGIN CERTIFICATE" not in sink.ca_certificate:
        refusals.add("ca_certificate", "bad_certificate", "Give the certificate as PEM.")
