"""Policy as it stands: as one document, and ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections.models import Connection

from . import documents
from .explaining import Explanation, explain
from .models import AccessGrant, Guardrail, MaskingPattern, PolicyTest, PolicyVersion
from .rehearsal import CaseRefused, Rehearsal, read_case
from .rows import connection_facts, policy_rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy test got. `said` is None when the case could not be asked; `refusal` says why then."""

    name: str
    expected: str
    wanted: str
    said: Explanation | None
    refusal: str = ""

    @property
    def got(self) -> str:
        """The verdict, or why there is none."""
        return f"no answer ({self.refusal})" if self.said is None else self.said.decision.verdict.effect.value

    @property
    def rule(self) -> str:
        """The rule that decided."""
        return "" if self.said is None else self.said.decision.verdict.rule

    @property
    def is_met(self) -> bool:
        """Whether the test passes: the expected verdict, by the wanted rule if it names one."""
        return self.got == self.expected and self.wanted in {"", self.rule}

    def __str__(self) -> str:
        wanted = f' by "{self.wanted}"' if self.wanted else ""
        return f'"{self.name}" expects {self.expected}{wanted} and gets {self.got} by "{self.rule}"'


def rehearsal_now() -> Rehearsal:
    """Return all active policy, ready to be asked without a call."""
    connections = list(Connection.objects.filter(is_active=True))
    return Rehearsal(
        policy_rows(),
        {row.slug: (str(row.pk), connection_facts(row)) for row in connections},
        frozenset(row.slug for row in connections if row.pins_tools),
    )


def outcomes_of_tests(*, now: datetime, rehearsal: Rehearsal | None = None) -> list[Outcome]:
    """Run the active policy tests against policy as it stands, or against `rehearsal`; return what each one got.

    Tests ask policy alone: whether a tool was reviewed in the catalogue is not part of it.
    """
    tests = list(PolicyTest.objects.filter(is_active=True))
    if not tests:
        return []
    asked = rehearsal or rehearsal_now()
    return [outcome_of(test.name, test.given, test.expected, test.rule, asked, now) for test in tests]


def failing_tests(*, now: datetime, rehearsal: Rehearsal | None = None) -> list[Outcome]:
    """Run the active policy tests likewise; return those that fail."""
    return [outcome for outcome in outcomes_of_tests(now=now, rehearsal=rehearsal) if not outcome.is_met]


def outcome_of(name: str, given: object, expected: str, rule: str, asked: Rehearsal, now: datetime) -> Outcome:
    """Run one case against `asked`."""
    try:
        said = explain(asked, read_case(given, now=now.timestamp()))
    except CaseRefused as error:
        return Outcome(name, expected, rule, None, str(error))
    return Outcome(name, expected, rule, said)


def document_now() -> dict[str, list[dict[str, Any]]]:
    """Return policy as one canonical document; grants that are given for a time by an approval are not part of it."""
    grants = AccessGrant.objects.filter(kind=AccessGrant.Kind.STANDING).select_related(
        "connection", "principal", "group__provider"
    )
    guardrails = Guardrail.objects.select_related("connection", "approval_rule").prefetch_related(
        "principals", "groups__provider"
    )
    return documents.canonical(
        {
            "grants": [grant_entry(row) for row in grants],
            "guardrails": [_guardrail(row) for row in guardrails],
            "masking_patterns": [_pattern(row) for row in MaskingPattern.objects.select_related("connection")],
            "tests": [_test(row) for row in PolicyTest.objects.all()],
        }
    )


def newest_number() -> int:
    """Return the number of the newest version, 0 when nothing was ever published."""
    return PolicyVersion.objects.order_by("-number").values_list("number", flat=True).first() or 0


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
        "approval_rule": None if row.approval_rule is None else row.approval_rule.name,
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
