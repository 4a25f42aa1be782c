"""Who may provision: the provider's own token, and nobody else."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import ApiToken, User
from accounts.scim import schemas
from tests.support.scim import Provisioner, everything, owner_of_everything, provider, token_for

pytestmark = pytest.mark.django_db


PLACES = [
    ("GET", "ServiceProviderConfig"),
    ("GET", "ResourceTypes"),
    ("GET", "Schemas"),
    ("GET", "Users"),
    ("POST", "Users"),
    ("GET", "Users/{user}"),
    ("PUT", "Users/{user}"),
    ("PATCH", "Users/{user}"),
    ("DELETE", "Users/{user}"),
    ("GET", "Groups"),
    ("POST", "Groups"),
    ("GET", "Groups/{group}"),
    ("PATCH", "Groups/{group}"),
    ("DELETE", "Groups/{group}"),
    ("POST", "Bulk"),
    ("GET", "Me"),
    ("GET", "nothing/here"),
    ("GET", ""),
]


@pytest.fixture
def strangers(scim):
    """Authorization tokens that must not pass, and the status that each gets."""
    other = provider("Other", "https://other.example.com")
    reader = User.objects.create_user("reader")
    reader.user_permissions.add(Permission.objects.get(codename="view_identityprovider"))
    late = token_for(scim.provider, user=scim.owner)
    ApiToken.objects.filter(prefix=late[:11]).update(expires_at=timezone.now() - timedelta(seconds=1))
    gone = token_for(scim.provider, user=scim.owner)
    ApiToken.objects.filter(prefix=gone[:11]).update(revoked_at=timezone.now())
    return {
        "none": ("", 401),
        "garbage": ("garbage", 401),
        "a made-up one": ("wg_" + "A" * 57, 401),
        "an expired one": (late, 401),
        "a revoked one": (gone, 401),
        "one of another provider": (token_for(other, user=scim.owner), 404),
        "one for the API": (token_for(None, user=scim.owner, scopes=("read", "write", "admin")), 403),
        "one for events of the same provider": (token_for(scim.provider, user=scim.owner, scopes=("events",)), 403),
        "one of a person who may only look": (token_for(scim.provider, user=reader), 403),
    }


@pytest.mark.parametrize(("method", "place"), PLACES)
def test_nobody_but_the_providers_own_token_gets_anywhere(scim, ada, strangers, method, place):
    group = scim.create_group(displayName="Sales")
    path = place.format(user=ada["id"], group=group["id"])
    before = everything()
    for who, (token, status) in strangers.items():
        body = scim.send(method, path, {"schemas": [schemas.PATCH]}, token=token)
        assert scim.answer.status_code == status, who
        assert (body["schemas"], body["status"]) == (["urn:ietf:params:scim:api:messages:2.0:Error"], str(status)), who
        assert ("WWW-Authenticate" in scim.answer.headers) == (status == 401), who
    assert everything() == before


def test_an_unknown_provider_is_not_told_apart_from_another_ones(scim):
    assert scim.send("GET", "Users", provider_id=uuid4(), expect=404)["status"] == "404"


def test_a_session_of_the_console_opens_nothing(scim, ada, admin_client):
    answer = admin_client.get(f"/scim/v2/{scim.provider.pk}/Users")
    assert answer.status_code == 401


def test_a_provider_does_not_see_or_touch_what_another_provisions(scim, ada):
    other = Provisioner(provider("Other", "https://other.example.com"), owner=scim.owner)
    group = scim.create_group(displayName="Sales", members=[{"value": ada["id"]}])
    assert other.get("Users")["totalResults"] == other.get("Groups")["totalResults"] == 0
    before = everything()
    other.get(f"Users/{ada['id']}", expect=404)
    other.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}}, expect=404)
    other.delete(f"Users/{ada['id']}", expect=404)
    other.get(f"Groups/{group['id']}", expect=404)
    other.delete(f"Groups/{group['id']}", expect=404)
    mine = other.create_group(displayName="Mine")
    refused = other.patch(
        f"Groups/{mine['id']}", {"op": "add", "path": "members", "value": [{"value": ada["id"]}]}, expect=400
    )
    assert refused["scimType"] == "invalidValue"
    other.delete(f"Groups/{mine['id']}")
    assert everything() == before


def test_the_owner_may_be_anybody_who_may_change_the_provider(scim):
    person = User.objects.create_user("provisioner")
    person.user_permissions.add(Permission.objects.get(codename="change_identityprovider"))
    own = Provisioner(scim.provider, owner=person)
    assert own.get("Users")["totalResults"] == 0
    assert owner_of_everything() == scim.owner
