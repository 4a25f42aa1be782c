"""Roles at the console and over REST: every page and every route, for every role, and for nobody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve, reverse

from accounts import roles, services
from accounts.models import RoleGrant, User
from accounts.roles import PERMISSIONS, Role
from gateway_project.urls import router
from tests.support.record import START

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[3]
NOWHERE = "00000000-0000-4000-8000-000000000000"
OWN = {"api-tokens", "logins", "slack-links", "accounts.apitoken"}
"""What everybody has of their own, and where others' rows take the permission."""
BY_ANOTHER_PERMISSION = {
    ("approvals", "post"): "policies.request_access_approvalrequest",
    ("approval-delegations", "post"): "policies.decide_approvalrequest",
}
"""Where the permission is not the one of the method: people ask for access, and name delegates of their own."""
FOR_EVERYBODY = {
    "index",
    "account",
    "password_change",
    "password_change_done",
    "console_account",
    "console_notifications",
    "console_push_browser",
    "console_slack",
    "console_slack_code",
    "console_proof",
    "console_proof_done",
    "console_add_application",
    "console_add_key",
    "console_login",
    "login",
    "jsi18n",
    "toggle_sidebar",
    "search",
    "accounts_apitoken_changelist",
    "accounts_apitoken_add",
}
"""Pages of the admin for whoever is logged in, which show nothing but their own."""


def person(*role_names):
    return User.objects.create(username="-".join(role_names) or "nobody", is_staff=True, role_names=list(role_names))


@pytest.fixture
def browser():
    def logged_in(*role_names):
        client = Client(raise_request_exception=False)
        client.force_login(person(*role_names), backend="accounts.backends.RoleBackend")
        return client

    return logged_in


def test_every_permission_is_named_for_somebody_or_for_nobody():
    """A model that is added later gives nothing, and this asks whoever adds it to decide."""
    open_questions = []
    for permission in Permission.objects.select_related("content_type"):
        model = f"{permission.content_type.app_label}.{permission.content_type.model}"
        name = f"{permission.content_type.app_label}.{permission.codename}"
        is_usual = permission.codename.partition("_")[0] in {"view", "add", "change", "delete"}
        known = model in {*roles.CONFIGURATION, *roles.EVIDENCE, *roles.NOBODY} if is_usual else name in roles.SPECIAL
        if not known:
            open_questions.append(name)
    assert open_questions == [], "name them in accounts/roles.py"


def test_every_model_that_is_named_exists():
    existing = {model._meta.label_lower for model in apps.get_models()}
    assert {*roles.CONFIGURATION, *roles.EVIDENCE, *roles.NOBODY} - existing == set()
    names = {f"{row.content_type.app_label}.{row.codename}" for row in Permission.objects.select_related()}
    assert set(roles.SPECIAL) - names == set()


def test_the_document_has_the_matrix_of_the_code():
    assert roles.matrix() in (ROOT / "docs" / "roles.md").read_text()


@pytest.mark.parametrize("role", Role)
def test_a_role_opens_exactly_its_pages(browser, admin_client, role):
    client = browser(role)
    wrong = {}
    for model, model_admin in admin.site._registry.items():
        label = model._meta.label_lower
        app, name = label.split(".")
        for page, verb in (("changelist", "view"), ("add", "add")):
            path = reverse(f"admin:{app}_{name}_{page}")
            status = client.get(path).status_code
            may = f"{app}.{verb}_{name}" in PERMISSIONS[role]
            expected = admin_client.get(path).status_code if may else 403
            if status != expected and not (label in OWN and status == 200):
                wrong[path] = (status, expected)
        del model_admin
    assert wrong == {}


def is_route(path):
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


@pytest.mark.parametrize("role", Role)
def test_a_role_reaches_exactly_its_resources(browser, admin_client, role):
    client = browser(role)
    wrong = {}
    for prefix, viewset, _ in router.registry:
        model = getattr(getattr(viewset, "queryset", None), "model", None)
        if prefix in OWN or model is None:
            continue
        app, name = model._meta.app_label, model._meta.model_name
        verbs = {"get": "view", "post": "add", "put": "change", "patch": "change", "delete": "delete"}
        for method, verb in verbs.items():
            path = f"/api/v1/{prefix}/" if method in {"get", "post"} else f"/api/v1/{prefix}/{NOWHERE}/"
            if not is_route(path):
                continue
            permission = BY_ANOTHER_PERMISSION.get((prefix, method), f"{app}.{verb}_{name}")
            given = {} if method == "get" else {"data": json.dumps({"x": 1}), "content_type": "application/json"}
            expected = getattr(admin_client, method)(path, **given).status_code
            if permission not in PERMISSIONS[role] and expected != 405:
                expected = 403
            status = getattr(client, method)(path, **given).status_code
            if status != expected and not (expected == 405 and status == 403):
                wrong[f"{method} {path}"] = (status, expected)
    assert wrong == {}


def routes(patterns, prefix=""):
    for pattern in patterns:
        text = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, text)
        elif isinstance(pattern, URLPattern):
            yield pattern.name or "", text


def filled(route):
    """A path for the route, with values that fit and name nothing."""
    values = {"uuid": NOWHERE, "int": "0", "path": NOWHERE, "str": "x", "slug": "x"}
    path = re.sub(r"<(?:(\w+):)?\w+>", lambda found: values[found[1] or "str"], route)
    path = re.sub(r"\(\?P<app_label>[^)]*\)|\(\?P<\w+>.+\)", "x", path)
    return "/" + re.sub(r"\^|\$|\\Z|\\", "", path)


