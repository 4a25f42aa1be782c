"""Locks and revocations as they are written: one target, a reason, an end ahead, and no lock twice."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from accounts import services
from accounts.models import ExchangedToken, Lock, Principal, RevocationState, RevokedToken
from connections.services import connection_save

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"
DIGEST = hashlib.sha256(b"token").hexdigest()

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return services.provider_save(name="Main", issuer=ISSUER, audiences=["gateway"], now=NOW)


@pytest.fixture
def ada():
    return Principal.objects.create(issuer=ISSUER, subject="ada")


def place(**values):
    return services.lock_place(**{"reason": "Lost her laptop", "source": "console", "now": NOW, **values})


def revoke(**values):
    return services.token_revoke(
        **{
            "kind": "digest",
            "issuer": "",
            "value": DIGEST,
            "source": "api",
            "reason": "leaked",
            "expires_at": NOW + timedelta(hours=1),
            "now": NOW,
            **values,
        }
    )


def codes(refused):
    return {field: [error.code for error in errors] for field, errors in refused.value.error_dict.items()}


def test_a_lock_says_who_placed_it_when_why_and_until_when(ada, admin_user):
    lock = place(kind="principal", principal=ada, ends_at=NOW + timedelta(hours=1), actor=admin_user)
    assert (lock.principal, lock.reason, lock.source, lock.actor) == (ada, "Lost her laptop", "console", admin_user)
    assert (lock.created_at, lock.ends_at, lock.lifted_at) == (NOW, NOW + timedelta(hours=1), None)


def test_every_kind_of_target_can_be_locked(provider, ada):
    group = services.group_save(provider=provider, name="support", now=NOW)
    connection = connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com", now=NOW)
    targets = [
        {"kind": "principal", "principal": ada},
        {"kind": "group", "group": group},
        {"kind": "provider", "provider": provider},
        {"kind": "connection", "connection": connection},
        {"kind": "token", "token": DIGEST},
        {"kind": "token", "token": "jti-1", "provider": provider},
        {"kind": "agent", "agent": "coder"},
    ]
    assert len({place(**target).pk for target in targets}) == len(targets)
    assert Lock.objects.count() == len(targets)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "principal"}, {"principal": ["required"]}),
        ({"kind": "agent", "agent": "  "}, {"agent": ["required"]}),
        ({"kind": "agent", "agent": "coder", "token": DIGEST}, {"token": ["other_target"]}),
        ({"kind": "token", "token": "jti-1"}, {"token": ["not_a_digest"]}),
        ({"kind": "token", "token": DIGEST.upper()}, {"token": ["not_a_digest"]}),
        ({"kind": "agent", "agent": "coder", "reason": " "}, {"reason": ["blank"]}),
        ({"kind": "agent", "agent": "coder", "ends_at": NOW}, {"ends_at": ["not_in_the_future"]}),
        ({"kind": "agent", "agent": "coder", "source": "rumour"}, {"source": ["invalid_choice"]}),
        ({"kind": "planet", "agent": "coder"}, {"agent": ["other_target"], "kind": ["invalid_choice"]}),
        ({"kind": "agent", "agent": "x" * 256}, {"agent": ["max_length"]}),
    ],
)
def test_a_lock_without_one_sound_target_reason_and_end_is_refused_at_its_field(values, expected):
    with pytest.raises(ValidationError) as refused:
        place(**values)
    assert codes(refused) == expected
    assert not Lock.objects.exists()


def test_a_lock_of_a_target_names_no_other_target(provider, ada):
    with pytest.raises(ValidationError) as refused:
        place(kind="principal", principal=ada, provider=provider)
    assert codes(refused) == {"provider": ["other_target"]}


def test_the_same_source_locks_the_same_target_once(ada):
    first = place(kind="principal", principal=ada)
    assert place(kind="principal", principal=ada, now=NOW + timedelta(minutes=1)) == first
    assert place(kind="principal", principal=ada, ends_at=NOW + timedelta(hours=1)) == first
    assert place(kind="principal", principal=ada, source="scim") != first


def test_a_lock_that_shall_hold_for_longer_is_a_lock_of_its_own(ada):
    short = place(kind="principal", principal=ada, ends_at=NOW + timedelta(hours=1))
    assert place(kind="principal", principal=ada, ends_at=NOW + timedelta(minutes=30)) == short
    assert place(kind="principal", principal=ada) != short


def test_a_lock_that_is_over_does_not_stand_in_for_a_new_one(ada):
    lifted = place(kind="principal", principal=ada)
    services.lock_lift(lock_id=lifted.pk, now=NOW)
    assert place(kind="principal", principal=ada) != lifted
    ended = place(kind="agent", agent="coder", ends_at=NOW + timedelta(hours=1))
    assert place(kind="agent", agent="coder", now=NOW + timedelta(hours=1)) != ended


def test_lifting_says_who_and_when_and_is_not_rewritten_by_lifting_again(ada, admin_user):
    lock = place(kind="principal", principal=ada)
    services.lock_lift(lock_id=lock.pk, actor=admin_user, now=NOW + timedelta(minutes=1))
    again = services.lock_lift(lock_id=lock.pk, now=NOW + timedelta(minutes=2))
    assert (again.lifted_at, again.lifted_by) == (NOW + timedelta(minutes=1), admin_user)


def test_a_source_lifts_its_own_locks_and_no_others(ada):
    by_person, by_event = (place(kind="principal", principal=ada, source=source) for source in ("console", "event"))
    assert services.locks_lift(principal=ada, source="event", now=NOW) == 1
    assert services.locks_lift(principal=ada, source="event", now=NOW) == 0
    by_person.refresh_from_db()
    by_event.refresh_from_db()
    assert (by_person.lifted_at, by_event.lifted_at) == (None, NOW)


def test_every_write_moves_the_version_that_the_data_path_watches(ada):
    def version():
        return RevocationState.objects.get(pk=1).version

    versions = [version()]
    lock = place(kind="principal", principal=ada)
    versions.append(version())
    services.lock_lift(lock_id=lock.pk, now=NOW)
    versions.append(version())
    revoke()
    versions.append(version())
    assert versions == sorted(set(versions))


def test_tokens_revoked_twice_are_refused_until_the_later_moment():
    def subject(minutes, hours):
        return revoke(
            kind="subject",
            issuer=ISSUER,
            value="ada",
            issued_until=NOW + timedelta(minutes=minutes),
            expires_at=NOW + timedelta(hours=hours),
            source="event",
        )

    subject(5, 1)
    row = subject(3, 2)
    assert RevokedToken.objects.get() == row
    assert (row.issued_until, row.expires_at) == (NOW + timedelta(minutes=5), NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"value": "short"}, "value"),
        ({"value": ""}, "value"),
        ({"kind": "token_id", "value": "jti-1"}, "issuer"),
        ({"kind": "session", "value": "sid-1"}, "issuer"),
        ({"kind": "subject", "issuer": ISSUER, "value": "ada"}, "issued_until"),
        ({"kind": "token_id", "issuer": ISSUER, "value": "jti-1", "issued_until": NOW}, "issued_until"),
        ({"kind": "token_id", "issuer": ISSUER, "value": ""}, "value"),
        ({"kind": "everything", "issuer": ISSUER, "value": "x"}, "kind"),
        ({"source": "rumour"}, "source"),
    ],
)
def test_a_revocation_that_could_match_nothing_or_too_much_is_refused(values, field):
    with pytest.raises(ValidationError) as refused:
        revoke(**values)
    assert field in codes(refused)
    assert not RevokedToken.objects.exists()


def test_a_revoked_token_takes_along_what_it_was_exchanged_for(ada, settings):
    given_out = ExchangedToken.objects.create(
        principal=ada,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        connection_slug="orders",
        subject_digest=DIGEST,
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=5),
    )
    revoke()
    row = RevokedToken.objects.get(kind="token_id")
    assert (row.issuer, row.value) == (settings.WARDGATE_PUBLIC_URL, str(given_out.pk))
