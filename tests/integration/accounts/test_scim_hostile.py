"""Requests to SCIM that are malformed, too large, or try to be more than data."""

from __future__ import annotations

import json
import time
from uuid import UUID, uuid4

import pytest

from accounts.models import Group, ScimMember, ScimUser
from accounts.scim import bodies, patch, resources, schemas
from tests.support.scim import JSON, everything

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "Bulk", 501),
        ("GET", "Me", 501),
        ("POST", ".search", 501),
        ("POST", "Users/.search", 501),
        ("DELETE", "Users", 405),
        ("PUT", "Groups", 405),
        ("POST", "Users/x", 405),
        ("POST", "Schemas", 405),
        ("GET", "users", 404),
        ("GET", "Users/../Groups", 404),
        ("GET", "Users/x/y", 404),
        ("GET", "Users/%00", 404),
    ],
)
def test_what_is_not_served_is_said_in_the_protocols_words(scim, method, path, status):
    body = scim.send(method, path, expect=status)
    assert body["status"] == str(status)
    assert ("Allow" in scim.answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b"{}", "multipart/form-data; boundary=x", 415),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"schemas":[],"schemas":[]}', JSON, 400),
        (b'{"a":' * 3000, JSON, 400),
        (b" " * (bodies.MAX_BYTES + 1), JSON, 413),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "Users"), ("POST", "Groups"), ("PATCH", "Users/{user}")])
def test_a_body_that_is_not_a_sound_document_changes_nothing(scim, ada, method, path, raw, content_type, status):
    before = everything()
    scim.send(method, path.format(user=ada["id"]), raw=raw, content_type=content_type, expect=status)
    assert everything() == before


def test_a_document_may_come_as_plain_json_too(scim):
    body = {"schemas": [schemas.USER], "userName": "ada", "externalId": "00u1"}
    scim.send("POST", "Users", body, content_type="application/json; charset=utf-8", expect=201)


def test_too_many_operations_or_members_are_refused_whole(scim, ada):
    made = scim.create_group(displayName="sre")
    before = everything()
    operation = {"op": "add", "path": "members", "value": [{"value": ada["id"]}]}
    refused = scim.patch(f"Groups/{made['id']}", *[operation] * (patch.MAX_OPERATIONS + 1), expect=400)
    assert refused["scimType"] == "invalidValue"
    many = {"op": "add", "path": "members", "value": [{"value": ada["id"]}] * (resources.MAX_MEMBERS + 1)}
    assert scim.patch(f"Groups/{made['id']}", many, expect=400)["scimType"] == "invalidValue"
    assert everything() == before


def test_what_a_stranger_writes_comes_back_as_data_and_never_as_a_query(scim):
    name = "Robert'); DROP TABLE accounts_scimuser;-- <script>alert(1)</script> %s {0}"
    made = scim.create_user(userName=name, externalId="' OR 1=1 --")
    assert made["userName"] == name
    quoted = json.dumps(name)
    found = scim.get(f"Users?filter=userName eq {quoted.replace('%', '%25').replace(';', '%3B')}")
    assert [user["id"] for user in found["Resources"]] == [made["id"]]
    assert scim.answer["Content-Type"] == JSON


def test_an_attribute_of_a_user_never_becomes_what_the_gateway_writes(scim, ada):
    other = {"id": str(uuid4()), "groups": [{"value": "admins"}], "meta": {"location": "https://evil.example"}}
    made = scim.create_user(userName="bob", externalId="00u2", **other)
    assert made["id"] != other["id"]
    assert "groups" not in made
    assert made["meta"]["location"].startswith("http://")
    assert "evil" not in json.dumps(made)


def test_ten_thousand_members_are_added_and_replaced_within_seconds(scim):
    size = resources.MAX_MEMBERS
    rows = [
        ScimUser(provider=scim.provider, user_name=f"u{n}", user_name_folded=f"u{n}", external_id=f"e{n}")
        for n in range(size)
    ]
    ScimUser.objects.bulk_create(rows, batch_size=5000)
    ids = [str(row.pk) for row in rows]
    made = scim.create_group(displayName="everybody")
    path = f"Groups/{made['id']}"
    began = time.monotonic()
    addition = {"op": "add", "path": "members", "value": [{"value": member} for member in ids]}
    scim.patch(path, addition, expect=204)
    added = time.monotonic()
    scim.patch(path, {**addition, "op": "replace", "value": addition["value"][: size // 2]}, expect=204)
    replaced = time.monotonic()
    scim.patch(path, {"op": "remove", "path": f'members[value eq "{ids[0]}"]'}, expect=204)
    removed = time.monotonic()
    assert ScimMember.objects.count() == size // 2 - 1
    assert added - began < 5
    assert replaced - added < 5
    assert removed - replaced < 1


def test_one_member_of_a_large_group_is_changed_without_reading_the_others(scim, ada, django_assert_max_num_queries):
    made = scim.create_group(displayName="everybody")
    rows = [
        ScimUser(provider=scim.provider, user_name=f"u{n}", user_name_folded=f"u{n}", external_id=f"e{n}")
        for n in range(50)
    ]
    ScimUser.objects.bulk_create(rows)
    group = Group.objects.get()
    ScimMember.objects.bulk_create(ScimMember(group=group, user=row) for row in rows)
    with django_assert_max_num_queries(25):
        scim.patch(
            f"Groups/{made['id']}",
            {"op": "add", "path": "members", "value": [{"value": ada["id"]}]},
            {"op": "remove", "path": f'members[value eq "{rows[0].pk}"]'},
            expect=204,
        )
    assert ScimMember.objects.count() == 50
    assert UUID(ada["id"]) in set(ScimMember.objects.values_list("user_id", flat=True))
