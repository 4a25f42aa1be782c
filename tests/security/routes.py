"""Finds every route by itself: in Django's resolver, and in the code that answers before Django."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.regex_helper import normalize

from gateway_project.asgi import application
from tests.security import route_table as table
from tests.support.servers import ROOT

SOME_ID = "3f2b8c1e-5a77-4a63-9a0e-1f7f6f0c2b11"
_SAMPLES = {"int": "7", "path": SOME_ID, "uuid": SOME_ID, "slug": "orders", "str": "orders"}
_BY_NAME = {"pk": SOME_ID, "app_label": "accounts", "url": "nowhere", "rest": "", "name": "User", "kid": "k"}
_UNNAMED = ("<path:object_id>/", "admin/(?P<url>.*)$")
_AREAS = (
    ("api", "api/v1/"),
    ("scim", "scim/v2/"),
    ("console", "admin/"),
    ("console", "inbox/"),
    ("console", "approvals/"),
)
_FILES_BEFORE_DJANGO = ("gateway_project/asgi.py", "proxy/gate.py")


@dataclass(frozen=True)
class Route:
    """One route of Django: its pattern, its name, a path that leads to it, and the view."""

    pattern: str
    name: str
    path: str
    view: Any

    @property
    def area(self) -> str:
        """Say which part of the table answers for the route; empty when none does."""
        for area, prefix in _AREAS:
            if self.pattern.startswith(prefix):
                return self._console_area() if area == "console" else area
        if self.name in table.LOGIN:
            return "login"
        return "machines" if self.name in table.MACHINES else "root" if self.pattern == "" else ""

    @property
    def resource(self) -> str:
        """Return the API resource of the route, as the router names it."""
        return next((name for name in sorted(table.API, key=len, reverse=True) if self._is_of(name)), "")

    @property
    def is_public(self) -> bool:
        """Whether the route is in PUBLIC."""
        return self.name in table.PUBLIC

    def _is_of(self, resource: str) -> bool:
        return self.name == resource or self.name.startswith(f"{resource}-")

    def _console_area(self) -> str:
        if self.name in table.LOGIN:
            return "login"
        is_of_model = any(self.name.startswith(f"{model}_") for model in table.CONSOLE_MODELS)
        is_other = self.name in table.OWN or (not self.name and self.pattern.endswith(_UNNAMED))
        return "console" if is_of_model or is_other else ""


def routes(resolver: URLResolver | None = None) -> list[Route]:
    """Return every route of `resolver`, or of Django's, once a path."""
    found = {}
    for pattern, name, view, path in _walk(resolver or get_resolver(), "", ""):
        found.setdefault(path, Route(pattern, name, path, view))
    return list(found.values())


def places_before_django() -> set[str]:
    """Return every path that the code before Django compares a request with."""
    literals = set()
    for file in _FILES_BEFORE_DJANGO:
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value.startswith(b"/"):
                literals.add(node.value.decode())
    return literals


def websockets() -> set[str]:
    """Return every path of the router of websockets."""
    return {str(route.pattern) for route in application.console.application_mapping["websocket"].routes}


def _walk(resolver: URLResolver, pattern: str, path: str) -> Iterator[tuple[str, str, Any, str]]:
    for entry in resolver.url_patterns:
        here, where = pattern + str(entry.pattern), path + _sample(entry)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, here, where)
        elif isinstance(entry, URLPattern):
            yield here, entry.name or "", entry.callback, f"/{where}"


def _sample(entry: URLPattern | URLResolver) -> str:
    """Return a text that the pattern matches, as `reverse` would make it."""
    text, names = next(iter(normalize(entry.pattern.regex.pattern)), ("", []))
    if not text and getattr(entry, "name", None) == "unsupported":
        # No alternatives for Django here: one of them is named by hand.
        text, names = "%(provider_id)s/Me", ["provider_id"]
    converters = getattr(entry.pattern, "converters", {})
    kinds = {name: type(converter).__name__.removesuffix("Converter").lower() for name, converter in converters.items()}
    values = {name: _BY_NAME.get(name) or _SAMPLES.get(kinds.get(name, "uuid"), SOME_ID) for name in names}
    return (text % {**values, **({"rest": ""} if "rest" in names else {})}).removeprefix("/")
