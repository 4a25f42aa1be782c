"""PATCH of a group: what all operations come to is what each, one after the other, would have made of the members."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.scim import group_patch, patch, schemas
from accounts.scim.refusals import ScimRefused
from accounts.scim.resources import MAX_MEMBERS

GROUP_ID = "e9e30dba-f08f-4109-8486-d5c6a331660a"
PEOPLE = [UUID(int=number) for number in range(1, 7)]


def change(*operations):
    body = {"schemas": [schemas.PATCH], "Operations": list(operations)}
    return group_patch.group_change(patch.operations(body), group_id=GROUP_ID)


def code_of(*operations):
    with pytest.raises(ScimRefused) as refused:
        change(*operations)
    assert refused.value.status == 400
    return refused.value.code


def listed(people):
    return [{"value": str(person)} for person in people]


def after(members, result):
    return (frozenset() if result.clears else members - result.removed) | result.added


@st.composite
def one_operation(draw):
    """An operation on members, and what it makes of a set of them."""
    people = frozenset(draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3)))
    one = draw(st.sampled_from(PEOPLE))
    forms = {
        "add": ({"op": "Add", "path": "members", "value": listed(people)}, lambda held: held | people),
        "add whole": ({"op": "add", "value": {"members": listed(people)}}, lambda held: held | people),
        "replace": ({"op": "replace", "path": "members", "value": listed(people)}, lambda held: people),
        "empty": ({"op": "replace", "value": {"members": []}}, lambda held: frozenset()),
        "remove": ({"op": "remove", "path": f'members[value eq "{one}"]'}, lambda held: held - {one}),
        "remove listed": ({"op": "Remove", "path": "members", "value": listed(people)}, lambda held: held - people),
        "remove all": ({"op": "remove", "path": "members"}, lambda held: frozenset()),
    }
    return forms[draw(st.sampled_from(sorted(forms)))]


@given(st.frozensets(st.sampled_from(PEOPLE)), st.lists(one_operation(), min_size=1, max_size=8))
def test_of_any_operations_the_change_is_what_they_do_in_their_order(held, operations):
    expected = held
    for _wire, effect in operations:
        expected = effect(expected)
    result = change(*[wire for wire, _effect in operations])
    assert after(held, result) == expected
    assert after(expected, change(*[wire for wire, _effect in operations[-1:]])) == expected
    assert not result.added & result.removed


@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ({"op": "replace", "value": {"id": GROUP_ID, "displayName": "New"}}, ("New", None)),
        ({"op": "Replace", "path": "displayName", "value": "New"}, ("New", None)),
        ({"op": "Replace", "path": f"{schemas.GROUP}:DISPLAYNAME", "value": [{"value": "New"}]}, ("New", None)),
        ({"op": "add", "path": "externalId", "value": "x"}, (None, "x")),
        ({"op": "remove", "path": "externalId"}, (None, "")),
        ({"op": "replace", "value": {"schemas": [], "meta": {}, "description": "x"}}, (None, None)),
    ],
)
def test_names_change_when_they_are_named(operation, names):
    result = change(operation)
    assert (result.display_name, result.external_id) == names
    assert (result.clears, result.added, result.removed) == (False, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "remove", "path": "displayName"}, "invalidValue"),
        ({"op": "replace", "path": "displayName", "value": " "}, "invalidValue"),
        ({"op": "replace", "path": "displayName", "value": "x" * 256}, "invalidValue"),
        ({"op": "replace", "path": "externalId", "value": 7}, "invalidValue"),
        ({"op": "replace", "path": "displayName.part", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "description", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "urn:x:y:displayName", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "id", "value": GROUP_ID}, "mutability"),
        ({"op": "replace", "value": {"id": "another"}}, "mutability"),
        ({"op": "add", "path": "members", "value": [{"value": "not-an-id"}]}, "invalidValue"),
        ({"op": "add", "path": "members", "value": [{"display": "x"}]}, "invalidValue"),
        ({"op": "add", "path": "members", "value": [7]}, "invalidValue"),
        ({"op": "add", "path": "members", "value": [{"value": str(PEOPLE[0]), "type": "Group"}]}, "invalidValue"),
        ({"op": "remove", "path": "members", "value": []}, "invalidValue"),
        ({"op": "remove", "path": 'members[value eq "x"]'}, "invalidValue"),
        ({"op": "remove", "path": f'members[display eq "{PEOPLE[0]}"]'}, "invalidFilter"),
        ({"op": "remove", "path": "members[value eq true]"}, "invalidFilter"),
        ({"op": "replace", "path": f'members[value eq "{PEOPLE[0]}"]', "value": {}}, "invalidPath"),
        ({"op": "remove", "path": f'members[value eq "{PEOPLE[0]}"].display'}, "invalidPath"),
    ],
)
def test_what_a_group_cannot_do_is_refused(operation, code):
    assert code_of(operation) == code


def test_members_are_counted_over_the_whole_request():
    half = listed(uuid4() for _ in range(MAX_MEMBERS // 2))
    other = listed(uuid4() for _ in range(MAX_MEMBERS // 2))
    add = {"op": "add", "path": "members"}
    assert len(change({**add, "value": half}, {**add, "value": other}).added) == MAX_MEMBERS
    assert code_of({**add, "value": half}, {**add, "value": other}, {**add, "value": half[:1]}) == "invalidValue"
    assert code_of({**add, "value": [*half, *other, half[0]]}) == "invalidValue"
