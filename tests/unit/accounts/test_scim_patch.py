"""PATCH of a user: what each form does, that twice is once, and that all of it is done or nothing."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accounts.scim import patch, schemas, values
from accounts.scim.refusals import ScimRefused

USER_ID = "2819c223-7f76-453a-919d-413861904646"
WORK = {"type": "work", "value": "ada@acme.example", "primary": True}
HOME = {"type": "home", "value": "ada@home.example"}
ADA = {
    "userName": "ada",
    "externalId": "00u1",
    "active": True,
    "name": {"givenName": "Ada", "familyName": "Lovelace"},
    "emails": [WORK, HOME],
    schemas.ENTERPRISE: {"department": "Engines"},
}


def patched(*operations, user=ADA):
    body = {"schemas": [schemas.PATCH], "Operations": list(operations)}
    return patch.user_patched(user, patch.operations(body), user_id=USER_ID)


def code_of(*operations, user=ADA):
    with pytest.raises(ScimRefused) as refused:
        patched(*operations, user=user)
    assert refused.value.status == 400
    return refused.value.code


def replace(path, value):
    return {"op": "replace", "path": path, "value": value}


@pytest.mark.parametrize("value", [False, "False", "false", "FALSE", [{"value": "False"}]])
@pytest.mark.parametrize("op", ["replace", "Replace", "REPLACE", "add", "Add"])
def test_every_spelling_of_not_active_deactivates(op, value):
    assert patched({"op": op, "path": "active", "value": value})["active"] is False
    assert patched({"op": op, "value": {"active": value}})["active"] is False
    assert patched({"op": op, "value": {"Active": value}})["active"] is False


@pytest.mark.parametrize("value", ["no", "0", 0, 1, None, "", [], {}, [False, True], "True "])
def test_a_value_that_is_not_clearly_active_or_not_is_refused(value):
    assert code_of(replace("active", value)) == "invalidValue"
    assert code_of({"op": "replace", "value": {"active": value}}) == "invalidValue"


@pytest.mark.parametrize(
    ("operations", "changes"),
    [
        ([replace("userName", "ada2")], {"userName": "ada2"}),
        ([replace("USERNAME", "ada2")], {"userName": "ada2"}),
        ([replace(f"{schemas.USER}:userName", "ada2")], {"userName": "ada2"}),
        ([replace("displayName", [{"$ref": None, "value": "Ada"}])], {"displayName": "Ada"}),
        ([{"op": "add", "path": "title", "value": "Countess"}], {"title": "Countess"}),
        ([replace("name.familyName", "King")], {"name": {"givenName": "Ada", "familyName": "King"}}),
        ([replace("name", {"familyName": "King"})], {"name": {"givenName": "Ada", "familyName": "King"}}),
        ([{"op": "remove", "path": "name.familyName"}], {"name": {"givenName": "Ada"}}),
        ([{"op": "remove", "path": "name"}], {"name": None}),
        ([{"op": "remove", "path": "externalId"}], {"externalId": None}),
        ([replace("name", None)], {"name": None}),
        ([replace('emails[type eq "work"].value', "x@y")], {"emails": [{**WORK, "value": "x@y"}, HOME]}),
        ([replace('emails[type eq "WORK"].value', "x@y")], {"emails": [{**WORK, "value": "x@y"}, HOME]}),
        ([replace('emails[primary eq "True"].value', "x@y")], {"emails": [{**WORK, "value": "x@y"}, HOME]}),
        ([replace('emails[type eq "home"]', {"value": "x@y"})], {"emails": [WORK, {**HOME, "value": "x@y"}]}),
        (
            [replace('emails[type eq "other"].value', "x@y")],
            {"emails": [WORK, HOME, {"type": "other", "value": "x@y"}]},
        ),
        (
            [replace('emails[type eq "home"].primary', "True")],
            {"emails": [{**WORK, "primary": False}, {**HOME, "primary": True}]},
        ),
        ([{"op": "remove", "path": 'emails[type eq "work"]'}], {"emails": [HOME]}),
        ([{"op": "remove", "path": 'emails[type eq "none"]'}], {}),
        (
            [{"op": "remove", "path": 'emails[type eq "work"].primary'}],
            {"emails": [{"type": "work", "value": WORK["value"]}, HOME]},
        ),
        ([{"op": "remove", "path": "emails"}], {"emails": None}),
        ([{"op": "remove", "path": "emails", "value": [{"value": HOME["value"]}]}], {"emails": [WORK]}),
        ([{"op": "remove", "path": "nickName"}], {}),
        ([{"op": "add", "path": "emails", "value": [{"value": "z"}]}], {"emails": [WORK, HOME, {"value": "z"}]}),
        (
            [{"op": "add", "path": "emails", "value": {"value": "z", "primary": True}}],
            {"emails": [{**WORK, "primary": False}, HOME, {"value": "z", "primary": True}]},
        ),
        ([replace("emails", [{"value": "z"}])], {"emails": [{"value": "z"}]}),
        ([replace("roles", "admin")], {"roles": [{"value": "admin"}]}),
        (
            [replace(schemas.ENTERPRISE, {"division": "A"})],
            {schemas.ENTERPRISE: {"department": "Engines", "division": "A"}},
        ),
        ([{"op": "remove", "path": schemas.ENTERPRISE}], {schemas.ENTERPRISE: None}),
        ([{"op": "remove", "path": f"{schemas.ENTERPRISE}:department"}], {schemas.ENTERPRISE: None}),
        ([replace(f"{schemas.ENTERPRISE.lower()}:DEPARTMENT", "X")], {schemas.ENTERPRISE: {"department": "X"}}),
        (
            [replace(f"{schemas.ENTERPRISE}:manager", "7")],
            {schemas.ENTERPRISE: {"department": "Engines", "manager": {"value": "7"}}},
        ),
        ([replace("urn:acme:1.0:User:badge", "7")], {"urn:acme:1.0:User": {"badge": "7"}}),
        ([replace('emails[type eq "other"]', {"type": None})], {}),
        ([replace('emails[type eq "other"]', {"type": "third", "value": "x@y"})], {}),
        (
            [replace("urn:acme:1.0:User:badge", {"value": None, "colour": "red"})],
            {"urn:acme:1.0:User": {"badge": {"colour": "red"}}},
        ),
        ([replace("shoeSize", 41)], {"shoeSize": 41}),
        ([{"op": "replace", "value": {"id": USER_ID, "schemas": [], "meta": {}, "groups": []}}], {}),
        ([replace("password", "secret-9")], {}),
        ([{"op": "add", "value": {"password": "secret-9"}}], {}),
        ([replace("title", "a"), replace("title", "b"), {"op": "remove", "path": "title"}], {}),
    ],
)
def test_an_operation_does_what_it_says(operations, changes):
    expected = {name: value for name, value in {**ADA, **changes}.items() if value is not None}
    assert patched(*operations) == expected


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "delete", "path": "title"}, "invalidSyntax"),
        ({"path": "title", "value": 1}, "invalidSyntax"),
        ({"op": "replace", "OP": "add", "path": "title", "value": "x"}, "invalidSyntax"),
        ("replace", "invalidSyntax"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "remove", "path": ""}, "noTarget"),
        ({"op": "replace", "path": "title"}, "invalidValue"),
        ({"op": "replace", "path": 7, "value": "x"}, "invalidPath"),
        ({"op": "add", "value": "x"}, "invalidValue"),
        ({"op": "add", "value": [{"active": False}]}, "invalidValue"),
        ({"op": "remove", "path": "userName"}, "invalidValue"),
        ({"op": "remove", "path": "active"}, "invalidValue"),
        (replace("userName", None), "invalidValue"),
        (replace("userName", [{"value": None}]), "invalidValue"),
        (replace("userName", 7), "invalidValue"),
        (replace("userName", {"value": "x"}), "invalidValue"),
        (replace("name", "Ada"), "invalidValue"),
        (replace("emails", [7]), "invalidValue"),
        (replace("emails", [{"value": "x", "primary": "yes"}]), "invalidValue"),
        (replace("emails", [{"value": "x"}] * (values.MAX_ELEMENTS + 1)), "invalidValue"),
        (replace("id", USER_ID), "mutability"),
        (replace("ID", "x"), "mutability"),
        (replace("meta", {}), "mutability"),
        (replace("groups", []), "mutability"),
        (replace("schemas", []), "mutability"),
        ({"op": "replace", "value": {"id": "somebody-else"}}, "mutability"),
        (replace("userName.part", "x"), "invalidPath"),
        (replace("emails.value", "x"), "invalidPath"),
        (replace('name[familyName eq "x"].givenName', "x"), "invalidPath"),
        (replace('userName[value eq "x"]', "x"), "invalidPath"),
        (replace('emails[type sw "w"].value', "x"), "invalidFilter"),
        (replace('emails[type eq "work"]', "x"), "invalidValue"),
        (replace(schemas.ENTERPRISE, "x"), "invalidValue"),
    ],
)
def test_an_operation_that_makes_no_sense_is_refused(operation, code):
    assert code_of(operation) == code


def test_an_operation_that_fails_undoes_those_before_it():
    before = copy.deepcopy(ADA)
    assert code_of(replace("title", "x"), replace('emails[type eq "work"].value', "x"), {"op": "remove"}) == "noTarget"
    assert code_of(replace('emails[type eq "work"].value', "x"), replace("active", "maybe")) == "invalidValue"
    assert before == ADA


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schemas": [schemas.PATCH]},
        {"schemas": [schemas.PATCH], "Operations": []},
        {"schemas": [schemas.PATCH], "Operations": {}},
        {"schemas": [schemas.USER], "Operations": [replace("title", "x")]},
        {"Operations": [replace("title", "x")]},
        {"schemas": schemas.PATCH, "Operations": [replace("title", "x")]},
        {"schemas": [schemas.PATCH], "Operations": [replace("title", "x")], "operations": []},
    ],
)
def test_a_body_that_is_no_patch_is_refused(body):
    with pytest.raises(ScimRefused) as refused:
        patch.operations(body)
    assert refused.value.code == "invalidSyntax"


def test_a_thousand_operations_are_the_most():
    listed = [replace("title", "x")] * patch.MAX_OPERATIONS
    assert len(patch.operations({"schemas": [schemas.PATCH], "Operations": listed})) == patch.MAX_OPERATIONS
    with pytest.raises(ScimRefused):
        patch.operations({"schemas": [schemas.PATCH], "Operations": [*listed, listed[0]]})


paths_of_users = st.sampled_from(
    [
        "userName", "title", "active", "name", "name.familyName", "emails", 'emails[type eq "work"]',
        'emails[type eq "work"].value', 'emails[type eq "home"].primary', "roles", 'roles[primary eq "True"].value',
        schemas.ENTERPRISE, f"{schemas.ENTERPRISE}:department", f"{schemas.ENTERPRISE}:manager",
        "urn:x:y:tag", "unknown",
    ]
)  # fmt: skip
scalars = st.none() | st.booleans() | st.sampled_from(["True", "False", "x", "", "work"])
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["value", "type", "primary", "familyName", "department"]), inner, max_size=3)
    ),
    max_leaves=6,
)
some_operations = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "Replace", "remove"]), "value": json_values}, optional={"path": paths_of_users}
    ),
    min_size=1,
    max_size=4,
)


@given(some_operations)
def test_any_operations_are_applied_whole_or_refused_and_leave_the_original_alone(operations):
    before = json.dumps(ADA)
    try:
        after = patched(*operations)
    except ScimRefused as refused:
        assert refused.status == 400
    else:
        assert isinstance(after["active"], bool)
        assert isinstance(after["userName"], str)
        assert sum(part.get("primary") is True for part in after.get("emails", [])) <= 1
    assert json.dumps(ADA) == before


@example({"op": "add", "value": {"value": None}, "path": "urn:x:y:tag"})
@example({"op": "add", "value": {"type": None}, "path": 'emails[type eq "work"]'})
@example({"op": "add", "value": [{"primary": True}, {"primary": True, "value": "x"}], "path": "roles"})
@example({"op": "replace", "value": {"type": "third"}, "path": 'emails[type eq "work"]'})
@given(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace", "remove"]), "value": json_values, "path": paths_of_users}
    )
)
def test_any_operation_done_twice_is_done_once(operation):
    try:
        once = patched(operation)
    except ScimRefused:
        return
    assert patched(operation, user=once) == once
