"""Every route, times every method, times everybody: who is nobody gets nothing (A11).

The routes are found in Django's resolver, in the code that answers before Django, and in the router of websockets;
`route_table` says who may use them. A route that is not in the table fails here, with a sentence that says what to do.
What answers before Django is tried in a running gateway, in `test_route_matrix_data_path`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, path, resolve
from django.urls.resolvers import RegexPattern
from django.utils import timezone
from django.views.generic import RedirectView

from accounts.models import ConsoleSession, User
from accounts.scopes import SCOPES
from accounts.services import api_token_create, provider_save
from tests.security import route_table as table
from tests.security.routes import Route, places_before_django, routes, websockets
from tests.support.idp import Issuer

ROUTES = routes()
ONE_MODEL = "accounts_lock_"
NOBODIES = ("none", "garbage", "wrong audience", "expired")
Methods = Callable[[Route], Sequence[str]]
WHAT_TO_DO = (
    "These routes are in no list of tests/security/route_table.py. Decide who may use them, add them there (a resource "
    "of the REST API with its scopes, a model of the console, or one of the other lists), and see docs/api.md: "
)


class TestTheTable:
    """The table and the code agree, so that nothing is routed that nobody decided about."""

    def test_every_route_is_in_the_table(self) -> None:
        assert not unlisted(ROUTES), WHAT_TO_DO + "; ".join(unlisted(ROUTES))

    @pytest.mark.parametrize(
        "place", ["new/", "oauth/new", "api/v1/new/", "admin/new/", "admin/accounts/new/", "scim/v2/"]
    )
    def test_a_route_that_is_added_is_noticed(self, place: str) -> None:
        added = path(place, RedirectView.as_view(url="/"), name="new")
        assert unlisted(routes(URLResolver(RegexPattern(r"^/"), [added]))) == [f"{place} (new)"]

    def test_everything_in_the_table_is_routed(self) -> None:
        names = {route.name for route in ROUTES}
        listed = table.LOGIN.keys() | table.MACHINES.keys() | table.OWN.keys() | table.SCIM | table.API_OWN.keys()
        # The first of two routes of one path hides the other.
        assert listed - names <= {"login", "logout"}
        assert {resource for resource in table.API if not any(route.resource == resource for route in ROUTES)} == set()
        used = {model for model in table.CONSOLE_MODELS for name in names if name.startswith(f"{model}_")}
        assert used == table.CONSOLE_MODELS
        assert table.PUBLIC.keys() <= names | table.ASGI

    def test_every_route_is_reached_by_the_path_that_is_tried(self) -> None:
        wrong = [route.pattern for route in ROUTES if resolve(route.path).func is not route.view]
        assert wrong == []

    def test_what_answers_before_django_is_in_the_table(self) -> None:
        slug = r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\Z"
        written = {text.replace(slug, "<slug>").replace("\\", "") for text in places_before_django()}
        prefixes = {"/mcp", "/.well-known/oauth-protected-resource"}
        assert written - prefixes == table.ASGI, WHAT_TO_DO + "; ".join(sorted(written - prefixes - table.ASGI))

    def test_every_websocket_is_in_the_table(self) -> None:
        unknown = sorted(websockets() - table.WEBSOCKETS.keys())
        assert not unknown, WHAT_TO_DO + "; ".join(unknown)
        assert websockets() == table.WEBSOCKETS.keys()

    def test_at_most_eight_routes_answer_to_somebody_unknown(self) -> None:
        assert len(table.PUBLIC) <= 8

    def test_every_rest_route_asks_api_tokens_for_the_scope_in_the_table(self) -> None:
        wrong = []
        for route in ROUTES:
            if route.area != "api":
                continue
            view = route.view.cls if hasattr(route.view, "cls") else route.view.view_class
            asked = {**view.required_scopes, **getattr(route.view, "initkwargs", {}).get("required_scopes", {})}
            read, write = table.API[route.resource]
            expected = {
                **(dict.fromkeys(("GET", "HEAD", "OPTIONS"), read) if read else {}),
                **(dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), write) if write else {}),
            }
            # A method that a route does not name is closed to tokens.
            if not asked.items() <= expected.items():
                wrong.append(f"{route.name}: {asked} instead of {expected}")
        assert wrong == []


def unlisted(found: list[Route]) -> list[str]:
    """Return the routes that are in no list of the table."""
    is_known = {
        "": lambda route: False,
        "api": lambda route: route.resource,
        "scim": lambda route: route.name in table.SCIM,
    }
    return sorted(
        f"{route.pattern} ({route.name})" for route in found if not is_known.get(route.area, lambda _: True)(route)
    )


@pytest.fixture
def issuer() -> Issuer:
    issuer = Issuer("https://idp.example")
    provider_save(name="Main", issuer=issuer.issuer, pinned_jwks=issuer.jwks(), audiences=[], now=timezone.now())
    return issuer


def everywhere(send: Callable[[Route, str], Any], methods: Methods) -> Iterator[tuple[Route, str, Any]]:
    """Send every method to every route, each in a transaction that is undone; nothing may break."""
    for route in ROUTES:
        for method in methods(route):
            with transaction.atomic():
                answer = send(route, method)
                transaction.set_rollback(True)
            assert answer.status_code < 500 or answer.status_code == 501, (method, route.path, answer.status_code)
            yield route, method, answer


def every_method(route: Route) -> Sequence[str]:
    """Return all methods."""
    return table.METHODS


def reading_and_writing(route: Route) -> Sequence[str]:
    """Return the methods that differ for the route.

    The pages of the console are made by the same code, which looks at no method but POST. So all methods are tried on
    the pages of one model, and GET and POST on all others; callers without any credential try all of them everywhere.
    """
    is_page_like_others = route.area == "console" and not route.name.startswith(ONE_MODEL)
    return ("GET", "POST") if is_page_like_others else table.METHODS


def reading(route: Route) -> Sequence[str]:
    """Return GET, and for the REST API the methods that change something as well."""
    return ("GET", "POST", "PUT", "PATCH", "DELETE") if route.area == "api" else ("GET",)


def nobody(kind: str, issuer: Issuer) -> Callable[[Route, str], Any]:
    """Return a sender of requests that prove nothing, in the way that `kind` says."""
    owner = User.objects.create_superuser("owner")
    client, headers = Client(raise_request_exception=False), {}
    if kind == "garbage":
        client.cookies["wardgate"] = "garbage"
        headers = {"HTTP_AUTHORIZATION": "Bearer garbage"}
    elif kind == "wrong audience":
        # A genuine token of an accepted issuer, made for a connection.
        headers = {"HTTP_AUTHORIZATION": f"Bearer {issuer.token()}"}
    elif kind == "expired":
        past = timezone.now() - timedelta(days=2)
        token = api_token_create(
            user=owner, actor=owner, name="old", scopes=every_scope(), expires_at=past + timedelta(days=1), now=past
        )[1]
        headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
        client.force_login(owner)
        ConsoleSession.objects.update(ended_at=past)

    def send(route: Route, method: str) -> Any:
        return client.generic(method, route.path, b"", **headers)

    return send


def every_scope() -> list[str]:
    return sorted(set(SCOPES) - {"scim", "events"})


def somebody(user: User) -> Callable[[Route, str], Any]:
    """Return a sender of requests of `user`: with a login at the console, with a token of every scope elsewhere."""
    token = api_token_create(user=user, actor=user, name="all", scopes=every_scope(), now=timezone.now())[1]
    browser, program = Client(raise_request_exception=False), Client(raise_request_exception=False)
    browser.force_login(user)
    cookies = browser.cookies.copy()
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"}

    def send(route: Route, method: str) -> Any:
        if route.area in {"console", "login", "root"}:
            browser.cookies = cookies.copy()
            return browser.generic(method, route.path, b"", content_type="application/x-www-form-urlencoded")
        kind = "application/json" if route.area == "api" else "application/x-www-form-urlencoded"
        return program.generic(method, route.path, b"", content_type=kind, **headers)

    return send


@pytest.mark.django_db
@pytest.mark.parametrize("kind", NOBODIES)
def test_nobody_gets_anything_but_the_refusal_of_the_route(kind: str, issuer: Issuer) -> None:
    served, wrong = set(), []
    methods = every_method if kind == "none" else reading_and_writing
    for route, method, answer in everywhere(nobody(kind, issuer), methods):
        if 200 <= answer.status_code < 300:
            served.add((route.name, method))
        elif method not in table.PUBLIC.get(route.name, ()) and not _is_refusal(route, answer):
            wrong.append((method, route.pattern, answer.status_code, answer.headers.get("Location", "")))
    allowed = {(name, method) for name, methods in table.PUBLIC.items() for method in methods}
    assert served <= allowed, f"unknown callers were served: {sorted(served - allowed)}"
    assert wrong == []


def _is_refusal(route: Route, answer: Any) -> bool:
    status, place = answer.status_code, answer.headers.get("Location", "")
    if route.area in {"api", "scim"}:
        return status == 401
    if route.area == "root":
        return status == 405 or (status == 302 and place == "/admin/")
    if route.area == "console":
        to_login = status == 302 and place.startswith("/admin/login/")
        # Logging out and what has another method is refused before anybody is asked who they are.
        return to_login or status in {403, 405}
    if route.area == "login":
        return status in {400, 403, 404, 405} or (status == 302 and place.startswith("/admin/login/"))
    return status in {400, 401, 403, 404, 405, 415}


@pytest.mark.django_db
def test_somebody_without_permissions_gets_a_2xx_only_for_what_is_their_own() -> None:
    user = User.objects.create_user("nobody", is_staff=True)
    served = {
        (route.name, method)
        for route, method, answer in everywhere(somebody(user), reading_and_writing)
        if 200 <= answer.status_code < 300 and method != "OPTIONS"
    }
    own = table.OWN.keys() | table.API_OWN.keys() | table.PUBLIC.keys()
    assert {(name, method) for name, method in served if name not in own} == set()


@pytest.mark.django_db
def test_an_owner_is_known_at_every_route_and_no_route_breaks() -> None:
    owner = User.objects.create_superuser("owner")
    unknown, shown = [], set()
    for route, method, answer in everywhere(somebody(owner), reading):
        if answer.status_code == 401 and route.area == "api":
            unknown.append((route.name, method))
        if answer.status_code == 200 and method == "GET":
            shown.add(route.name)
    assert unknown == []
    assert {f"{model}_changelist" for model in table.CONSOLE_MODELS - {"auth_user"}} <= shown
    without_a_list = {"docs", "schema", "policy-simulate", "least-privilege", "report", "session-export"}
    without_a_list |= {"notification-preferences"}
    assert {f"{resource}-list" for resource in table.API.keys() - without_a_list} <= shown


@pytest.mark.django_db
def test_a_provisioner_of_one_provider_gets_nothing_at_another_one_or_elsewhere() -> None:
    owner, now = User.objects.create_superuser("owner"), timezone.now()
    issuer = Issuer("https://other.example")
    provider = provider_save(
        name="Other", issuer=issuer.issuer, pinned_jwks=issuer.jwks(), audiences=["other"], now=now
    )
    token = api_token_create(user=owner, actor=owner, name="scim", scopes=["scim"], provider=provider, now=now)[1]
    client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token}"})

    def send(route: Route, method: str) -> Any:
        return client.generic(method, route.path, b"{}", content_type="application/json")

    served = {
        (route.name, method)
        for route, method, answer in everywhere(send, reading_and_writing)
        if 200 <= answer.status_code < 300
    }
    assert {(name, method) for name, method in served if name not in table.PUBLIC} == set()
