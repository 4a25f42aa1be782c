"""Which attributes an answer shows."""

from __future__ import annotations

import pytest

from accounts.scim import projection, schemas
from accounts.scim.refusals import ScimRefused

USER = {
    "schemas": [schemas.USER, schemas.ENTERPRISE],
    "id": "1",
    "userName": "ada",
    "name": {"givenName": "Ada", "familyName": "Lovelace"},
    "emails": [{"value": "a", "type": "work"}, {"value": "b"}],
    schemas.ENTERPRISE: {"department": "Engines", "manager": {"value": "7", "displayName": "B"}},
}


def shown(**query):
    return projection.asked(query).of(USER)


def without(*names):
    return {name: value for name, value in USER.items() if name not in names}


def test_without_a_wish_everything_is_shown():
    assert shown() == USER


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", {}),
        ("id", {}),
        ("userName", {"userName": "ada"}),
        ("USERNAME, name.givenName", {"userName": "ada", "name": {"givenName": "Ada"}}),
        (f"{schemas.USER}:userName", {"userName": "ada"}),
        ("emails.type", {"emails": [{"type": "work"}, {}]}),
        ("emails", {"emails": USER["emails"]}),
        (f"{schemas.ENTERPRISE}:department", {schemas.ENTERPRISE: {"department": "Engines"}}),
        (schemas.ENTERPRISE, {schemas.ENTERPRISE: USER[schemas.ENTERPRISE]}),
        ("nothing", {}),
    ],
)
def test_only_what_is_asked_for_is_shown_and_what_always_is(attributes, expected):
    assert shown(attributes=attributes) == {"schemas": USER["schemas"], "id": "1", **expected}


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ("emails", without("emails")),
        ("id,schemas", USER),
        ("Name.GivenName", {**USER, "name": {"familyName": "Lovelace"}}),
        (schemas.ENTERPRISE, without(schemas.ENTERPRISE)),
        ("name.givenName,name.familyName", without("name")),
    ],
)
def test_what_is_excluded_is_not_shown(excluded, expected):
    assert shown(excludedAttributes=excluded) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"attributes": "id", "excludedAttributes": "name"},
        {"attributes": "a b"},
        {"attributes": "<script>"},
        {"excludedAttributes": ",".join(["a"] * (projection.MAX_NAMES + 1))},
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(query):
    with pytest.raises(ScimRefused) as refused:
        projection.asked(query)
    assert refused.value.code == "invalidValue"


def test_a_member_that_is_not_asked_for_is_known_not_to_be_shown():
    assert not projection.asked({"excludedAttributes": "members"}).shows("members")
    assert not projection.asked({"attributes": "displayName"}).shows("members")
    assert projection.asked({"attributes": "members.value"}).shows("members")
