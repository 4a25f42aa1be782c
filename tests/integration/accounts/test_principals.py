"""Principals: declared, seen, described by a person, and kept while there is evidence."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import services
from accounts.models import Principal
from connections.services import connection_save
from sessions.services import Opening, session_open

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"

pytestmark = pytest.mark.django_db


def ensure(subject="robot", **values):
    return services.principal_ensure(issuer=ISSUER, subject=subject, **values, now=NOW)


def seen(subject="robot", at=NOW, **values):
    return services.principal_seen(
        issuer=ISSUER, subject=subject, **{"address": "192.0.2.7", "client": "cli 1.0", **values}, now=at
    )


def save(row, **values):
    return services.principal_save(principal_id=row.pk, **{"kind": row.kind, "notes": row.notes, **values}, now=NOW)


def codes(refused):
    return {field: [error.code for error in errors] for field, errors in refused.value.error_dict.items()}


def test_a_principal_can_be_declared_before_its_first_token():
    declared = services.principal_save(issuer=ISSUER, subject=" robot ", kind="machine", notes="nightly build", now=NOW)
    acted = seen(kind="human")
    assert acted.pk == declared.pk
    acted.refresh_from_db()
    assert (acted.kind, acted.is_kind_fixed, acted.notes) == ("machine", True, "nightly build")


def test_the_same_principal_is_not_declared_twice():
    ensure()
    with pytest.raises(ValidationError):
        services.principal_save(issuer=ISSUER, subject="robot", now=NOW)


def test_the_same_subject_of_two_issuers_is_two_principals():
    other = services.principal_ensure(
        issuer="https://other.example.com", subject="robot", email="r@example.com", now=NOW
    )
    assert ensure(email="r@example.com").pk != other.pk


def test_ensuring_twice_finds_the_one_and_fills_in_what_was_not_known():
    first = ensure(email="r@example.com")
    second = ensure(kind="machine", display_name="Robot", email="other@example.com")
    assert first.pk == second.pk
    second.refresh_from_db()
    assert (second.kind, second.display_name, second.email) == ("machine", "Robot", "r@example.com")
    assert second.last_seen is None


@pytest.mark.parametrize(
    ("issuer", "subject"), [("", "robot"), (ISSUER, ""), (ISSUER, "x" * 256), ("x" * 501, "robot")]
)
def test_what_cannot_be_a_principal_is_not_declared(issuer, subject):
    with pytest.raises(ValidationError):
        services.principal_ensure(issuer=issuer, subject=subject, now=NOW)
    assert not Principal.objects.exists()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError) as refused:
        ensure(kind="robot")
    assert codes(refused) == {"kind": ["invalid_choice"]}


def test_a_session_notes_when_from_where_and_with_which_client_its_principal_was_seen():
    connection = connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=NOW)
    opening = Opening(
        issuer=ISSUER,
        subject="robot",
        display_name="Robot",
        email="",
        connection_id=connection.pk,
        era="modern",
        protocol_version="2026-07-28",
        client_name="inspector",
        client_version="2.1",
        user_agent="node",
        remote_address="192.0.2.7",
        kind="machine",
    )
    session = session_open(session_id=uuid.uuid4(), opening=opening, now=NOW)
    row = Principal.objects.get(pk=session.principal_id)
    assert (row.last_seen, row.last_address, row.last_client) == (NOW, "192.0.2.7", "inspector 2.1")
    assert (row.kind, row.display_name) == ("machine", "Robot")


def test_a_later_session_moves_what_was_seen_last_and_not_what_was_seen_first():
    seen()
    later = NOW + timedelta(hours=1)
    row = Principal.objects.get(pk=seen(at=later, address="192.0.2.8", client="ide").pk)
    assert (row.first_seen, row.last_seen, row.last_address, row.last_client) == (NOW, later, "192.0.2.8", "ide")


def test_the_kind_follows_the_tokens_until_a_person_fixes_it():
    row = seen(kind="human")
    assert seen(kind="unknown").kind == "human"
    assert seen(kind="machine").kind == "machine"
    save(row, kind="agent")
    seen(kind="human")
    row.refresh_from_db()
    assert (row.kind, row.is_kind_fixed) == ("agent", True)


def test_an_existing_principal_keeps_its_issuer_and_its_subject():
    row = ensure()
    assert save(row, issuer=ISSUER, subject="robot", notes="same").notes == "same"
    with pytest.raises(ValidationError) as refused:
        save(row, issuer="https://evil.example.com", subject="root")
    assert codes(refused) == {"issuer": ["cannot_change"], "subject": ["cannot_change"]}
    row.refresh_from_db()
    assert (row.issuer, row.subject) == (ISSUER, "robot")


def test_a_machine_gets_a_human_owner_and_both_kinds_are_fixed():
    robot, ada = ensure(kind="machine"), ensure("ada", kind="human")
    save(robot, owner=ada)
    robot.refresh_from_db()
    ada.refresh_from_db()
    assert robot.owner == ada
    assert robot.is_kind_fixed
    assert ada.is_kind_fixed


@pytest.mark.parametrize(
    ("kind", "owner_kind", "expected"),
    [
        ("machine", "machine", "owner_not_human"),
        ("machine", "agent", "owner_not_human"),
        ("agent", "unknown", "owner_not_human"),
        ("human", "human", "owner_needs_machine"),
        ("unknown", "human", "owner_needs_machine"),
    ],
)
def test_only_a_human_owns_and_only_a_machine_or_an_agent_is_owned(kind, owner_kind, expected):
    robot, owner = ensure(kind=kind), ensure("owner", kind=owner_kind)
    with pytest.raises(ValidationError) as refused:
        save(robot, owner=owner)
    assert codes(refused) == {"owner": [expected]}
    owner.refresh_from_db()
    assert not owner.is_kind_fixed


def test_nobody_owns_itself():
    ada = ensure("ada", kind="human")
    with pytest.raises(ValidationError) as refused:
        save(ada, kind="machine", owner=ada)
    assert "owner_is_itself" in codes(refused)["owner"]


def test_an_owner_stays_human_so_that_no_circle_can_be_made():
    robot, ada = ensure(kind="machine"), ensure("ada", kind="human")
    save(robot, owner=ada)
    with pytest.raises(ValidationError) as refused:
        save(ada, kind="machine", owner=robot)
    assert codes(refused) == {"kind": ["owns_machines"], "owner": ["owner_not_human"]}


def test_the_owner_is_judged_by_what_the_database_says_now():
    robot, ada = ensure(kind="machine"), ensure("ada", kind="human")
    Principal.objects.filter(pk=ada.pk).update(kind="machine")
    with pytest.raises(ValidationError) as refused:
        save(robot, owner=ada)
    assert codes(refused) == {"owner": ["owner_not_human"]}


def test_a_declared_principal_can_be_deleted_until_it_has_acted():
    services.principal_delete(principal_id=ensure().pk)
    assert not Principal.objects.exists()
    acted = seen()
    with pytest.raises(services.PrincipalHasEvidence):
        services.principal_delete(principal_id=acted.pk)
    assert Principal.objects.filter(pk=acted.pk).exists()


def test_a_principal_that_was_locked_is_not_deleted_with_its_lock():
    row = ensure()
    row.locks.create(kind="principal", reason="left the company", created_at=timezone.now())
    with pytest.raises(services.PrincipalHasEvidence):
        services.principal_delete(principal_id=row.pk)
