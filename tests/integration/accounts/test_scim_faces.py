"""What is provisioned, as people see it: pages and resources that nobody edits, and settings of the provider."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts.models import IdentityProvider, Principal, ScimMember, ScimSync, ScimUser
from tests.support.scim import stopped

pytestmark = pytest.mark.django_db


@pytest.fixture
def provisioned(scim, ada):
    """A user who is not active, in a group, and a request that was refused."""
    scim.create_group(displayName="<b>sre</b>", members=[{"value": ada["id"]}])
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}})
    scim.create_user(userName="ADA@acme.example", externalId="x", expect=409)
    return ScimUser.objects.get()


def page(client, model, name, *args):
    answer = client.get(reverse(f"admin:accounts_{model._meta.model_name}_{name}", args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_user_is_shown_with_its_principal_lock_and_groups(admin_client, provisioned):
    assert "ada@acme.example" in page(admin_client, ScimUser, "changelist")
    shown = page(admin_client, ScimUser, "change", provisioned.pk)
    for text in ("00u1", "ada@acme.example", "&lt;b&gt;sre&lt;/b&gt;"):
        assert text in shown
    assert "<b>sre</b>" not in shown


def test_how_provisioning_goes_is_shown_with_the_last_refusal(admin_client, provisioned):
    sync = ScimSync.objects.get()
    for shown in (page(admin_client, ScimSync, "changelist"), page(admin_client, ScimSync, "change", sync.pk)):
        assert "A user of this userName is provisioned already." in shown


@pytest.mark.parametrize("model", [ScimUser, ScimMember, ScimSync])
def test_nobody_edits_what_was_provisioned(admin_client, provisioned, model):
    row = model.objects.get()
    before = model.objects.values().get()
    place = reverse(f"admin:accounts_{model._meta.model_name}_change", args=[row.pk])
    assert admin_client.post(place, {"is_active": "on"}).status_code == 403
    assert admin_client.get(reverse(f"admin:accounts_{model._meta.model_name}_add")).status_code == 403
    delete = reverse(f"admin:accounts_{model._meta.model_name}_delete", args=[row.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert model.objects.values().get() == before


def test_pages_of_many_users_cost_as_many_queries_as_of_one(
    admin_client, scim, provisioned, django_assert_max_num_queries
):
    for number in range(5):
        scim.create_user(userName=f"u{number}", externalId=f"e{number}")
    for path in (reverse("admin:accounts_scimuser_changelist"), "/api/v1/scim-users/"):
        with django_assert_max_num_queries(14):
            assert admin_client.get(path).status_code == 200


def test_a_principals_hint_names_the_attribute_to_choose(admin_client, provisioned):
    Principal.objects.create(
        issuer=provisioned.provider.issuer, subject="ada@acme.example", last_seen=provisioned.created_at
    )
    assert "another attribute" in page(admin_client, ScimUser, "changelist")
    [user] = admin_client.get("/api/v1/scim-users/").json()["results"]
    assert "another attribute" in user["hint"]


def test_rest_shows_users_and_how_it_goes_and_takes_nothing(admin_client, provisioned):
    listed = admin_client.get(f"/api/v1/scim-users/?provider={provisioned.provider_id}&is_active=false").json()
    [user] = listed["results"]
    assert (user["user_name"], user["external_id"], user["is_active"]) == ("ada@acme.example", "00u1", False)
    assert user["principal"] == str(provisioned.principal_id)
    assert len(user["groups"]) == 1
    [sync] = admin_client.get("/api/v1/scim-provisioning/").json()["results"]
    assert sync["last_refusal"].startswith("POST Users:")
    for method in ("put", "patch", "delete"):
        answer = getattr(admin_client, method)(f"/api/v1/scim-users/{provisioned.pk}/", content_type="application/json")
        assert answer.status_code == 405
    assert admin_client.post("/api/v1/scim-users/", {}, content_type="application/json").status_code == 405


@pytest.mark.parametrize(("name", "model"), [("scim-users", "scimuser"), ("scim-provisioning", "scimsync")])
def test_rest_asks_for_the_permission_of_each(client, django_user_model, provisioned, name, model):
    reader = django_user_model.objects.create_user("reader")
    client.force_login(reader)
    assert client.get(f"/api/v1/{name}/").status_code == 403
    reader.user_permissions.add(Permission.objects.get(codename=f"view_{model}"))
    assert len(client.get(f"/api/v1/{name}/").json()["results"]) == 1


def test_a_corrected_setting_over_rest_locks_whoever_is_not_active_under_the_new_subject(admin_client, provisioned):
    answer = admin_client.patch(
        f"/api/v1/providers/{provisioned.provider_id}/",
        json.dumps({"scim_subject": "user_name"}),
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content
    assert IdentityProvider.objects.get().scim_subject == "user_name"
    assert stopped("ada@acme.example") == 1
