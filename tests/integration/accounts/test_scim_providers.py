"""Provisioning as Okta and Microsoft Entra ID drive it: their requests in their order and wire format, and the effects.

Sources: the SCIM 2.0 protocol reference of Okta; Microsoft's tutorial for a SCIM endpoint and its list of known issues.
"""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import Group, Lock, Principal, ScimUser
from accounts.scim import schemas
from accounts.services import provider_save
from tests.support.scim import Provisioner

OKTA = "https://acme.okta.example"
ENTRA = "https://login.microsoftonline.example/tenant/v2.0"
ENTRA_GROUP = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"

pytestmark = pytest.mark.django_db


@pytest.fixture
def okta():
    return Provisioner(provider_save(name="Okta", issuer=OKTA, now=timezone.now()))


@pytest.fixture
def entra():
    provider = provider_save(name="Entra", issuer=ENTRA, now=timezone.now())
    type(provider).objects.filter(pk=provider.pk).update(scim_group_name="external_id")
    return Provisioner(provider)


def is_locked(issuer, subject):
    return Lock.objects.filter(
        principal__issuer=issuer, principal__subject=subject, source="scim", lifted_at=None
    ).exists()


def test_okta_provisions_a_user_deactivates_it_and_takes_it_back(okta):
    found = okta.get("Users?filter=userName%20eq%20%22test.user%40acme.example%22&startIndex=1&count=100")
    assert (found["totalResults"], found["Resources"]) == (0, [])
    user = okta.create_user(
        userName="test.user@acme.example",
        name={"givenName": "Test", "familyName": "User"},
        emails=[{"primary": True, "value": "test.user@acme.example", "type": "work"}],
        displayName="Test User",
        locale="en-US",
        externalId="00ujl29u0le5T6Aj10h7",
        groups=[],
        password="1mz050nq",
        active=True,
    )
    assert okta.answer["Content-Type"] == "application/scim+json"
    assert okta.answer["Location"] == user["meta"]["location"]
    assert "1mz050nq" not in str(ScimUser.objects.get().attributes)
    assert "password" not in user
    principal = Principal.objects.get()
    assert (principal.issuer, principal.subject, principal.kind, principal.display_name) == (
        OKTA,
        "00ujl29u0le5T6Aj10h7",
        "human",
        "Test User",
    )

    path = f"Users/{user['id']}"
    assert okta.get(path) == user
    changed = okta.send(
        "PUT",
        path,
        {
            "schemas": [schemas.USER],
            "id": user["id"],
            "userName": "test.user@acme.example",
            "name": {"givenName": "Another", "middleName": "", "familyName": "User"},
            "emails": [{"primary": True, "value": "test.user@acme.example", "type": "work", "display": "x"}],
            "active": True,
            "groups": [],
            "meta": {"resourceType": "User"},
        },
        expect=200,
    )
    assert (changed["name"]["givenName"], changed["externalId"]) == ("Another", "00ujl29u0le5T6Aj10h7")
    assert "displayName" not in changed

    gone = okta.patch(path, {"op": "replace", "value": {"active": False}})
    assert gone["active"] is False
    assert is_locked(OKTA, principal.subject)
    lock = Lock.objects.get()
    assert (lock.kind, lock.source, lock.reason) == ("principal", "scim", "Deactivated over SCIM by Okta.")
    assert okta.get(path)["active"] is False

    back = okta.patch(path, {"op": "replace", "value": {"active": True}})
    assert back["active"] is True
    assert not is_locked(OKTA, principal.subject)


def test_okta_pushes_a_group_renames_it_and_changes_its_members(okta):
    users = [okta.create_user(userName=f"u{n}@acme.example", externalId=f"00u{n}") for n in range(3)]
    ids = [user["id"] for user in users]
    group = okta.create_group(displayName="Test SCIMv2", members=[{"value": ids[0], "display": "u0@acme.example"}])
    row = Group.objects.get()
    assert (row.name, row.scim_display_name, str(row.scim_id)) == ("Test SCIMv2", "Test SCIMv2", group["id"])
    path = f"Groups/{group['id']}"

    okta.patch(
        path,
        {"op": "replace", "value": {"id": group["id"], "displayName": "Test SCIMv2.0 edit"}},
        expect=204,
    )
    assert Group.objects.get().name == "Test SCIMv2.0 edit"
    okta.patch(
        path,
        {"op": "remove", "path": f'members[value eq "{ids[0]}"]'},
        {"op": "add", "path": "members", "value": [{"value": ids[1], "display": "u1@acme.example"}]},
        expect=204,
    )
    assert okta.members(group["id"]) == {ids[1]}
    okta.patch(
        path,
        {"op": "replace", "path": "members", "value": [{"value": ids[0]}, {"value": ids[2]}]},
        expect=204,
    )
    assert okta.members(group["id"]) == {ids[0], ids[2]}
    assert okta.get(f"Users/{ids[2]}")["groups"] == [
        {
            "value": group["id"],
            "$ref": group["meta"]["location"],
            "display": "Test SCIMv2.0 edit",
            "type": "direct",
        }
    ]
    okta.send(
        "PUT",
        path,
        {"schemas": [schemas.GROUP], "id": group["id"], "displayName": "Final", "members": [{"value": ids[1]}]},
        expect=200,
    )
    assert okta.members(group["id"]) == {ids[1]}
    page = okta.get("Groups?startIndex=1&count=100")
    assert [(entry["displayName"], len(entry["members"])) for entry in page["Resources"]] == [("Final", 1)]
    okta.delete(path)
    assert okta.get(path, expect=404)["status"] == "404"
    assert not Group.objects.exists()


