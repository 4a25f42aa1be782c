"""Writes of checkpoints: how far every chain of events has come, signed and chained.

One gateway process at a time writes them (`sessions.checkpointer`); what keeps them one chain is the database: a number
is written once, by whoever has its turn, and builds on the one before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from accounts.exceptions import DomainError

from . import checkpoint_keys
from .models import Checkpoint, CheckpointHead, EventRelease
from .statements import GENESIS, Head, Heads, WentBack, checkpoint_body, heads_of, statement_hash

logger = logging.getLogger(__name__)

_MARGIN = timedelta(hours=2)
_FULL_LOOK = timedelta(hours=1)
_HEADS = """
SELECT i.id, e.seq, e.hash FROM gateway_sessions_gatewayinstance i
CROSS JOIN LATERAL (
    SELECT seq, hash FROM gateway_sessions_event e WHERE e.instance_id = i.id ORDER BY seq DESC LIMIT 1
) e
WHERE i.ended_at IS NULL OR i.ended_at > %s
"""
_BEGINNING = "-infinity"


class CheckpointsDamaged(DomainError):
    """The checkpoints, or the events that they cover, are not what they were; nothing more is signed on top of them."""

    code = "checkpoints_damaged"


class Outrun(Exception):
    """Another process wrote the checkpoint; what this one knows of the chain is out of date."""


@dataclass(slots=True)
class Chain:
    """The checkpoints as their writer knows them. After an exception it is of no more use and is loaded again.

    `looked_at`: when all chains were last looked at, those of ended processes too. `has_news`: there are events that
    no checkpoint covers.
    """

    heads: Heads
    at: datetime | None = None
    looked_at: datetime | None = None
    has_news: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """When a checkpoint is written: after so many new events, or so many seconds after the last one.

    `idle_seconds`: so often even when nothing happened, which tells an idle gateway from one that was switched off.
    """

    events: int
    seconds: float
    idle_seconds: float


def chain_load() -> Chain:
    """Return what the newest checkpoint covers.

    Raises:
        CheckpointsDamaged: it is not what the checkpoints say.
    """
    last = Checkpoint.objects.order_by("-number").first()
    if last is None:
        return Chain(Heads())
    heads = Heads()
    rows = CheckpointHead.objects.order_by("leaf").values_list("instance", "leaf", "seq", "hash")
    try:
        heads.put({instance.bytes: Head(leaf, seq, bytes(digest)) for instance, leaf, seq, digest in rows})
        is_whole = heads.tree.root.hex() in last.body and heads.events == last.events
    except IndexError:
        is_whole = False
    if not is_whole:
        logger.critical("the table of heads is not what the checkpoints say; it is made again from them")
        heads = _replayed()
        if heads.tree.root.hex() not in last.body or heads.events != last.events:
            raise CheckpointsDamaged(
                "The checkpoints do not follow from each other: verify an export of the record with wardgate-verify."
            )
        CheckpointHead.objects.all().delete()
        _save_heads(heads.by_instance)
    heads.number, heads.hash = last.number, bytes(last.hash)
    return Chain(heads, last.at)


def checkpoint_write_if_due(*, chain: Chain, due: Due, now: datetime) -> Checkpoint | None:
    """Look how far the chains have come, and write a checkpoint when one is due; `chain` moves along with it.

    Raises:
        CheckpointsDamaged: a chain is shorter than the last checkpoint says, or differs from it.
        CheckpointKeyUnusable, MasterKeysUnusable: nothing can be signed.
        Outrun: another process was quicker.
    """
    moved = _moved(chain, now)
    known = chain.heads.by_instance
    new = sum(head.seq - (known[instance].seq if instance in known else 0) for instance, head in moved.items())
    age = None if chain.at is None else (now - chain.at).total_seconds()
    is_due = age is None or (bool(new) and age >= due.seconds) or new >= due.events or age >= due.idle_seconds
    chain.has_news = bool(new) and not is_due
    return checkpoint_write(chain=chain, moved=moved, now=now) if is_due else None


def checkpoint_write(*, chain: Chain, moved: Mapping[bytes, Head], now: datetime) -> Checkpoint:
    """Write the next checkpoint over what `moved`.

    Raises:
        CheckpointKeyUnusable, MasterKeysUnusable: it cannot be signed; nothing is written.
        Outrun: another process was quicker; nothing is written.
    """
    heads = chain.heads
    with transaction.atomic():
        checkpoint_keys.take_turns()
        last = Checkpoint.objects.order_by("-number").values_list("number", flat=True).first() or 0
        if last != heads.number:
            raise Outrun
        release = EventRelease.objects.order_by("-number").first()
        kid = checkpoint_keys.present_kid(now=now)
        heads.put(moved)
        number = heads.number + 1
        body = checkpoint_body(
            number=number,
            at_us=_microseconds(now),
            prev_hash=heads.hash,
            kid=kid,
            heads=heads,
            moved=moved,
            releases=0 if release is None else release.number,
            last_release=GENESIS if release is None else bytes(release.hash),
        )
        signature = checkpoint_keys.signed("checkpoint", body.encode(), now=now)
        checkpoint = Checkpoint.objects.create(
            number=number,
            at=now,
            body=body,
            prev_hash=heads.hash,
            hash=statement_hash("checkpoint", body.encode()),
            kid=signature.kid,
            signature=signature.signature,
            events=heads.events,
        )
        _save_heads(moved)
    heads.number, heads.hash, chain.at = number, bytes(checkpoint.hash), now
    return checkpoint


def covered_seqs() -> dict[UUID, int]:
    """Return up to which number each chain is covered by a checkpoint."""
    return dict(CheckpointHead.objects.values_list("instance", "seq"))


def _moved(chain: Chain, now: datetime) -> dict[bytes, Head]:
    is_full = chain.looked_at is None or now - chain.looked_at > _FULL_LOOK
    with connection.cursor() as cursor:
        cursor.execute(_HEADS, [_BEGINNING if is_full else now - _MARGIN])
        found = {instance.bytes: (seq, bytes(digest)) for instance, seq, digest in cursor.fetchall()}
    if is_full:
        chain.looked_at = now
    try:
        return chain.heads.moved(found)
    except WentBack as error:
        raise CheckpointsDamaged(
            f"The record was changed: {error}. Verify an export of it with wardgate-verify."
        ) from None


def _replayed() -> Heads:
    heads = Heads()
    for body in Checkpoint.objects.order_by("number").values_list("body", flat=True).iterator():
        heads.put(heads_of(body))
    return heads


def _save_heads(heads: Mapping[bytes, Head]) -> None:
    CheckpointHead.objects.bulk_create(
        [
            CheckpointHead(instance=UUID(bytes=instance), leaf=head.leaf, seq=head.seq, hash=head.hash)
            for instance, head in heads.items()
        ],
        update_conflicts=True,
        unique_fields=["instance"],
        update_fields=["seq", "hash"],
    )


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
