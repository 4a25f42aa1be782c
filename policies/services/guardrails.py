"""Writes of guardrails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.models import Group, Principal
from accounts.saving import Refusals
from connections.models import Connection
from policies.engine.compile import GuardrailRow, compile_rule
from policies.engine.exceptions import PatternRefused
from policies.models import ApprovalRule, Guardrail

from .compiling import field_of, globs_of, refuse
from .publishing import Publisher, publish

_COMPILED = ("annotations", "condition")


@transaction.atomic
def guardrail_save(
    *,
    guardrail_id: UUID | None = None,
    name: str,
    effect: str,
    connection: Connection | None = None,
    labels: Iterable[str] = (),
    principals: Iterable[Principal] = (),
    groups: Iterable[Group] = (),
    methods: Iterable[str] = ("*",),
    names: Iterable[str] = ("*",),
    annotations: Mapping[str, bool] | None = None,
    condition: str = "",
    is_observed: bool = False,
    approval_rule: ApprovalRule | None = None,
    pack: str | None = None,
    reason: str = "",
    is_active: bool = True,
    by: Publisher | None = None,
    now: datetime,
) -> Guardrail:
    """Create or change the guardrail `guardrail_id`; without an id, the one of that `name` if there is one.

    `pack` None leaves the name of the ready-made pack that the row came from as it is.

    Raises:
        Guardrail.DoesNotExist: there is no guardrail `guardrail_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    locked = Guardrail.objects.select_for_update(of=("self",))
    if guardrail_id is None:
        guardrail = locked.filter(name=name).first() or Guardrail(created_at=now)
    else:
        guardrail = locked.get(pk=guardrail_id)
    refusals = Refusals()
    guardrail.name = name
    guardrail.effect = effect
    guardrail.connection = connection
    guardrail.labels = refusals.labels("labels", labels)
    guardrail.methods = globs_of("methods", methods, refusals)
    guardrail.names = globs_of("names", names, refusals)
    guardrail.annotations = dict(annotations) if isinstance(annotations, Mapping) else annotations or {}
    guardrail.condition = condition.strip()
    guardrail.is_observed = is_observed
    guardrail.approval_rule = approval_rule
    guardrail.pack = guardrail.pack if pack is None else pack
    guardrail.reason = reason
    guardrail.is_active = is_active
    if approval_rule is not None and effect != Guardrail.Effect.HOLD:
        refusals.add("approval_rule", "not_a_hold", "Only a guardrail that holds has an approval rule: leave it empty.")
    if connection is not None and guardrail.labels:
        refusals.add("labels", "connection_and_labels", "Name either a connection or labels of connections.")
    _refuse_what_does_not_compile(guardrail, refusals)
    refusals.save(guardrail)
    guardrail.principals.set(principals)
    guardrail.groups.set(groups)
    publish(by, now=now)
    return guardrail


@transaction.atomic
def guardrail_delete(*, guardrail_id: UUID, by: Publisher | None = None, now: datetime) -> None:
    """Delete a guardrail.

    Raises:
        Guardrail.DoesNotExist: there is no guardrail `guardrail_id`.
    """
    Guardrail.objects.get(pk=guardrail_id).delete()
    publish(by, now=now)


def _refuse_what_does_not_compile(guardrail: Guardrail, refusals: Refusals) -> None:
    """Compile what is new in a row: globs and effect are refused at their own fields."""
    if not isinstance(guardrail.annotations, Mapping):
        refusals.add("annotations", "not_an_object", 'Write an object such as {"destructiveHint": true}.')
        return
    row = GuardrailRow(
        id="",
        name=guardrail.name,
        effect=Guardrail.Effect.DENY,
        annotations=guardrail.annotations,
        condition=guardrail.condition,
    )
    try:
        compile_rule(row)
    except PatternRefused as error:
        refuse(field_of(error, _COMPILED, "condition"), error, refusals)
