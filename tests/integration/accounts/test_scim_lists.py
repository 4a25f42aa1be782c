"""Lists, filters and discovery of SCIM."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.scim import schemas, selectors
from accounts.services import (
    group_save,
)

pytestmark = pytest.mark.django_db


def test_pages_show_every_user_once(scim):
    made = {scim.create_user(userName=f"u{n}", externalId=f"e{n}")["id"] for n in range(7)}
    seen = []
    for start in (1, 4, 7):
        page = scim.get(f"Users?startIndex={start}&count=3")
        assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (7, start, len(page["Resources"]))
        seen += [user["id"] for user in page["Resources"]]
    assert (len(seen), set(seen)) == (7, made)


@pytest.mark.parametrize(
    ("query", "start", "shown"),
    [
        ("", 1, 1),
        ("?startIndex=0", 1, 1),
        ("?startIndex=-5&count=10", 1, 1),
        ("?count=0", 1, 0),
        ("?count=-1", 1, 0),
        ("?startIndex=2", 2, 0),
        ("?startIndex=999999999&count=999999999", 999999999, 0),
    ],
)
def test_odd_pages_are_answered(scim, ada, query, start, shown):
    page = scim.get(f"Users{query}")
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (1, start, shown)


@pytest.mark.parametrize("query", ["startIndex=x", "count=", "count=1e3", "count=9999999999", "startIndex=1.5"])
def test_what_is_no_number_is_refused(scim, query):
    assert scim.get(f"Users?{query}", expect=400)["scimType"] == "invalidValue"


def test_users_and_groups_are_found_by_each_attribute(scim, ada):
    made = scim.create_group(displayName="Sales", externalId="8aa1", members=[{"value": ada["id"]}])
    scim.create_user(userName="bob", externalId="00u2", displayName="Bob")
    scim.create_group(displayName="Support")
    for text in (
        'userName eq "ADA@acme.example"',
        'externalId eq "00u1"',
        f'id eq "{ada["id"]}"',
        'displayName eq "ada"',
        'userName eq "ada@acme.example" and externalId eq "00u1"',
    ):
        assert [user["id"] for user in scim.get(f"Users?filter={text}")["Resources"]] == [ada["id"]], text
    for text in (
        'displayName eq "sales"',
        'externalId eq "8aa1"',
        f'id eq "{made["id"]}"',
        f'members eq "{ada["id"]}"',
        f'id eq "{made["id"]}" and members.value eq "{ada["id"]}"',
    ):
        assert [group["id"] for group in scim.get(f"Groups?filter={text}")["Resources"]] == [made["id"]], text
    for text in (
        'externalId eq "00U1"',
        'externalId eq ""',
        'id eq "x"',
        'userName eq "ada@acme.example" and id eq "x"',
    ):
        assert scim.get(f"Users?filter={text}")["totalResults"] == 0, text
    for text in ('externalId eq ""', 'members eq "x"', f'members eq "{uuid4()}"'):
        assert scim.get(f"Groups?filter={text}")["totalResults"] == 0, text


def test_a_filter_that_is_not_understood_lists_nothing(scim, ada):
    for text in ('userName sw "a"', "userName pr", 'active eq "true"', ""):
        assert scim.get(f"Users?filter={text}", expect=400)["scimType"] == "invalidFilter", text
    assert scim.get('Groups?filter=userName eq "x"', expect=400)["scimType"] == "invalidFilter"


def test_a_group_that_is_only_declared_is_not_listed(scim):
    group_save(provider=scim.provider, name="declared", now=timezone.now())
    assert scim.get("Groups")["totalResults"] == 0


def test_a_page_of_groups_ends_before_it_holds_too_many_members(scim, monkeypatch):
    monkeypatch.setattr(selectors, "PAGE_MEMBERS", 3)
    people = [{"value": scim.create_user(userName=f"u{n}", externalId=f"e{n}")["id"]} for n in range(4)]
    for name, members in (("a", people), ("b", people[:2]), ("c", people[:1])):
        scim.create_group(displayName=name, members=members)
    seen, start = [], 1
    while start <= 3:
        page = scim.get(f"Groups?startIndex={start}&count=10")
        assert (page["totalResults"], page["itemsPerPage"]) == (3, len(page["Resources"]))
        assert page["itemsPerPage"] >= 1
        seen += [group["displayName"] for group in page["Resources"]]
        start += page["itemsPerPage"]
    assert sorted(seen) == ["a", "b", "c"]
    assert scim.get("Groups?excludedAttributes=members")["itemsPerPage"] == 3


def test_lists_cost_the_same_whatever_they_hold(scim, django_assert_max_num_queries):
    people = [{"value": scim.create_user(userName=f"u{n}", externalId=f"e{n}")["id"]} for n in range(5)]
    for number in range(5):
        scim.create_group(displayName=f"g{number}", members=people)
    for path in ("Users", "Groups"):
        with django_assert_max_num_queries(14):
            scim.get(path)


def test_discovery_tells_what_is_served(scim):
    config = scim.get("ServiceProviderConfig")
    supported = {name for name, value in config.items() if isinstance(value, dict) and value.get("supported")}
    assert supported == {"patch", "filter"}
    assert config["filter"]["maxResults"] == schemas.MAX_COUNT
    types = scim.get("ResourceTypes")
    assert [kind["endpoint"] for kind in types["Resources"]] == ["/Users", "/Groups"]
    assert scim.get("ResourceTypes/User")["schema"] == schemas.USER
    listed = scim.get("Schemas")["Resources"]
    assert [schema["id"] for schema in listed] == [schemas.USER, schemas.GROUP, schemas.ENTERPRISE]
    assert scim.get(f"Schemas/{schemas.ENTERPRISE}") == listed[2]
    assert scim.get("Schemas/urn:nothing", expect=404)["status"] == "404"
    assert scim.get("Schemas?filter=x", expect=403)["status"] == "403"
    for document in [config, *types["Resources"], *listed]:
        location = document["meta"]["location"]
        assert scim.get(location.partition(f"{scim.provider.pk}/")[2]) == document
