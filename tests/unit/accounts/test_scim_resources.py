"""Users and groups as they are written and shown."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from accounts.scim import resources, schemas
from accounts.scim.refusals import ScimRefused
from accounts.scim.resources import Reference

ID = UUID("2819c223-7f76-453a-919d-413861904646")
BASE = "https://gateway.example/scim/v2/p"


def user(**attributes):
    return resources.user_values({"schemas": [schemas.USER], "userName": "ada", **attributes})


def code_of(make, **attributes):
    with pytest.raises(ScimRefused) as refused:
        make(**attributes)
    assert refused.value.status == 400
    return refused.value.code


def test_what_only_the_gateway_writes_and_passwords_are_left_out():
    kept = user(id="x", meta={"version": "1"}, groups=[{"value": "admins"}], PassWord="secret-4")
    assert dict(kept.attributes) == {"userName": "ada"}


def test_of_state_and_identity_nothing_is_made_up():
    assert (user().external_id, user().is_active) == (None, None)
    assert (user(externalId="x", active="false").external_id, user(active="false").is_active) == ("x", False)


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({"displayName": "Ada", "name": {"formatted": "A. L."}}, "Ada"),
        ({"name": {"formatted": "A. L.", "givenName": "Ada"}}, "A. L."),
        ({"name": {"givenName": "Ada", "familyName": "Lovelace"}}, "Ada Lovelace"),
        ({"name": {"givenName": 7}}, ""),
        ({}, ""),
    ],
)
def test_a_name_to_show_is_found(attributes, shown):
    assert user(**attributes).display_name == shown


@pytest.mark.parametrize(
    ("emails", "shown"),
    [
        ([{"value": "a", "type": "home"}, {"value": "b", "type": "work"}], "b"),
        ([{"value": "a", "primary": "True"}, {"value": "b", "type": "work"}], "a"),
        ([{"value": "a"}, {"value": "b"}], "a"),
        ([{"value": 7}], ""),
        (None, ""),
        ([], ""),
    ],
)
def test_an_address_to_show_is_found(emails, shown):
    assert user(emails=emails).email == shown


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"userName": None}, "invalidValue"),
        ({"userName": " "}, "invalidValue"),
        ({"userName": 7}, "invalidValue"),
        ({"userName": "x" * 256}, "invalidValue"),
        ({"username": "ada"}, "invalidSyntax"),
        ({"externalId": ""}, "invalidValue"),
        ({"externalId": "x" * 256}, "invalidValue"),
        ({"active": "yes"}, "invalidValue"),
        ({"name": "Ada"}, "invalidValue"),
        ({"emails": "a@b", "displayName": ["a", "b"]}, "invalidValue"),
        ({schemas.ENTERPRISE: "x"}, "invalidSyntax"),
        (
            {"photos": [{"value": "x" * 30_000}] * 1 + [{"value": "y" * 30_000}, {"value": "z" * 30_000}]},
            "invalidValue",
        ),
        ({"schemas": [schemas.GROUP]}, "invalidSyntax"),
        ({"schemas": []}, "invalidSyntax"),
        ({"schemas": schemas.USER}, "invalidSyntax"),
    ],
)
def test_a_user_that_cannot_be_is_refused(attributes, code):
    assert code_of(user, **attributes) == code


def group(**attributes):
    return resources.group_values({"schemas": [schemas.GROUP], "displayName": "Sales", **attributes})


def test_members_are_read_in_every_form():
    forms = [[{"value": str(ID)}], {"value": str(ID).upper()}, [{"Value": str(ID), "type": "User"}], [str(ID)]]
    assert [group(members=form).members for form in forms] == [frozenset({ID})] * len(forms)
    assert group(members=None).members == frozenset()


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"displayName": ""}, "invalidValue"),
        ({"displayName": None}, "invalidValue"),
        ({"externalId": 7}, "invalidValue"),
        ({"members": [{"value": "x"}]}, "invalidValue"),
        ({"members": [{"value": str(ID).replace("-", "")}]}, "invalidValue"),
        ({"members": [{"value": f"{{{ID}}}"[:36]}]}, "invalidValue"),
        ({"members": [{"value": str(ID), "type": "Group"}]}, "invalidValue"),
        ({"members": [str(ID)] * (resources.MAX_MEMBERS + 1)}, "invalidValue"),
        ({"schemas": [schemas.USER]}, "invalidSyntax"),
    ],
)
def test_a_group_that_cannot_be_is_refused(attributes, code):
    assert code_of(group, **attributes) == code


def test_a_user_is_shown_with_its_place_times_and_groups():
    shown = resources.user_document(
        user_id=ID,
        attributes={"userName": "ada", "active": True, schemas.ENTERPRISE: {"department": "Engines"}},
        groups=[Reference(ID, "Sales")],
        times=(datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 1, 3, 4, 5, 6, tzinfo=UTC)),
        base=BASE,
    )
    assert shown == {
        "schemas": [schemas.USER, schemas.ENTERPRISE],
        "id": str(ID),
        "userName": "ada",
        "active": True,
        schemas.ENTERPRISE: {"department": "Engines"},
        "groups": [{"value": str(ID), "$ref": f"{BASE}/Groups/{ID}", "display": "Sales", "type": "direct"}],
        "meta": {
            "resourceType": "User",
            "created": "2026-01-02T03:00:00Z",
            "lastModified": "2026-01-03T04:05:06Z",
            "location": f"{BASE}/Users/{ID}",
        },
    }
