"""Every object of the REST API, by everybody, with every verb; and every field that is not to be set (N4).

Resources, verbs and fields come from the router, the serializers and the models: what is added is tried without a line
here. Visibility is by permission, and for logins and API tokens by ownership.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from accounts.models import ApiToken, ConsoleSession, User
from accounts.rest_authentication import WRITE_METHODS
from accounts.scopes import SCOPES
from accounts.services import api_token_create
from gateway_project.urls import router
from policies.models import SlackIdentity
from tests.security.routes import SOME_ID, Route, routes
from tests.security.rows import row_of

pytestmark = pytest.mark.django_db

ROUTES = [route for route in routes() if route.area == "api"]
NAMES = {route.name for route in ROUTES}
OF_OBJECTS = {
    basename: view for _, view, basename in router.registry if {f"{basename}-list", f"{basename}-detail"} <= NAMES
}
RESOURCES = {basename: view for basename, view in OF_OBJECTS.items() if getattr(view, "queryset", None) is not None}
WITHOUT_ROWS = {"provider-preset", "guardrail-pack"}
"""Resources that are part of the program and the same for everybody."""
OWNED = {"api-token": ApiToken, "login": ConsoleSession, "slack-link": SlackIdentity}
"""Resources of which everybody has some of their own."""
SEEN_WITH = {"approval-delegation": "see_all_approvalrequest"}
"""By resource, the permission of another model with which those of others are seen."""
VERBS = ("GET", "HEAD", *WRITE_METHODS)
STRANGE = (
    "is_superuser",
    "is_staff",
    "user_permissions",
    "owner_id",
    "pk",
    "__class__",
    "team",
    "$where",
    "is_active ",
)
each_resource = pytest.mark.parametrize("resource", RESOURCES)


@dataclass
class Place:
    """One path of a resource, with a row behind it where it is about one."""

    route: Route
    path: str

    @property
    def is_detail(self) -> bool:
        """Whether the path names a row."""
        return self.path != self.route.path or SOME_ID in self.route.path


def places(resource: str, row: Any) -> Iterator[Place]:
    """Yield every path of `resource`; those of one thing are those of `row`."""
    for route in ROUTES:
        if route.resource == resource:
            yield Place(route, _with(route, row))


def _with(route: Route, row: Any) -> str:
    """Return the route's path with the key of `row` in place of the sample."""
    collection = next(each.path for each in ROUTES if each.name == f"{route.resource}-list")
    is_detail = "(?P<pk>" in route.pattern
    rest = route.path.removeprefix(collection)
    return f"{collection}{row.pk}/{rest.partition('/')[2]}" if is_detail else route.path


def allowed(place: Place) -> list[str]:
    """Return the verbs that the place has."""
    view = place.route.view
    routed = {name.upper() for name in view.actions if name in view.cls.http_method_names}
    return [verb for verb in VERBS if verb in routed | {"HEAD"}]


