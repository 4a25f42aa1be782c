"""Policy as it stands: as one document, and ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections.models import Connection

from . import documents
from .models import AccessGrant, Guardrail, MaskingPattern, PolicyTest
from .rehearsal import CaseRefused, Rehearsal, read_case
from .rows import connection_facts, policy_rows


@dataclass(frozen=True, slots=True)
class FailingTest:
    """A policy test that policy does not meet."""

    name: str
    expected: str
    got: str
    rule: str

    def __str__(self) -> str:
        return f'"{self.name}" expects {self.expected} and gets {self.got} by "{self.rule}"'


def rehearsal_now() -> Rehearsal:
    """Return all active policy, ready to be asked without a call."""
    connections = Connection.objects.filter(is_active=True)
    return Rehearsal(policy_rows(), {row.slug: (str(row.pk), connection_facts(row)) for row in connections})


def failing_tests(*, now: datetime, rehearsal: Rehearsal | None = None) -> list[FailingTest]:
    """Run the active policy tests against policy as it stands, or against `rehearsal`; return those that fail."""
    tests = list(PolicyTest.objects.filter(is_active=True))
    if not tests:
        return []
    asked = rehearsal or rehearsal_now()
    return [failure for test in tests if (failure := _failure(test, asked, now)) is not None]


def _failure(test: PolicyTest, rehearsal: Rehearsal, now: datetime) -> FailingTest | None:
    try:
        verdict = rehearsal.decision(read_case(test.given, now=now.timestamp())).verdict
    except CaseRefused as error:
        return FailingTest(test.name, test.expected, f"no answer ({error})", "")
    if verdict.effect.value == test.expected and test.rule in {"", verdict.rule}:
        return None
    return FailingTest(test.name, test.expected, verdict.effect.value, verdict.rule)


def document_now() -> dict[str, list[dict[str, Any]]]:
    """Return policy as one canonical document; grants that are given for a time by an approval are not part of it."""
    grants = AccessGrant.objects.filter(kind=AccessGrant.Kind.STANDING).select_related(
        "connection", "principal", "group__provider"
    )
    guardrails = Guardrail.objects.select_related("connection").prefetch_related("principals", "groups__provider")
    return documents.canonical(
        {
            "grants": [grant_entry(row) for row in grants],
            "guardrails": [_guardrail(row) for row in guardrails],
            "masking_patterns": [_pattern(row) for row in MaskingPattern.objects.select_related("connection")],
            "tests": [_test(row) for row in PolicyTest.objects.all()],
        }
    )


def grant_entry(row: AccessGrant) -> dict[str, Any]:
    """Return what a document says of a grant."""
    return {
        "connection": _slug(row),
        "labels": row.labels,
        "principal": None if row.principal is None else _principal(row.principal),
        "group": None if row.group is None else _group(row.group),
        "condition": row.condition,
        "tools": row.tools,
        "prompts": row.prompts,
        "resources": row.resources,
        "windows": row.windows,
        "networks": row.networks,
        "valid_from": _moment(row.valid_from),
        "valid_until": _moment(row.valid_until),
        "note": row.note,
        "is_active": row.is_active,
    }


def _guardrail(row: Guardrail) -> dict[str, Any]:
    return {
        "name": row.name,
        "effect": row.effect,
        "connection": _slug(row),
        "labels": row.labels,
        "principals": sorted(
            (_principal(principal) for principal in row.principals.all()), key=lambda p: (p["issuer"], p["subject"])
        ),
        "groups": sorted((_group(group) for group in row.groups.all()), key=lambda g: (g["provider"], g["name"])),
        "methods": row.methods,
        "names": row.names,
        "annotations": dict(sorted(row.annotations.items())),
        "condition": row.condition,
        "is_observed": row.is_observed,
        "pack": row.pack,
        "reason": row.reason,
        "is_active": row.is_active,
    }


def _pattern(row: MaskingPattern) -> dict[str, Any]:
    return {
        "name": row.name,
        "pattern": row.pattern,
        "check": row.check_kind,
        "replacement": row.replacement,
        "connection": _slug(row),
        "is_active": row.is_active,
    }


def _test(row: PolicyTest) -> dict[str, Any]:
    return {
        "name": row.name,
        "given": row.given,
        "expected": row.expected,
        "rule": row.rule,
        "is_active": row.is_active,
    }


def _slug(row: AccessGrant | Guardrail | MaskingPattern) -> str | None:
    return None if row.connection is None else row.connection.slug


def _principal(row: Any) -> dict[str, str]:
    return {"issuer": row.issuer, "subject": row.subject}


def _group(row: Any) -> dict[str, str]:
    return {"provider": row.provider.name, "name": row.name}


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
