"""Grants, guardrails and masking patterns as they are saved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Principal
from accounts.services import group_save, provider_save
from connections.services import connection_save
from policies import services
from policies.models import AccessGrant, Guardrail, MaskingPattern, PolicyState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=NOW)


@pytest.fixture
def group():
    provider = provider_save(name="Main", issuer="https://login.example.com", now=NOW)
    return group_save(provider=provider, name="sre", now=NOW)


def codes(refused: pytest.ExceptionInfo[ValidationError]) -> dict[str, list[str]]:
    return {field: [error.code for error in errors] for field, errors in refused.value.error_dict.items()}


def pattern(**values):
    return services.masking_pattern_save(**{"name": "email", "pattern": r"[a-z]+@[a-z.]+", **values}, now=NOW)


def test_the_same_grant_saved_twice_is_one_grant(connection, group):
    for _ in range(2):
        services.grant_save(connection=connection, group=group, tools=["get_*"], now=NOW)
    services.grant_save(connection=connection, group=group, tools=["list_*"], now=NOW)
    assert sorted(AccessGrant.objects.values_list("tools", flat=True)) == [["get_*"], ["list_*"]]


def test_a_grant_names_a_principal_or_a_group_and_never_both(connection, group):
    principal = Principal.objects.create(issuer="https://login.example.com", subject="ada")
    for holder in ({}, {"group": group, "principal": principal}):
        with pytest.raises(ValidationError, match="either a principal or a group"):
            services.grant_save(connection=connection, tools=["*"], **holder, now=NOW)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"tools": ["grants_nothing"]}),
        ({"tools": ["a\x07b"]}, {"tools": ["pattern_refused"]}),
        ({"resources": ["x" * 300]}, {"resources": ["pattern_refused"]}),
    ],
)
def test_a_grant_that_would_not_compile_or_grants_nothing_is_refused(connection, group, values, expected):
    with pytest.raises(ValidationError) as refused:
        services.grant_save(connection=connection, group=group, **values, now=NOW)
    assert codes(refused) == expected


def test_a_grant_starts_before_it_ends(connection, group):
    with pytest.raises(ValidationError, match="start before it ends"):
        services.grant_save(
            connection=connection,
            group=group,
            tools=["*"],
            valid_from=NOW,
            valid_until=NOW - timedelta(hours=1),
            now=NOW,
        )


def test_a_guardrail_is_found_by_its_name(connection):
    for effect in ("hold", "deny"):
        services.guardrail_save(name="No deletes", effect=effect, names=["delete_*"], connection=connection, now=NOW)
    assert Guardrail.objects.get().effect == "deny"


@pytest.mark.parametrize(
    ("values", "field"), [({"effect": "maybe"}, "effect"), ({"names": []}, "names"), ({"methods": ["\x00"]}, "methods")]
)
def test_a_guardrail_that_would_not_compile_is_refused(values, field):
    with pytest.raises(ValidationError) as refused:
        services.guardrail_save(**{"name": "One", "effect": "deny", **values}, now=NOW)
    assert list(codes(refused)) == [field]


@pytest.mark.parametrize("expression", ["(", r"(?=x)x", r"(a)\1", "a*"])
def test_an_expression_that_re2_cannot_run_is_refused_with_a_hint_and_without_the_expression(expression):
    with pytest.raises(ValidationError) as refused:
        pattern(pattern=expression)
    assert codes(refused) == {"pattern": ["pattern_refused"]}
    assert not MaskingPattern.objects.exists()


def test_a_pattern_that_is_one_too_many_for_a_connection_is_refused(connection):
    MaskingPattern.objects.bulk_create(
        MaskingPattern(name=f"p{number}", pattern=f"secret{number}", connection=connection) for number in range(200)
    )
    with pytest.raises(ValidationError, match="More than 200 patterns"):
        pattern()
    assert pattern(is_active=False).pk


def test_every_save_and_every_deletion_moves_the_policy_version(connection, group):
    versions = [PolicyState.objects.get().version]
    grant = services.grant_save(connection=connection, group=group, tools=["*"], now=NOW)
    versions.append(PolicyState.objects.get().version)
    rule = services.guardrail_save(name="One", effect="deny", now=NOW)
    versions.append(PolicyState.objects.get().version)
    row = pattern()
    versions.append(PolicyState.objects.get().version)
    services.grant_delete(grant_id=grant.pk, now=NOW)
    versions.append(PolicyState.objects.get().version)
    services.guardrail_delete(guardrail_id=rule.pk, now=NOW)
    versions.append(PolicyState.objects.get().version)
    services.masking_pattern_delete(pattern_id=row.pk, now=NOW)
    versions.append(PolicyState.objects.get().version)
    assert versions == sorted(set(versions))
