"""Secrets under a new master key: what moves, what does not open, and what is gone when its turn comes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import QuerySet

from accounts import sealing, vault
from accounts.exceptions import MasterKeysUnusable
from accounts.models import SigningKey
from accounts.services.signing import signer_at, signing_key_rotate
from tests.support.record import START

pytestmark = pytest.mark.django_db
PLACE = "accounts_signingkey"
NEW = "next:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture
def keys(settings: Any) -> QuerySet[SigningKey]:
    """Two rows that an old master key sealed, and a new one in front of it."""
    signing_key_rotate(now=START)
    signing_key_rotate(now=START)
    settings.WARDGATE_MASTER_KEYS = f"{NEW},{settings.WARDGATE_MASTER_KEYS}"
    return SigningKey.objects.exclude(ciphertext=b"")


def test_every_row_moves_once_and_opens_without_the_old_key(keys: QuerySet[SigningKey], settings: Any) -> None:
    assert sealing.rows_seal_again(keys, place=PLACE) == (2, 0)
    assert sealing.rows_seal_again(keys, place=PLACE) == (0, 0)
    settings.WARDGATE_MASTER_KEYS = NEW
    assert signer_at(START).kid in {key.kid for key in keys.filter(key_id="next")}


def test_one_that_does_not_open_is_counted_and_left_as_it_is_and_the_others_move(keys: QuerySet[SigningKey]) -> None:
    broken = keys.order_by("kid")[0]
    keys.filter(pk=broken.pk).update(ciphertext=b"changed")
    assert sealing.rows_seal_again(keys, place=PLACE) == (1, 1)
    same = SigningKey.objects.get(pk=broken.pk)
    assert (same.key_id, bytes(same.wrapped_key)) == (broken.key_id, bytes(broken.wrapped_key))


def test_only_what_is_sealed_is_saved(keys: QuerySet[SigningKey], monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[set[str]] = []
    monkeypatch.setattr(SigningKey, "save", lambda _, **given: saved.append(set(given["update_fields"])))
    sealing.rows_seal_again(keys, place=PLACE)
    assert saved == [{"key_id", "wrapped_key", "ciphertext"}] * 2


@pytest.mark.parametrize("is_deleted", [True, False])
def test_one_that_is_deleted_or_forgotten_meanwhile_is_passed_over(
    keys: QuerySet[SigningKey], monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    rewrap = vault.rewrap

    def while_another_goes(*given: Any, aad: bytes) -> Any:
        others = SigningKey.objects.exclude(pk=aad.decode().rpartition("|")[2])
        if is_deleted:
            others.delete()
        else:
            others.update(wrapped_key=b"", ciphertext=b"")
        return rewrap(*given, aad=aad)

    monkeypatch.setattr(vault, "rewrap", while_another_goes)
    assert sealing.rows_seal_again(keys, place=PLACE) == (1, 0)


def test_without_master_keys_nothing_is_done(keys: QuerySet[SigningKey], settings: Any) -> None:
    settings.WARDGATE_MASTER_KEYS = ""
    with pytest.raises(MasterKeysUnusable):
        sealing.rows_seal_again(keys, place=PLACE)
    assert not keys.filter(key_id="next").exists()