def send(client: Client | Program, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = client.generic(
        verb, path, json.dumps({} if body is None else body, default=str), content_type="application/json"
    )
    text = b"".join(answer.streaming_content) if answer.streaming else answer.content
    is_json = "json" in answer.headers.get("Content-Type", "") and verb != "HEAD"
    return answer.status_code, json.loads(text) if text and is_json else text


def columns(row: Any) -> Any:
    """Return what the database holds of the row; None when it is gone."""
    return type(row).objects.filter(pk=row.pk).values().first()


def body_for(view: Any, row: Any) -> dict[str, Any]:
    """Return every member that can be written, with what the row has."""
    serializer = view.serializer_class(row)
    shown = serializer.data
    return {name: shown.get(name, "x") for name, field in serializer.fields.items() if not field.read_only}


def browser(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


class Program:
    """Somebody who sends a token, or nothing; all of them share what Django sets up for one client."""

    _client = Client(raise_request_exception=False)

    def __init__(self, token: str = "") -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def generic(self, verb: str, path: str, data: str, content_type: str) -> Any:
        return self._client.generic(verb, path, data, content_type=content_type, headers=self._headers)


def program(user: User, scopes: Any = None) -> Program:
    wanted = sorted((set(SCOPES) if scopes is None else set(scopes)) - {"scim", "events"})
    _, token = api_token_create(user=user, actor=user, name="all", scopes=wanted, now=timezone.now())
    return Program(token)


def permissions_of(view: Any, *, but: bool = False) -> Any:
    """Return the permissions of the view's model; with `but`, all of the others."""
    meta = view.queryset.model._meta
    named = {"content_type__app_label": meta.app_label, "content_type__model": meta.model_name}
    return Permission.objects.exclude(**named) if but else Permission.objects.filter(**named)


def assert_nothing_comes_out(answer: Any, row: Any, at: Any) -> None:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else json.dumps(answer)
    assert len(str(row.pk)) < 5 or f'"{row.pk}"' not in text, at


def test_every_resource_of_objects_is_tried() -> None:
    assert OF_OBJECTS.keys() - RESOURCES.keys() == WITHOUT_ROWS
    assert len(RESOURCES) >= 20


@each_resource
def test_without_credentials_no_verb_does_anything(resource: str) -> None:
    row = row_of(RESOURCES[resource].queryset.model)
    before = columns(row)
    for place in places(resource, row):
        for verb in VERBS:
            status, answer = send(Program(), verb, place.path, body_for(RESOURCES[resource], row))
            assert status == 401, (verb, place.path)
            assert_nothing_comes_out(answer, row, place.path)
    assert columns(row) == before


@each_resource
@pytest.mark.parametrize("may", ["nothing", "everything else"])
def test_somebody_else_does_nothing_and_sees_nothing(resource: str, may: str) -> None:
    view = RESOURCES[resource]
    row = row_of(view.queryset.model)
    user = User.objects.create_user("other")
    if may == "everything else":
        user.user_permissions.set(permissions_of(view, but=True))
    client, before = browser(user), columns(row)
    for place in places(resource, row):
        for verb in allowed(place):
            status, answer = send(client, verb, place.path, body_for(view, row))
            client = browser(user) if _is_signed_out(place, verb, status) else client
            is_own_list = resource in OWNED and not place.is_detail
            # A body that names somebody else is refused as such.
            wanted = {200, 400, 403} if is_own_list else {403, 404}
            # What is only done and never read has no HEAD.
            wanted |= {405} if is_own_list and verb == "HEAD" else set()
            # Who may do another thing here may hear what is wrong with a body, and nothing of the row.
            wanted |= {400} if may == "everything else" else set()
            assert status in wanted, (verb, place.path, status, answer)
            assert_nothing_comes_out(answer, row, place.path)
    assert columns(row) == before


@each_resource
def test_whoever_may_only_look_changes_nothing(resource: str) -> None:
    view = RESOURCES[resource]
    row = row_of(view.queryset.model)
    user = User.objects.create_user("reader")
    user.user_permissions.set(permissions_of(view).filter(codename__regex="^(view|see)_"))
    user.user_permissions.add(*Permission.objects.filter(codename=SEEN_WITH.get(resource)))
    client, before = browser(user), columns(row)
    seen = set()
    for place in places(resource, row):
        for verb in allowed(place):
            status, answer = send(client, verb, place.path, body_for(view, row))
            client = browser(user) if _is_signed_out(place, verb, status) else client
            if verb in WRITE_METHODS and not _is_reading(place):
                wanted = {403, 404} if resource not in OWNED or place.is_detail else {200, 400, 403}
                assert status in wanted, (verb, place.path, status, answer)
            elif status == 200:
                seen.add(place.route.name)
    assert f"{resource}-detail" in seen
    assert columns(row) == before


def _is_signed_out(place: Place, verb: str, status: int) -> bool:
    """Whether whoever asks has just ended their own login, too."""
    return (verb, status) == ("POST", 200) and place.path.endswith("/logins/end/")


def _is_reading(place: Place) -> bool:
    """Whether a POST there changes nothing: it asks a question that is too long for a URL."""
    return place.route.name == "provider-test-token"


@each_resource
def test_an_administrator_sees_it_and_a_token_without_the_scope_does_not(resource: str) -> None:
    view = RESOURCES[resource]
    row = row_of(view.queryset.model)
    owner = User.objects.create_superuser("owner")
    everything, one_less = program(owner), {scope: program(owner, set(SCOPES) - {scope}) for scope in SCOPES}
    before = columns(row)
    for place in places(resource, row):
        for verb in allowed(place):
            if verb == "GET" and place.route.name in {f"{resource}-list", f"{resource}-detail"}:
                status, answer = send(everything, verb, place.path)
                assert status == 200, (place.path, answer)
            scope = view.required_scopes.get(verb)
            status, answer = send(one_less.get(scope, everything), verb, place.path, body_for(view, row))
            assert status == 403, (verb, place.path, status)
            assert_nothing_comes_out(answer, row, place.path)
    assert columns(row) == before


@pytest.mark.parametrize("resource", OWNED)
def test_what_is_ones_own_is_seen_and_that_of_others_does_not_exist(resource: str) -> None:
    mine, theirs = User.objects.create_user("mine"), User.objects.create_user("theirs")
    model = OWNED[resource]
    rows = {user: row_of(model, user=user) for user in (mine, theirs)}
    client = browser(mine)
    [collection] = [place.path for place in places(resource, rows[mine]) if place.route.name.endswith("-list")]
    assert send(client, "GET", f"{collection}{rows[mine].pk}/")[0] == 200
    assert send(client, "GET", f"{collection}{rows[theirs].pk}/")[0] == 404
    assert send(client, "DELETE", f"{collection}{rows[theirs].pk}/")[0] == 404
    fields = RESOURCES[resource].filterset_fields
    asked = [f"?{name}={getattr(rows[theirs], f'{name}_id', getattr(rows[theirs], name, ''))}" for name in fields]
    for query in ["", "?limit=200", "?ordering=user__password", "?user__password__startswith=a", *asked]:
        status, answer = send(client, "GET", collection + query)
        assert status in {200, 400}
        assert_nothing_comes_out(answer, rows[theirs], query)


@each_resource
def test_no_member_is_taken_that_the_resource_does_not_let_be_set(resource: str) -> None:
    view = RESOURCES[resource]
    row = row_of(view.queryset.model)
    client, before = program(User.objects.create_superuser("owner")), columns(row)
    fields = {field.name for field in view.queryset.model._meta.get_fields()} | {"id", *STRANGE}
    fields |= {field.attname for field in view.queryset.model._meta.concrete_fields}
    tried = 0
    for place in places(resource, row):
        for verb in set(allowed(place)) & {"POST", "PUT", "PATCH"}:
            for name in sorted(fields - writable(place, verb)):
                status, answer = send(client, verb, place.path, {name: "x"})
                if status == 404 and place.is_detail:
                    # Only its owner may write it.
                    break
                assert status == 400, (verb, place.path, name, status, answer)
                assert answer["fields"][name][0]["code"] == "unknown_field", (verb, place.path, name, answer)
                tried += 1
    assert columns(row) == before
    has_bodies = any(set(allowed(place)) & {"POST", "PUT", "PATCH"} for place in places(resource, row))
    assert (tried > 0) == has_bodies


@cache
def schema() -> Any:
    """Return the published schema."""
    return SchemaGenerator().get_schema(request=None, public=True)


def writable(place: Place, verb: str) -> set[str]:
    """Return the members that the schema lets a body have."""
    path = re.sub(r"\(\?P<pk>[^)]*\)", "{id}", place.route.pattern).replace("^", "").replace("$", "")
    named = {re.sub(r"\{[^}]*\}", "{id}", name): found for name, found in schema()["paths"].items()}
    body = named[f"/{path}"][verb.lower()].get("requestBody")
    if body is None:
        return set()
    part = body["content"]["application/json"]["schema"]
    part = schema()["components"]["schemas"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    return {name for name, found in part.get("properties", {}).items() if not found.get("readOnly")}


def test_an_expired_token_of_an_administrator_opens_nothing() -> None:
    owner, past = User.objects.create_superuser("owner"), timezone.now() - timedelta(days=2)
    _, token = api_token_create(
        user=owner, actor=owner, name="old", scopes=["read"], expires_at=past + timedelta(days=1), now=past
    )
    assert {send(Program(token), "GET", route.path)[0] for route in ROUTES if route.name.endswith("-list")} == {401}
