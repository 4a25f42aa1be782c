"""Writes of grants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import Group, Principal, User
from accounts.saving import Refusals
from connections.models import Connection
from policies.engine.compile import compile_grant
from policies.engine.exceptions import PatternRefused
from policies.models import AccessGrant
from policies.rows import grant_row

from .compiling import field_of, globs_of, refuse
from .publishing import Publisher, publish

_COMPILED = ("windows", "networks", "condition")


@transaction.atomic
def grant_save(
    *,
    grant_id: UUID | None = None,
    connection: Connection | None = None,
    labels: Iterable[str] = (),
    principal: Principal | None = None,
    group: Group | None = None,
    condition: str = "",
    tools: Iterable[str] = (),
    prompts: Iterable[str] = (),
    resources: Iterable[str] = (),
    windows: Iterable[Mapping[str, Any]] | None = (),
    networks: Iterable[str] = (),
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    note: str = "",
    is_active: bool = True,
    created_by: User | None = None,
    by: Publisher | None = None,
    now: datetime,
) -> AccessGrant:
    """Create or change a grant to a principal, to a group, or to whoever meets the condition.

    Without an id, a grant that says the same (all but `is_active`) is that grant, so that seeding twice grants once.

    Raises:
        AccessGrant.DoesNotExist: there is no grant `grant_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    refusals = Refusals()
    values = {
        "connection": connection,
        "labels": refusals.labels("labels", labels),
        "principal": principal,
        "group": group,
        "condition": condition.strip(),
        "tools": globs_of("tools", tools, refusals),
        "prompts": globs_of("prompts", prompts, refusals),
        "resources": globs_of("resources", resources, refusals),
        "windows": windows if isinstance(windows, (str, dict)) else list(windows or ()),
        "networks": refusals.texts("networks", networks),
        "valid_from": valid_from,
        "valid_until": valid_until,
        "note": note,
    }
    if grant_id is None:
        grant = AccessGrant.objects.select_for_update(of=("self",)).filter(**values).first()
        grant = grant or AccessGrant(created_by=created_by, created_at=now)
    else:
        grant = AccessGrant.objects.select_for_update(of=("self",)).get(pk=grant_id)
    for field, value in values.items():
        setattr(grant, field, value)
    grant.is_active = is_active
    if not (grant.tools or grant.prompts or grant.resources):
        refusals.add("tools", "grants_nothing", "Name at least one tool, prompt or resource; * is every one.")
    _refuse_what_does_not_compile(grant, refusals)
    refusals.save(grant)
    publish(by, now=now)
    return grant


@transaction.atomic
def grant_delete(*, grant_id: UUID, by: Publisher | None = None, now: datetime) -> None:
    """Delete a grant; calls that it carried are denied from then on.

    Raises:
        AccessGrant.DoesNotExist: there is no such grant.
    """
    AccessGrant.objects.get(pk=grant_id).delete()
    publish(by, now=now)


def _refuse_what_does_not_compile(grant: AccessGrant, refusals: Refusals) -> None:
    if grant.principal is None and grant.group is None and not grant.condition:
        return
    if grant.principal is not None and grant.group is not None:
        return
    try:
        compile_grant(grant_row(grant))
    except PatternRefused as error:
        field = field_of(error, _COMPILED, "")
        if field:
            refuse(field, error, refusals)
