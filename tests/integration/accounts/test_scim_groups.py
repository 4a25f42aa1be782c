"""Provisioned groups and their members, and what refers to them."""

from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.models import Group, RoleGrant, ScimMember
from accounts.services import (
    group_save,
    lock_place,
)
from connections.services import connection_save
from policies.models import AccessGrant
from policies.services import grant_save
from tests.support.scim import Provisioner, everything, provider

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection():
    return connection_save(
        slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=timezone.now()
    )


def test_a_group_that_was_declared_in_the_console_is_taken_over_with_its_grants(scim, ada, connection):
    declared = group_save(provider=scim.provider, name="sre", now=timezone.now())
    grant = grant_save(connection=connection, group=declared, tools=["get_*"], now=timezone.now())
    scim.create_group(displayName="sre", members=[{"value": ada["id"]}])
    assert Group.objects.get().pk == declared.pk
    assert AccessGrant.objects.get() == grant
    assert scim.create_group(displayName="sre", expect=409)["scimType"] == "uniqueness"


def test_deleting_a_group_with_grants_keeps_them_and_takes_its_members_out(scim, ada, connection):
    made = scim.create_group(displayName="sre", members=[{"value": ada["id"]}])
    grant_save(connection=connection, group=Group.objects.get(), tools=["get_*"], now=timezone.now())
    scim.delete(f"Groups/{made['id']}")
    row = Group.objects.get()
    assert (row.name, row.scim_id, row.scim_display_name) == ("sre", None, "")
    assert AccessGrant.objects.get().group == row
    assert not ScimMember.objects.exists()
    scim.get(f"Groups/{made['id']}", expect=404)
    assert scim.get("Groups")["totalResults"] == 0
    again = scim.create_group(displayName="sre")
    assert Group.objects.get().pk == row.pk
    assert again["id"] != made["id"]


@pytest.mark.parametrize("refers", ["role", "lock"])
def test_a_group_stays_whatever_refers_to_it(scim, refers):
    made = scim.create_group(displayName="sre")
    row = Group.objects.get()
    if refers == "role":
        RoleGrant.objects.create(group=row, role="viewer")
    else:
        lock_place(kind="group", group=row, reason="Incident 7", source="console", now=timezone.now())
    scim.delete(f"Groups/{made['id']}")
    assert Group.objects.get() == row


def test_a_group_without_anything_that_refers_to_it_goes(scim):
    scim.delete(f"Groups/{scim.create_group(displayName='sre')['id']}")
    assert not Group.objects.exists()


def test_grants_follow_a_group_that_is_renamed(scim, connection):
    made = scim.create_group(displayName="sre")
    grant_save(connection=connection, group=Group.objects.get(), tools=["get_*"], now=timezone.now())
    scim.patch(f"Groups/{made['id']}", {"op": "replace", "value": {"displayName": "reliability"}}, expect=204)
    assert AccessGrant.objects.get().group.name == "reliability"


def test_a_group_does_not_take_the_name_of_another(scim):
    group_save(provider=scim.provider, name="declared", now=timezone.now())
    made = scim.create_group(displayName="sre")
    scim.create_group(displayName="other", externalId="x")
    before = everything()
    for value in ("other", "declared"):
        rename = {"op": "replace", "path": "displayName", "value": value}
        assert scim.patch(f"Groups/{made['id']}", rename, expect=409)["scimType"] == "uniqueness"
    again = {"op": "replace", "path": "externalId", "value": "x"}
    assert scim.patch(f"Groups/{made['id']}", again, expect=409)["scimType"] == "uniqueness"
    assert everything() == before


def test_a_group_is_named_by_its_external_id_where_tokens_carry_ids():
    scim = Provisioner(provider(scim_group_name="external_id"))
    assert scim.create_group(displayName="Sales", expect=400)["scimType"] == "invalidValue"
    scim.create_group(displayName="Sales", externalId="8aa1a0c0")
    scim.create_group(displayName="Sales", externalId="8aa1a0c1")
    assert sorted(Group.objects.values_list("name", flat=True)) == ["8aa1a0c0", "8aa1a0c1"]


def test_groups_get_the_name_that_a_corrected_setting_says(scim):
    scim.create_group(displayName="Sales", externalId="8aa1a0c0")
    scim.create_group(displayName="Support")
    provider(scim_group_name="external_id")
    assert sorted(Group.objects.values_list("name", flat=True)) == ["8aa1a0c0", "Support"]


def test_a_deleted_user_is_in_no_group(scim, ada):
    made = scim.create_group(displayName="sre", members=[{"value": ada["id"]}])
    scim.delete(f"Users/{ada['id']}")
    assert scim.members(made["id"]) == set()
    removal = {"op": "remove", "path": f'members[value eq "{ada["id"]}"]'}
    scim.patch(f"Groups/{made['id']}", removal, expect=204)


def test_a_group_patch_answers_with_the_group_only_when_attributes_are_asked_for(scim, ada):
    made = scim.create_group(displayName="sre")
    addition = {"op": "add", "path": "members", "value": [{"value": ada["id"]}]}
    assert scim.patch(f"Groups/{made['id']}", addition, expect=204) is None
    shown = scim.patch(f"Groups/{made['id']}?attributes=members", addition, expect=200)
    assert [member["value"] for member in shown["members"]] == [ada["id"]]
