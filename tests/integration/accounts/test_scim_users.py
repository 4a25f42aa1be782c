"""Provisioned users, and the locks that follow from them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import Lock, Principal, ScimSync, ScimUser, User
from accounts.scim import schemas, selectors
from accounts.services import (
    console_session_begin,
    lock_lift,
    lock_place,
)
from tests.support.scim import ISSUER, Provisioner, everything, provider, stopped

pytestmark = pytest.mark.django_db


def test_whoever_is_deactivated_is_locked_once_however_often_it_is_said(scim, ada):
    for value in (False, "False", False):
        scim.patch(f"Users/{ada['id']}", {"op": "Replace", "path": "active", "value": value})
    assert stopped() == 1
    scim.send("PUT", f"Users/{ada['id']}", {**ada, "active": False}, expect=200)
    assert stopped() == 1


def test_whoever_is_created_without_being_active_is_locked_from_the_beginning(scim):
    scim.create_user(userName="bob", externalId="00u2", active=False)
    assert stopped("00u2") == 1


def test_a_console_session_ends_with_the_deactivation(scim, ada):
    person = User.objects.create_user("ada", principal=Principal.objects.get(subject="00u1"))
    session = console_session_begin(
        user=person,
        session_key="k" * 32,
        issuer=ISSUER,
        subject="00u1",
        provider_session="",
        method="oidc",
        address="",
        user_agent="",
        now=timezone.now(),
    )
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    session.refresh_from_db()
    assert session.ended_at is not None


def test_only_its_own_locks_are_lifted(scim, ada):
    principal = Principal.objects.get(subject="00u1")
    held = lock_place(kind="principal", principal=principal, reason="Incident 7", source="console", now=timezone.now())
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": True}})
    assert stopped() == 0
    held.refresh_from_db()
    assert held.lifted_at is None


def test_a_lock_that_a_person_lifted_comes_back_with_the_next_word_on_whoever_is_not_active(scim, ada):
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    lock_lift(lock_id=Lock.objects.get().pk, now=timezone.now())
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "path": "title", "value": "Countess"})
    assert stopped() == 1


def test_omitting_active_never_makes_anybody_active_again(scim, ada):
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    body = {"schemas": [schemas.USER], "userName": "ada@acme.example", "externalId": "00u1"}
    assert scim.send("PUT", f"Users/{ada['id']}", body, expect=200)["active"] is False
    assert stopped() == 1


def test_a_deleted_user_is_locked_until_it_is_provisioned_again(scim, ada):
    scim.delete(f"Users/{ada['id']}")
    assert stopped() == 1
    scim.delete(f"Users/{ada['id']}", expect=404)
    again = scim.create_user(userName="ada@acme.example", externalId="00u1")
    assert again["id"] != ada["id"]
    assert stopped() == 0


def test_whoever_changes_subject_leaves_a_locked_principal_behind(scim, ada):
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "path": "externalId", "value": "00u9"})
    assert (stopped("00u1"), stopped("00u9")) == (1, 0)
    assert ScimUser.objects.get().principal.subject == "00u9"
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    assert (stopped("00u1"), stopped("00u9")) == (1, 1)
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": True}})
    assert (stopped("00u1"), stopped("00u9")) == (1, 0)


def test_a_user_who_could_not_be_locked_is_refused(scim, ada):
    refused = scim.create_user(userName="bob", expect=400)
    assert (refused["scimType"], "externalId" in refused["detail"]) == ("invalidValue", True)
    before = everything()
    assert scim.patch(f"Users/{ada['id']}", {"op": "remove", "path": "externalId"}, expect=400)["status"] == "400"
    assert everything() == before


@pytest.mark.parametrize("attribute", ["user_name", "id"])
def test_the_subject_is_the_attribute_that_the_provider_says(attribute):
    scim = Provisioner(provider(scim_subject=attribute))
    user = scim.create_user(userName="ada@acme.example")
    subject = {"user_name": "ada@acme.example", "id": user["id"]}[attribute]
    assert Principal.objects.get().subject == subject
    scim.patch(f"Users/{user['id']}", {"op": "replace", "value": {"active": False}})
    assert stopped(subject) == 1


def test_whoever_spells_a_user_name_differently_is_locked_as_well():
    scim = Provisioner(provider(scim_subject="user_name"))
    spelt = Principal.objects.create(issuer=ISSUER, subject="ADA@acme.example")
    elsewhere = Principal.objects.create(issuer="https://other.example.com", subject="ADA@acme.example")
    user = scim.create_user(userName="ada@acme.example")
    scim.patch(f"Users/{user['id']}", {"op": "replace", "value": {"active": False}})
    assert spelt.locks.filter(lifted_at=None).count() == 1
    assert elsewhere.locks.count() == 0
    scim.patch(f"Users/{user['id']}", {"op": "replace", "value": {"active": True}})
    assert not Lock.objects.filter(lifted_at=None).exists()


def test_the_kind_that_a_person_fixed_stays(scim):
    Principal.objects.create(issuer=ISSUER, subject="00u7", kind="machine", is_kind_fixed=True)
    scim.create_user(userName="robot", externalId="00u7")
    assert Principal.objects.get(subject="00u7").kind == "machine"


def test_whoever_is_not_active_is_locked_under_the_subject_that_a_corrected_setting_names(scim, ada):
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    provider(scim_subject="user_name")
    assert stopped("ada@acme.example") == 1
    provider(issuer="https://new.example.com", scim_subject="user_name")
    assert Lock.objects.filter(principal__issuer="https://new.example.com", lifted_at=None).count() == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"userName": "ada@acme.example", "externalId": "other"},
        {"userName": "ADA@ACME.example", "externalId": "other"},
        {"userName": "other", "externalId": "00u1"},
    ],
)
def test_a_name_is_provisioned_once(scim, ada, attributes):
    refused = scim.create_user(**attributes, expect=409)
    assert (refused["status"], refused["scimType"]) == ("409", "uniqueness")
    other = scim.create_user(userName="third", externalId="00u3")
    before = everything()
    operations = [{"op": "replace", "path": name, "value": value} for name, value in attributes.items()]
    assert scim.patch(f"Users/{other['id']}", *operations, expect=409)["scimType"] == "uniqueness"
    assert everything() == before


def test_the_same_names_at_another_provider_are_other_users(scim, ada):
    other = Provisioner(provider("Other", "https://other.example.com"), owner=scim.owner)
    other.create_user(userName="ada@acme.example", externalId="00u1", active=False)
    assert Lock.objects.get().principal.issuer == "https://other.example.com"


def test_a_patch_that_fails_in_its_middle_changes_nothing(scim, ada):
    before = everything()
    scim.patch(
        f"Users/{ada['id']}",
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "path": "userName", "value": "other"},
        {"op": "replace", "path": "active", "value": "perhaps"},
        expect=400,
    )
    group = scim.create_group(displayName="Sales")
    scim.patch(
        f"Groups/{group['id']}",
        {"op": "add", "path": "members", "value": [{"value": ada["id"]}]},
        {"op": "replace", "path": "displayName", "value": "Other"},
        {"op": "add", "path": "members", "value": [{"value": str(uuid4())}]},
        expect=400,
    )
    assert scim.members(group["id"]) == set()
    scim.delete(f"Groups/{group['id']}")
    assert everything() == before


def test_what_was_refused_last_can_be_seen_without_what_was_sent(scim, ada):
    scim.create_user(userName="ADA@acme.example", externalId="canary-8", expect=409)
    sync = ScimSync.objects.get()
    assert sync.last_refusal == "POST Users: A user of this userName is provisioned already."
    assert sync.last_refusal_at is not None
    assert sync.last_change_at is not None


def test_a_user_whom_tokens_name_otherwise_is_pointed_out(scim, ada):
    assert selectors.hint_for(selectors.hinted(ScimUser.objects.all()).get()) == ""
    Principal.objects.create(issuer=ISSUER, subject="ada@acme.example", last_seen=timezone.now())
    user = selectors.hinted(ScimUser.objects.all()).get()
    assert "another attribute" in selectors.hint_for(user)
    user.provider.scim_subject = "user_name"
    assert "provision the user again" in selectors.hint_for(user)
