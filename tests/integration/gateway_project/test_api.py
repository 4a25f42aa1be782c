"""The REST API: permissions, visibility, strict bodies, secrets that never come out, and one form of errors."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import get_resolver

from accounts.models import Group, IdentityProvider, Principal
from accounts.services import group_save, provider_save
from connections.models import Connection, Credential
from connections.services import connection_save, credential_set
from policies.models import AccessGrant, Guardrail, MaskingPattern
from tests.support.record import START, Record

ROOT = "/api/v1/"
SECRET = "api-canary-3Z"
WRITABLE = {
    "providers": {"name": "Second", "issuer": "https://second.example.com"},
    "groups": {"name": "sre"},
    "principals": {"issuer": "https://login.example.com", "subject": "robot", "kind": "machine"},
    "connections": {"slug": "wiki", "name": "Wiki", "upstream_url": "https://wiki.example.com/mcp"},
    "credentials": {"kind": "bearer", "secret": SECRET},
    "grants": {"tools": ["get_*"]},
    "guardrails": {"name": "No deletes", "effect": "deny", "names": ["delete_*"]},
    "masking-patterns": {"name": "email", "pattern": "[a-z]+@[a-z.]+"},
}
READ_ONLY = ["sessions"]
MODELS = {
    "providers": IdentityProvider,
    "groups": Group,
    "principals": Principal,
    "connections": Connection,
    "credentials": Credential,
    "grants": AccessGrant,
    "guardrails": Guardrail,
    "masking-patterns": MaskingPattern,
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return provider_save(name="Main", issuer="https://login.example.com", now=START)


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=START)


@pytest.fixture
def bodies(provider, connection):
    group = group_save(provider=provider, name="support", now=START)
    related = {
        "groups": {"provider": str(provider.pk)},
        "credentials": {"connection": str(connection.pk)},
        "grants": {"connection": str(connection.pk), "group": group.pk},
    }
    return {name: {**body, **related.get(name, {})} for name, body in WRITABLE.items()}


def send(client, method, path, body=None):
    answer = getattr(client, method)(
        ROOT + path, **({} if body is None else {"data": json.dumps(body), "content_type": "application/json"})
    )
    return answer.status_code, answer.json() if answer.content else None


@pytest.mark.parametrize("name", WRITABLE)
def test_a_row_is_added_read_changed_and_deleted(admin_client, bodies, name):
    status, added = send(admin_client, "post", f"{name}/", bodies[name])
    assert status == 201, added
    for field, value in bodies[name].items():
        assert field == "secret" or added[field] == value
    path = f"{name}/{added['id']}/"
    assert send(admin_client, "get", path) == (200, added)
    status, changed = send(admin_client, "put", path, bodies[name])
    assert status == 200, changed
    assert send(admin_client, "delete", path) == (204, None)
    assert send(admin_client, "get", path)[0] == 404
    assert not MODELS[name].objects.filter(pk=added["id"]).exists()


@pytest.mark.parametrize("name", [*WRITABLE, *READ_ONLY])
def test_without_a_permission_nothing_is_read_or_written(client, django_user_model, bodies, name):
    client.force_login(django_user_model.objects.create_user("nobody"))
    assert send(client, "get", f"{name}/")[0] == 403
    assert send(client, "post", f"{name}/", bodies.get(name, {}))[0] == 403
    for model in MODELS.values():
        assert model.objects.count() == {IdentityProvider: 1, Connection: 1, Group: 1}.get(model, 0)


@pytest.mark.parametrize("name", [*WRITABLE, *READ_ONLY])
def test_without_a_login_nothing_is_served(client, name):
    assert send(client, "get", f"{name}/") == (
        401,
        {"code": "not_authenticated", "detail": "Authentication credentials were not provided."},
    )


@pytest.mark.parametrize("name", WRITABLE)
def test_a_reader_reads_and_does_not_write(client, django_user_model, bodies, name):
    user = django_user_model.objects.create_user("reader")
    model = MODELS[name]
    user.user_permissions.add(
        Permission.objects.get(codename=f"view_{model._meta.model_name}", content_type__app_label=model._meta.app_label)
    )
    client.force_login(user)
    assert send(client, "get", f"{name}/")[0] == 200
    assert send(client, "post", f"{name}/", bodies[name])[0] == 403


@pytest.mark.parametrize("name", WRITABLE)
def test_unknown_and_read_only_members_are_refused(admin_client, bodies, name):
    status, answer = send(admin_client, "post", f"{name}/", {**bodies[name], "id": "x", "is_superuser": True})
    assert status == 400
    assert answer["code"] == "invalid"
    assert {field: [error["code"] for error in errors] for field, errors in answer["fields"].items()} == {
        "id": ["unknown_field"],
        "is_superuser": ["unknown_field"],
    }


@pytest.mark.parametrize("name", READ_ONLY)
def test_evidence_is_not_written_over_rest(admin_client, name):
    record = Record()
    row = record.session if name == "sessions" else record.principal
    for method in ("put", "patch", "delete"):
        assert send(admin_client, method, f"{name}/{row.pk}/", {})[0] == 405
    assert send(admin_client, "post", f"{name}/", {})[0] == 405


def test_what_a_service_refuses_has_the_same_form_as_what_a_field_refuses(admin_client):
    bad = {"slug": "Wiki", "name": "Wiki", "upstream_url": "ftp://wiki", "allowed_networks": ["10.0.0.1/8"]}
    status, answer = send(admin_client, "post", "connections/", bad)
    assert (status, answer["code"], list(answer["fields"])) == (400, "invalid", ["slug"])
    status, answer = send(admin_client, "post", "connections/", {**bad, "slug": "wiki"})
    assert (status, answer["code"]) == (400, "invalid")
    assert {name: errors[0]["code"] for name, errors in answer["fields"].items()} == {
        "upstream_url": "url_scheme",
        "allowed_networks": "network_refused",
    }
    status, answer = send(admin_client, "post", "connections/", {**bad, "allowed_networks": [["x"]]})
    assert answer["fields"]["allowed_networks.0"][0]["code"] == "invalid"


def test_a_slug_that_is_taken_is_refused_and_not_overwritten(admin_client, connection):
    body = {"slug": connection.slug, "name": "Mine now", "upstream_url": "https://evil.example.com"}
    status, answer = send(admin_client, "post", "connections/", body)
    assert (status, answer["fields"]["slug"][0]["code"]) == (400, "unique")
    connection.refresh_from_db()
    assert connection.name == "Orders"


def test_a_change_in_part_leaves_the_rest(admin_client, connection):
    status, answer = send(admin_client, "patch", f"connections/{connection.pk}/", {"timeout_seconds": 5})
    assert (status, answer["timeout_seconds"], answer["upstream_url"]) == (200, 5, connection.upstream_url)


def test_a_secret_goes_in_and_never_comes_out(admin_client, connection):
    body = {"connection": str(connection.pk), "kind": "bearer", "secret": SECRET}
    status, added = send(admin_client, "post", "credentials/", body)
    assert (status, added["version"]) == (201, 1)
    status, replaced = send(admin_client, "put", f"credentials/{added['id']}/", {**body, "secret": SECRET + "-2"})
    assert (status, replaced["version"]) == (200, 2)
    for path in ("credentials/", f"credentials/{added['id']}/", "connections/", f"connections/{connection.pk}/"):
        text = admin_client.get(ROOT + path).content.decode()
        assert SECRET not in text
        assert "ciphertext" not in text
        assert "wrapped_key" not in text
    status, refused = send(admin_client, "put", f"credentials/{added['id']}/", {**body, "secret": f"{SECRET}\r\nX: y"})
    assert status == 400
    assert SECRET not in json.dumps(refused)


def test_a_credential_does_not_move_to_another_connection(admin_client, connection):
    credential = credential_set(connection=connection, kind="bearer", secret=SECRET, now=START)
    other = connection_save(slug="wiki", name="Wiki", upstream_url="https://wiki.example.com", now=START)
    body = {"connection": str(other.pk), "kind": "bearer", "secret": SECRET}
    status, answer = send(admin_client, "put", f"credentials/{credential.pk}/", body)
    assert (status, answer["fields"]["connection"][0]["code"]) == (400, "connection_fixed")


def test_without_master_keys_a_secret_is_refused_with_a_code(admin_client, connection, settings):
    settings.WARDGATE_MASTER_KEYS = ""
    body = {"connection": str(connection.pk), "kind": "bearer", "secret": SECRET}
    status, answer = send(admin_client, "post", "credentials/", body)
    assert (status, answer["code"]) == (503, "master_keys_unusable")


def test_a_connection_with_sessions_is_not_deleted(admin_client):
    record = Record()
    status, answer = send(admin_client, "delete", f"connections/{record.connection.pk}/")
    assert (status, answer["code"]) == (409, "in_use")


def test_a_write_without_the_csrf_token_is_refused(django_user_model, bodies):
    client = Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_superuser("root"))
    assert send(client, "post", "guardrails/", bodies["guardrails"])[0] == 403


def test_the_calls_of_a_session_are_listed_and_filtered(admin_client):
    record = Record()
    record.call("get_order", hits={"email": 1})
    record.call("delete_order", verdict="deny")
    status, answer = send(admin_client, "get", f"sessions/{record.session.pk}/calls/")
    assert status == 200
    assert [(call["name"], call["state"], call["hits"]) for call in answer["results"]] == [
        ("get_order", "completed", {"email": 1}),
        ("delete_order", "denied", {}),
    ]
    status, answer = send(admin_client, "get", f"sessions/{record.session.pk}/calls/?verdict=deny")
    assert [call["name"] for call in answer["results"]] == ["delete_order"]
    assert send(admin_client, "get", f"sessions/{record.session.pk}/calls/?verdict=maybe")[0] == 400


def test_the_events_of_a_session_come_in_order_and_in_pages(admin_client):
    record = Record()
    record.call()
    record.call()
    status, first = send(admin_client, "get", f"sessions/{record.session.pk}/events/?limit=3")
    assert status == 200
    following = admin_client.get(first["next"]).json()
    assert [event["seq"] for event in first["results"] + following["results"]] == [1, 2, 3, 4]
    assert first["results"][1]["payload"].startswith("{")


def test_events_take_a_permission_of_their_own(client, django_user_model):
    record = Record()
    user = django_user_model.objects.create_user("reader")
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_session", "see_all_sessions"]))
    client.force_login(user)
    assert send(client, "get", f"sessions/{record.session.pk}/calls/")[0] == 200
    assert send(client, "get", f"sessions/{record.session.pk}/events/")[0] == 403


@pytest.mark.parametrize("name", ["grants", "groups", "connections", "credentials", "sessions"])
def test_a_list_costs_the_same_for_many_rows(admin_client, provider, django_assert_max_num_queries, name):
    for number in range(10):
        connection = connection_save(slug=f"c{number}", name="C", upstream_url="https://c.example.com", now=START)
        credential_set(connection=connection, kind="bearer", secret=SECRET, now=START)
        group = group_save(provider=provider, name=f"g{number}", now=START)
        AccessGrant.objects.create(connection=connection, group=group, tools=["*"])
        Record(slug=f"c{number}", subject=f"s{number}")
    with django_assert_max_num_queries(5):
        assert len(send(admin_client, "get", f"{name}/")[1]["results"]) == 10


def test_the_schema_names_every_route_and_the_docs_run_without_eval(admin_client):
    schema = admin_client.get(ROOT + "schema/?format=json").json()
    [api] = [entry for entry in get_resolver().url_patterns if str(entry.pattern) == ROOT.removeprefix("/")]
    routes = {str(pattern.pattern) for pattern in api.url_patterns[-1].url_patterns}
    lists = {route.removeprefix("^").removesuffix("$") for route in routes if route.endswith("/$") and "(" not in route}
    assert lists
    assert {f"{ROOT}{route}" for route in lists} <= set(schema["paths"])
    answer = admin_client.get(ROOT + "docs/")
    assert answer.status_code == 200
    assert "unsafe-eval" not in answer.headers["Content-Security-Policy"]
    assert "secret" not in schema["components"]["schemas"]["Credential"]["properties"] or (
        schema["components"]["schemas"]["Credential"]["properties"]["secret"].get("writeOnly") is True
    )


def test_a_principal_is_found_by_its_subject(admin_client):
    Record(subject="ada")
    Record(subject="grace")
    _, answer = send(admin_client, "get", "principals/?subject=grace")
    assert [row["subject"] for row in answer["results"]] == ["grace"]
    assert Principal.objects.count() == 2
