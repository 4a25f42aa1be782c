"""docs/api.md and the OpenAPI schema say what the REST API is: every resource, scope, filter and action."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from accounts.scopes import SCOPES
from gateway_project.urls import router

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
ROWS = dict(re.findall(r"^\| `/([a-z-]+)/` (\|.*)$", DOCUMENT, re.MULTILINE))
RESOURCES = {prefix: view for prefix, view, _ in router.registry}


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_resource_is_described_and_no_other() -> None:
    assert RESOURCES.keys() == ROWS.keys(), "Add the resource to the table of docs/api.md."


@pytest.mark.parametrize("prefix", RESOURCES)
def test_a_resource_is_described_with_its_scopes_filters_and_actions(prefix: str) -> None:
    view: Any = RESOURCES[prefix]
    _, _, read, write, filters, besides, _ = ROWS[prefix].split("|")
    asked = view.required_scopes
    assert words(read) == {asked["GET"]} if "GET" in asked else set()
    assert words(write) == ({asked["POST"]} if "POST" in asked else set())
    assert words(filters) == set(getattr(view, "filterset_fields", ()) or ())
    missing = [action.url_path for action in view.get_extra_actions() if f"{action.url_path}/" not in besides]
    assert missing == []


def test_every_scope_is_described() -> None:
    assert dict(re.findall(r"^\| `([a-z]+)` \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)).keys() >= SCOPES.keys()


def test_the_schema_is_made_without_a_warning_and_is_valid() -> None:
    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)
    told = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert told == []
    validate_schema(schema)
    assert schema["paths"]
    assert {"apiToken": []} in schema["paths"]["/api/v1/locks/"]["get"]["security"]
