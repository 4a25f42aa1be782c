"""When checkpoints are written, what they cover, and what is refused to be signed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import connection

from sessions import checkpoint_keys
from sessions.checkpoints import (
    Chain,
    CheckpointsDamaged,
    Due,
    Outrun,
    chain_load,
    checkpoint_write,
    checkpoint_write_if_due,
)
from sessions.models import Checkpoint, CheckpointHead, CheckpointKey, Event
from sessions.statements import heads_of, signed_bytes, statement_hash
from tests.support.chained import ChainWriter

pytestmark = pytest.mark.django_db

DUE = Due(events=100, seconds=10, idle_seconds=3600)


def write(chain: Chain, now: datetime, due: Due = DUE) -> Checkpoint | None:
    return checkpoint_write_if_due(chain=chain, due=due, now=now)


def test_a_checkpoint_covers_the_last_event_of_every_chain_and_is_signed_by_the_present_key(now: datetime) -> None:
    first, second = ChainWriter(), ChainWriter()
    first.append(3)
    second.append(5)
    checkpoint = write(chain_load(), now)
    assert checkpoint is not None
    heads = heads_of(checkpoint.body)
    assert {key: (head.seq, head.hash) for key, head in heads.items()} == {
        first.instance.id.bytes: (3, first.head),
        second.instance.id.bytes: (5, second.head),
    }
    assert checkpoint.events == 8
    key = CheckpointKey.objects.get()
    Ed25519PublicKey.from_public_bytes(bytes(key.public_key)).verify(
        bytes(checkpoint.signature), signed_bytes("checkpoint", checkpoint.body.encode())
    )


def test_nothing_new_is_no_checkpoint_until_the_idle_time_is_over(now: datetime) -> None:
    ChainWriter().append(1)
    chain = chain_load()
    assert write(chain, now) is not None
    assert write(chain, now + timedelta(seconds=3599)) is None
    assert write(chain, now + timedelta(seconds=3600)) is not None


def test_new_events_wait_for_their_seconds_or_for_company_enough(now: datetime) -> None:
    writer = ChainWriter()
    writer.append(1)
    chain = chain_load()
    write(chain, now)
    writer.append(99)
    assert write(chain, now + timedelta(seconds=9.9)) is None
    assert chain.has_news
    assert write(chain, now + timedelta(seconds=10)) is not None
    writer.append(100)
    assert write(chain, now + timedelta(seconds=10.25)) is not None


def test_each_checkpoint_names_the_hash_of_the_one_before_and_lists_only_what_moved(now: datetime) -> None:
    quiet, busy = ChainWriter(), ChainWriter()
    quiet.append(2)
    busy.append(2)
    chain = chain_load()
    first = write(chain, now)
    busy.append(1)
    second = write(chain, now + timedelta(seconds=11))
    assert first is not None and second is not None
    assert json.loads(second.body)["prev"] == statement_hash("checkpoint", first.body.encode()).hex()
    assert set(heads_of(second.body)) == {busy.instance.id.bytes}
    assert json.loads(second.body)["leaves"] == 2


def test_a_process_that_takes_over_goes_on_where_the_last_one_ended(now: datetime) -> None:
    writer = ChainWriter()
    writer.append(4)
    write(chain_load(), now)
    writer.append(4)
    ChainWriter().append(1)
    taken_over, replayed = write(chain_load(), now + timedelta(seconds=11)), Chain(chain_load().heads)
    assert taken_over is not None
    assert (taken_over.number, taken_over.events) == (2, 9)
    assert replayed.heads.tree.root.hex() == json.loads(taken_over.body)["root"]


def test_the_slower_of_two_writers_writes_nothing(now: datetime) -> None:
    ChainWriter().append(1)
    quick, slow = chain_load(), chain_load()
    write(quick, now)
    with pytest.raises(Outrun):
        checkpoint_write(chain=slow, moved={}, now=now)
    assert Checkpoint.objects.count() == 1


def test_a_table_of_heads_that_was_tampered_with_is_made_again_from_the_checkpoints(now: datetime) -> None:
    writer = ChainWriter()
    writer.append(3)
    write(chain_load(), now)
    CheckpointHead.objects.update(seq=1, hash=bytes(32))
    assert chain_load().heads.by_instance[writer.instance.id.bytes].seq == 3
    assert CheckpointHead.objects.get().seq == 3


def tampered(statement: str) -> None:
    """Do to the events what an owner of the database could."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE gateway_sessions_event DISABLE TRIGGER wardgate_append_only")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE gateway_sessions_event ENABLE TRIGGER wardgate_append_only")


