"""The sweeps over identity: what they forget, whom they lock, and that running twice changes nothing more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import services
from accounts.models import Lock, Principal, RevocationState, RevokedToken, SeenToken
from accounts.tasks import forget_expired, lock_dormant

ISSUER = "https://login.example.com"

pytestmark = pytest.mark.django_db


@pytest.fixture
def now():
    return timezone.now()


@pytest.fixture
def provider(now):
    return services.provider_save(name="Main", issuer=ISSUER, audiences=["x"], dormant_days=90, now=now)


def seen(subject, now, *, days, **values):
    return Principal.objects.create(
        issuer=ISSUER,
        subject=subject,
        first_seen=now - timedelta(days=365),
        last_seen=now - timedelta(days=days),
        **values,
    )


def version():
    return RevocationState.objects.get(pk=1).version


def revoke(value, expires_at, now):
    services.token_revoke(
        kind="session", issuer=ISSUER, value=value, source="logout", reason="", expires_at=expires_at, now=now
    )


def test_only_what_can_match_nothing_is_forgotten(now):
    long_ago, soon = now - timedelta(hours=1), now + timedelta(hours=1)
    for name, moment in (("old", long_ago), ("new", soon), ("just", now)):
        revoke(name, moment, now)
        services.token_seen(issuer=ISSUER, jti=name, expires_at=moment, now=now)
    ended = services.lock_place(
        kind="agent", agent="a", reason="x", source="console", ends_at=now - timedelta(hours=1), now=now - timedelta(2)
    )
    for _ in range(2):
        forget_expired()
        assert set(RevokedToken.objects.values_list("value", flat=True)) == {"new", "just"}
        assert set(SeenToken.objects.values_list("jti", flat=True)) == {"new", "just"}
    assert Lock.objects.get() == ended


def test_forgetting_nothing_makes_no_gateway_process_load_anything(now):
    revoke("new", now + timedelta(hours=1), now)
    before = version()
    forget_expired()
    assert version() == before


def test_who_was_not_seen_for_as_long_as_the_provider_allows_is_locked(provider, now):
    idle = seen("idle", now, days=91)
    seen("busy", now, days=89)
    for _ in range(2):
        lock_dormant()
        lock = Lock.objects.get()
        assert (lock.principal, lock.source, lock.reason) == (idle, "dormant", "Not seen for 90 days.")


def test_who_was_declared_and_never_seen_counts_from_the_declaration(provider, now):
    old, new = (
        Principal.objects.create(issuer=ISSUER, subject=name, first_seen=now - timedelta(days=days))
        for name, days in (("old", 100), ("new", 10))
    )
    lock_dormant()
    assert [lock.principal for lock in Lock.objects.all()] == [old]
    assert old != new


def test_a_login_to_the_console_counts_as_being_seen(provider, now, django_user_model):
    principal = seen("ada", now, days=200)
    django_user_model.objects.create_user("ada", principal=principal, last_login=now - timedelta(days=5))
    lock_dormant()
    assert not Lock.objects.exists()


def test_lifting_the_lock_gives_the_whole_time_again(provider, now):
    seen("ada", now, days=200)
    (entry,) = services.dormant_lock(now=now - timedelta(days=100))
    services.lock_lift(lock_id=entry.lock.pk, now=now - timedelta(days=50))
    lock_dormant()
    assert Lock.objects.count() == 1
    assert len(services.dormant_lock(now=now + timedelta(days=41))) == 1


@pytest.mark.parametrize("changed", [{"dormant_days": 0}, {"is_active": False}])
def test_a_provider_that_does_not_ask_for_it_has_nobody_locked(provider, now, changed):
    seen("ada", now, days=200)
    type(provider).objects.filter(pk=provider.pk).update(**changed)
    lock_dormant()
    assert not Lock.objects.exists()


def test_principals_of_another_issuer_are_left_alone(provider, now):
    Principal.objects.create(issuer="https://other.example.com", subject="ada", first_seen=now - timedelta(days=999))
    lock_dormant()
    assert not Lock.objects.exists()


def test_a_lock_by_a_person_does_not_stand_in_for_the_dormant_one(provider, now):
    principal = seen("ada", now, days=200)
    services.lock_place(kind="principal", principal=principal, reason="x", source="console", now=now)
    lock_dormant()
    assert Lock.objects.filter(source="dormant").count() == 1


def test_a_run_locks_no_more_than_it_is_told_and_the_longest_unseen_first(provider, now):
    for days in (100, 300, 200):
        seen(str(days), now, days=days)
    found = services.dormant_lock(now=now, at_most=2)
    assert [entry.lock.principal.subject for entry in found] == ["300", "200"]


def test_beat_runs_both(settings):
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {forget_expired.name, lock_dormant.name} <= scheduled
