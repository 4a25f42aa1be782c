"""Writes of approval rules: who decides about held calls."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import Group, User
from accounts.saving import Refusals
from connections.models import Connection
from policies.engine import approving
from policies.models import ApprovalRule


@transaction.atomic
def approval_rule_save(
    *,
    rule_id: UUID | None = None,
    name: str,
    stages: Any,
    risk: str = ApprovalRule.Risk.MEDIUM,
    expires_seconds: int = 8 * 3600,
    run_within_seconds: int = 900,
    max_uses: int = 1,
    max_window_seconds: int = 0,
    needs_reason: bool = False,
    needs_poller: bool = False,
    escalate_seconds: int | None = None,
    escalate_to: Any = None,
    access_to: Iterable[Connection] | None = None,
    is_active: bool = True,
    now: datetime,
) -> ApprovalRule:
    """Create or change the rule `rule_id`; without an id, the one of that `name` if there is one.

    `access_to` None leaves the connections as they are. Requests that are open keep the stages and terms that they were
    opened with.

    Raises:
        ApprovalRule.DoesNotExist: there is no rule `rule_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    locked = ApprovalRule.objects.select_for_update()
    if rule_id is None:
        rule = locked.filter(name=name).first() or ApprovalRule(created_at=now)
    else:
        rule = locked.get(pk=rule_id)
    refusals = Refusals()
    rule.name, rule.risk, rule.is_active = name, risk, is_active
    rule.stages = _stages("stages", stages, refusals)
    rule.expires_seconds, rule.run_within_seconds = expires_seconds, run_within_seconds
    rule.max_uses, rule.max_window_seconds = max_uses, max_window_seconds
    rule.needs_reason, rule.needs_poller = needs_reason, needs_poller
    rule.escalate_seconds = escalate_seconds
    rule.escalate_to = {}
    if escalate_seconds is not None:
        found = _stages("escalate_to", [{"name": "Escalation", **(escalate_to or {})}], refusals)
        rule.escalate_to = found[0] if found else {}
    elif escalate_to:
        refusals.add("escalate_seconds", "needs_a_time", "Say after how many seconds the escalation begins.")
    if access_to and not max_window_seconds:
        refusals.add("max_window_seconds", "needs_a_window", "Say for how long access may be given.")
    refusals.save(rule)
    if access_to is not None:
        rule.access_to.set(access_to)
    return rule


@transaction.atomic
def approval_rule_delete(*, rule_id: UUID) -> None:
    """Delete a rule.

    Raises:
        ApprovalRule.DoesNotExist: there is no rule `rule_id`.
        django.db.models.ProtectedError: a guardrail names it.
    """
    ApprovalRule.objects.get(pk=rule_id).delete()


def _stages(field: str, value: Any, refusals: Refusals) -> list[dict[str, Any]]:
    try:
        stages = approving.read_stages(value)
    except (approving.StagesRefused, TypeError) as error:
        refusals.add(field, "stages_refused", str(error) or "Write an object.")
        return []
    groups = frozenset[int]().union(*(stage.groups for stage in stages))
    users = frozenset[int]().union(*(stage.users for stage in stages))
    for kind, ids, model in (("group", groups, Group), ("user", users, User)):
        known = set(model.objects.filter(pk__in=ids).values_list("pk", flat=True))
        for missing in sorted(ids - known):
            refusals.add(field, "unknown_id", f"There is no {kind} {missing}.")
    return approving.written(stages)
