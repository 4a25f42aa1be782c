"""Keys that sign the gateway's own tokens: in turn, in time, sealed, and gone when they have to be."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts import issuing
from accounts.exceptions import MasterKeysUnusable
from accounts.models import SigningKey
from accounts.services.signing import (
    PUBLISHED_AHEAD,
    PUBLISHED_BEHIND,
    SigningKeyUnusable,
    signer_at,
    signing_key_rotate,
    signing_key_withdraw,
    signing_keys_tend,
)
from tests.support.record import START

pytestmark = pytest.mark.django_db
LONGEST = timedelta(seconds=issuing.MAX_TOKEN_SECONDS + issuing.LEEWAY_SECONDS)


def published(now) -> set[str]:
    return {key["kid"] for key in issuing.published(SigningKey.objects.all(), now=now)["keys"]}


def test_the_first_key_signs_at_once_and_the_next_when_everybody_can_know_it():
    first = signing_key_rotate(now=START)
    assert signer_at(START).kid == first.kid
    second = signing_key_rotate(now=START + timedelta(days=1))
    turn = START + timedelta(days=1) + PUBLISHED_AHEAD
    assert second.signs_from == turn
    assert published(START + timedelta(days=1)) == {first.kid, second.kid}
    assert signer_at(turn - timedelta(microseconds=1)).kid == first.kid
    assert signer_at(turn).kid == second.kid


def test_an_old_key_stays_published_until_its_last_token_has_expired():
    first = signing_key_rotate(now=START)
    signing_key_rotate(now=START)
    last_token = START + PUBLISHED_AHEAD
    assert first.kid in published(last_token + LONGEST)
    assert first.kid not in published(last_token + PUBLISHED_BEHIND)


def test_asking_twice_makes_one_key():
    signing_key_rotate(now=START)
    second = signing_key_rotate(now=START)
    assert signing_key_rotate(now=START + timedelta(seconds=1)).pk == second.pk
    assert SigningKey.objects.count() == 2


def test_keys_are_tended_by_age(settings):
    settings.WARDGATE_SIGNING_KEY_DAYS = 30
    assert signing_keys_tend(now=START)
    assert not signing_keys_tend(now=START + timedelta(days=29))
    assert signing_keys_tend(now=START + timedelta(days=30))
    assert not signing_keys_tend(now=START + timedelta(days=30, hours=1))
    assert SigningKey.objects.count() == 2


def test_without_any_sweep_there_is_still_a_key_that_signs(settings):
    settings.WARDGATE_SIGNING_KEY_DAYS = 30
    first = signer_at(START)
    assert signer_at(START + timedelta(days=59)).kid == first.kid
    assert signer_at(START + timedelta(days=61)).kid != first.kid


def test_a_key_that_signs_no_more_loses_its_private_half():
    first = signing_key_rotate(now=START)
    signing_key_rotate(now=START)
    signing_keys_tend(now=START + PUBLISHED_AHEAD)
    first.refresh_from_db()
    assert (bytes(first.ciphertext), bytes(first.wrapped_key)) == (b"", b"")
    assert first.public_jwk["kid"] == first.kid


def test_a_key_that_somebody_else_may_have_is_trusted_no_longer_from_that_moment():
    first = signing_key_rotate(now=START)
    later = START + timedelta(hours=1)
    replacement = signing_key_withdraw(kid=first.kid, now=later)
    assert published(later) == {replacement.kid}
    assert signer_at(later).kid == replacement.kid


def test_withdrawing_lets_the_waiting_key_sign_at_once():
    first = signing_key_rotate(now=START)
    waiting = signing_key_rotate(now=START)
    assert signing_key_withdraw(kid=first.kid, now=START).pk == waiting.pk
    assert signer_at(START).kid == waiting.kid


def test_withdrawing_the_waiting_key_leaves_the_other_one_signing_and_a_key_after_it():
    first = signing_key_rotate(now=START)
    waiting = signing_key_rotate(now=START)
    signing_key_withdraw(kid=waiting.kid, now=START)
    assert signer_at(START).kid == first.kid
    assert signer_at(START + PUBLISHED_AHEAD).kid not in {first.kid, waiting.kid}


def test_the_private_key_is_sealed_and_bound_to_its_row():
    first, second = signing_key_rotate(now=START), signing_key_rotate(now=START)
    assert b"PRIVATE" not in bytes(first.ciphertext)
    SigningKey.objects.filter(pk=first.pk).update(wrapped_key=second.wrapped_key, ciphertext=second.ciphertext)
    with pytest.raises(SigningKeyUnusable):
        signer_at(START)


def test_without_master_keys_nothing_signs(settings):
    settings.WARDGATE_MASTER_KEYS = ""
    with pytest.raises(MasterKeysUnusable):
        signer_at(START)
    assert not SigningKey.objects.exists()


def test_a_change_of_keys_moves_the_policy_version_that_gateways_watch():
    def version():
        with connection.cursor() as cursor:
            cursor.execute("SELECT version FROM policies_policystate")
            return cursor.fetchone()[0]

    before = version()
    signing_key_rotate(now=START)
    assert version() > before


class AnyOrder(TestCase):
    """Whatever is done to the keys, and whenever: one signs, and every good token can be verified."""

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["rotate", "tend", "sign"]), st.integers(0, 40 * 86_400)), max_size=12))
    def test_every_signed_token_can_be_verified_until_it_expires(self, steps):
        SigningKey.objects.all().delete()
        now, signed = START, []
        for step, seconds in steps:
            now += timedelta(seconds=seconds)
            if step == "rotate":
                signing_key_rotate(now=now)
            elif step == "tend":
                signing_keys_tend(now=now)
            else:
                signed.append((signer_at(now).kid, now))
            assert all(kid in published(now) for kid, at in signed if now <= at + LONGEST)