def test_entra_probes_provisions_changes_and_disables_a_user(entra):
    probe = entra.get(f'Users?filter=userName+eq+"{uuid4()}"')
    assert (probe["totalResults"], probe["itemsPerPage"], probe["Resources"]) == (0, 0, [])
    subject = "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"
    user = entra.create_user(
        schemas=[schemas.USER, schemas.ENTERPRISE],
        externalId=subject,
        userName="Test_User_ab6490ee@testuser.example",
        active="True",
        addresses=None,
        displayName="lennay",
        emails=[{"primary": True, "type": "work", "value": "Test_User_fd0ea19b@testuser.example"}],
        meta={"resourceType": "User"},
        name={"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
        roles=[],
        **{schemas.ENTERPRISE: {"department": "bob", "manager": {"value": "1"}}},
    )
    assert user["active"] is True
    assert Principal.objects.get().subject == subject
    path = f"Users/{user['id']}"

    page = entra.get('Users?filter=userName eq "test_USER_ab6490ee@testuser.example"')
    assert [found["id"] for found in page["Resources"]] == [user["id"]]
    assert entra.get(f'Users?filter=externalId eq "{subject}"')["totalResults"] == 1
    assert entra.get(f'Users?filter=externalId eq "{subject.upper()}"')["totalResults"] == 0

    changed = entra.patch(
        path,
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "updatedEmail@microsoft.example"},
        {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
        {"op": "Add", "path": f"{schemas.ENTERPRISE}:employeeNumber", "value": "701984"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "0987"},
        {"op": "Replace", "path": f"{schemas.ENTERPRISE}:manager", "value": "2819c223"},
        {"op": "Replace", "path": "displayName", "value": [{"$ref": None, "value": "Lennay B."}]},
    )
    assert changed["emails"] == [{"primary": True, "type": "work", "value": "updatedEmail@microsoft.example"}]
    assert changed["name"]["familyName"] == "updatedFamilyName"
    assert changed["phoneNumbers"] == [{"type": "mobile", "value": "0987"}]
    assert changed["displayName"] == "Lennay B."
    assert changed[schemas.ENTERPRISE] == {
        "department": "bob",
        "manager": {"value": "2819c223"},
        "employeeNumber": "701984",
    }
    assert ScimUser.objects.get().email == "updatedEmail@microsoft.example"

    changed = entra.patch(
        path,
        {
            "op": "replace",
            "value": {
                "displayName": "BJ",
                "name.givenName": "Bjfe",
                'emails[type eq "work"].value': "bj@microsoft.example",
                f"{schemas.ENTERPRISE}:department": "sales",
            },
        },
    )
    assert (changed["displayName"], changed["name"]["givenName"]) == ("BJ", "Bjfe")
    assert (changed["emails"][0]["value"], changed[schemas.ENTERPRISE]["department"]) == (
        "bj@microsoft.example",
        "sales",
    )

    gone = entra.patch(path, {"op": "Replace", "path": "active", "value": "False"})
    assert gone["active"] is False
    assert is_locked(ENTRA, subject)
    entra.delete(path)
    entra.get(path, expect=404)
    assert is_locked(ENTRA, subject), "a deleted user stays locked"


def test_entra_provisions_a_group_by_its_object_id_and_moves_members(entra):
    users = [entra.create_user(userName=f"u{n}@acme.example", externalId=str(uuid4())) for n in range(2)]
    assert entra.get('Groups?excludedAttributes=members&filter=displayName eq "Sales"')["totalResults"] == 0
    object_id = "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159"
    group = entra.create_group(
        schemas=[schemas.GROUP, ENTRA_GROUP],
        externalId=object_id,
        displayName="Sales",
        meta={"resourceType": "Group"},
    )
    assert Group.objects.get().name == object_id, "tokens of Entra carry object ids"
    path = f"Groups/{group['id']}"
    assert "members" not in entra.get(f"{path}?excludedAttributes=members")

    for op in ("Add", "add"):
        entra.patch(path, {"op": op, "path": "members", "value": [{"$ref": None, "value": users[0]["id"]}]}, expect=204)
    entra.patch(path, {"op": "Add", "path": "members", "value": [{"value": users[1]["id"]}]}, expect=204)
    assert entra.members(group["id"]) == {user["id"] for user in users}
    query = f'Groups?filter=id eq "{group["id"]}" and members eq "{users[0]["id"]}"&attributes=id'
    [found] = entra.get(query)["Resources"]
    assert found == {"schemas": [schemas.GROUP], "id": group["id"]}

    entra.patch(
        path,
        {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": users[0]["id"]}]},
        expect=204,
    )
    assert entra.members(group["id"]) == {users[1]["id"]}
    entra.patch(path, {"op": "Replace", "path": "displayName", "value": "Sales EMEA"}, expect=204)
    row = Group.objects.get()
    assert (row.name, row.scim_display_name) == (object_id, "Sales EMEA")
    entra.delete(path)
    entra.get(path, expect=404)