def test_nothing_is_signed_on_top_of_a_chain_that_was_cut(now: datetime) -> None:
    ChainWriter().append(3)
    chain = chain_load()
    write(chain, now)
    tampered("DELETE FROM gateway_sessions_event WHERE seq = 3")
    with pytest.raises(CheckpointsDamaged):
        write(chain, now + timedelta(seconds=11))


def test_nothing_is_signed_on_top_of_a_last_event_that_was_replaced(now: datetime) -> None:
    ChainWriter().append(3)
    chain = chain_load()
    write(chain, now)
    tampered("UPDATE gateway_sessions_event SET hash = prev_hash WHERE seq = 3")
    with pytest.raises(CheckpointsDamaged):
        write(chain, now + timedelta(seconds=11))


def test_a_new_key_signs_from_the_next_checkpoint_on_and_the_old_one_vouches_for_it(now: datetime) -> None:
    writer = ChainWriter()
    writer.append(1)
    chain = chain_load()
    first = write(chain, now)
    new = checkpoint_keys.checkpoint_key_rotate(now=now)
    writer.append(1)
    second = write(chain, now + timedelta(seconds=11))
    assert first is not None and second is not None
    assert (second.kid, new.endorsed_by) == (new.kid, first.kid)
    old = CheckpointKey.objects.get(kid=first.kid)
    assert bytes(old.ciphertext) == b""
    Ed25519PublicKey.from_public_bytes(bytes(old.public_key)).verify(
        bytes(new.endorsement), signed_bytes("key", bytes(new.public_key))
    )


def test_a_key_that_is_not_vouched_for_has_no_word_of_the_one_before(now: datetime) -> None:
    checkpoint_keys.signed("checkpoint", b"{}", now=now)
    new = checkpoint_keys.checkpoint_key_rotate(now=now, is_vouched_for=False)
    assert (new.endorsed_by, bytes(new.endorsement)) == ("", b"")


def test_the_present_key_moves_to_a_new_master_key_and_earlier_ones_stay_gone(now: datetime, settings: Any) -> None:
    checkpoint_keys.signed("checkpoint", b"{}", now=now)
    present = checkpoint_keys.checkpoint_key_rotate(now=now)
    other = "other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    settings.WARDGATE_MASTER_KEYS = f"{other},{settings.WARDGATE_MASTER_KEYS}"
    assert checkpoint_keys.checkpoint_keys_seal_again() == (1, 0)
    assert checkpoint_keys.checkpoint_keys_seal_again() == (0, 0)
    settings.WARDGATE_MASTER_KEYS = other
    assert checkpoint_keys.signed("checkpoint", b"{}", now=now).kid == present.kid
    assert CheckpointKey.objects.exclude(key_id="other").get().signs_until == now


def test_without_the_master_key_nothing_is_signed_and_nothing_written(now: datetime, settings: object) -> None:
    ChainWriter().append(1)
    write(chain_load(), now)
    settings.WARDGATE_MASTER_KEYS = "other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # type: ignore[attr-defined]
    with pytest.raises(checkpoint_keys.CheckpointKeyUnusable):
        write(chain_load(), now + timedelta(hours=2))
    assert Checkpoint.objects.count() == 1
    assert Event.objects.count() == 1