def test_without_a_role_no_page_of_the_console_opens(browser):
    client = browser()
    opened = {}
    found = list(routes(get_resolver().url_patterns))
    assert len(found) > 100
    for name, route in found:
        if not route.startswith("admin/") or name in FOR_EVERYBODY:
            continue
        path = filled(route)
        for method in ("get", "post"):
            status = getattr(client, method)(path).status_code
            if status == 200 or status >= 500:
                opened[f"{method} {path} {name}"] = status
        if not client.session.get("_auth_user_id"):
            client = browser_again(client)
    assert opened == {}


def browser_again(client):
    client.force_login(User.objects.get(username="nobody"), backend="accounts.backends.RoleBackend")
    return client


def test_without_a_login_no_page_of_the_console_opens(client):
    opened = {}
    for name, route in routes(get_resolver().url_patterns):
        if not route.startswith("admin/") or name in {"console_login", "login", "jsi18n"}:
            continue
        path = filled(route)
        for method in ("get", "post"):
            answer = getattr(client, method)(path)
            if answer.status_code == 200 or answer.status_code >= 500:
                opened[f"{method} {path} {name}"] = answer.status_code
    assert opened == {}


def test_a_role_of_a_person_counts_at_once_and_until_it_is_taken_back(browser):
    client = browser()
    user = User.objects.get()
    path = reverse("admin:connections_connection_changelist")
    assert client.get(path).status_code == 403
    row = services.role_grant_save(user=user, role="viewer", now=START)
    assert client.get(path).status_code == 200
    services.role_grant_delete(role_grant_id=row.pk, now=START)
    assert client.get(path).status_code == 403


def ended(client, **body):
    return client.post("/api/v1/logins/end/", json.dumps(body), content_type="application/json")


def test_a_person_is_signed_out_everywhere_over_rest(browser, admin_client):
    viewer, owner = browser(Role.VIEWER), browser(Role.OWNER)
    again = Client()
    again.force_login(User.objects.get(username="viewer"), backend="accounts.backends.RoleBackend")
    answer = ended(viewer)
    assert (answer.status_code, answer.json()) == (200, {"ended": 2})
    assert [client.get("/admin/").status_code for client in (viewer, again, owner)] == [302, 302, 200]
    again.force_login(User.objects.get(username="viewer"), backend="accounts.backends.RoleBackend")
    assert ended(again, user=User.objects.get(username="owner").pk).status_code == 403
    assert ended(owner, user=User.objects.get(is_superuser=True).pk).status_code == 403
    assert ended(owner, user=User.objects.get(username="viewer").pk).json() == {"ended": 1}
    assert ended(admin_client, user=User.objects.get(username="owner").pk).json() == {"ended": 1}
    assert admin_client.get("/admin/").status_code == 200


def test_an_inactive_person_may_nothing():
    user = person("owner")
    assert user.has_perm("accounts.add_rolegrant")
    inactive = User.objects.get(pk=user.pk)
    inactive.is_active = False
    assert not inactive.has_perm("accounts.add_rolegrant")
    assert not inactive.has_module_perms("accounts")


def test_roles_cost_one_query_a_request(django_assert_num_queries):
    user = person("viewer")
    with django_assert_num_queries(1):
        for permission in ("accounts.view_group", "policies.view_guardrail", "accounts.view_lock"):
            assert user.has_perm(permission)
        assert user.has_module_perms("accounts")


def test_an_owner_does_not_become_a_superuser_nor_touches_one(browser):
    client = browser("owner")
    root = User.objects.create_superuser("root", password="correct horse battery")
    me = User.objects.get(username="owner")
    path = reverse("admin:accounts_user_change", args=[me.pk])
    values = {"username": "owner", "is_active": "on", "is_staff": "on", "is_superuser": "on", "is_break_glass": "on"}
    client.post(path, values)
    me.refresh_from_db()
    assert (me.is_superuser, me.is_break_glass) == (False, False)
    new = {"password1": "another horse battery", "password2": "another horse battery", "usable_password": "true"}
    assert client.post(reverse("admin:auth_user_password_change", args=[root.pk]), new).status_code == 403
    assert client.post(reverse("admin:accounts_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 403
    action = {"action": "forget_factors_of_selected", "_selected_action": [root.pk]}
    client.post(reverse("admin:accounts_user_changelist"), action)
    root.refresh_from_db()
    assert root.check_password("correct horse battery")
    assert User.objects.filter(pk=root.pk).exists()


def test_a_group_that_gives_a_role_keeps_its_name(browser):
    """An operator may rename groups; with that nobody must come by a role that was given to another group."""
    provider = services.provider_save(name="Main", issuer="https://login.example.com", now=START)
    group = services.group_save(provider=provider, name="owners", now=START)
    RoleGrant.objects.create(group=group, role="owner")
    client = browser("operator")
    path = reverse("admin:accounts_group_change", args=[group.pk])
    answer = client.post(path, {"provider": provider.pk, "name": "everybody", "description": ""})
    assert answer.status_code == 200
    client.post(reverse("admin:accounts_group_delete", args=[group.pk]), {"post": "yes"})
    group.refresh_from_db()
    assert group.name == "owners"
    assert client.post(path, {"provider": provider.pk, "name": "owners", "description": "x"}).status_code == 302
