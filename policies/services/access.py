"""Requests for access for a time: asked for with a reason, given when approved, ended by themselves or early."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.models import Principal, User
from accounts.saving import Refusals
from connections.models import Connection
from policies.approval_errors import CannotBeHeld
from policies.models import ApprovalRequest, ApprovalRule
from policies.notices.message import Event

from .approvals import OPEN, new_code, plain, refuse_floods, take_terms
from .compiling import globs_of
from .notices import notify

MIN_SECONDS = 60


@transaction.atomic
def access_request(
    *,
    principal: Principal,
    connection: Connection,
    tools: Iterable[str] = (),
    prompts: Iterable[str] = (),
    resources: Iterable[str] = (),
    seconds: int,
    justification: str,
    by: User,
    now: datetime,
) -> ApprovalRequest:
    """Ask for access to a connection for a time, for oneself or for a machine that one owns.

    Raises:
        CannotBeHeld: access to this connection cannot be asked for, or not for this principal.
        TooManyPending: as many requests wait as may.
        ValidationError: by field, what cannot be asked for.
    """
    if by.principal_id is None or by.principal_id not in {principal.pk, principal.owner_id}:
        raise CannotBeHeld("You can ask for yourself, and for machines and agents that you own.")
    rule = ApprovalRule.objects.filter(access_to=connection, is_active=True).order_by("name").first()
    if rule is None or not connection.is_active:
        raise CannotBeHeld("Access to this connection cannot be asked for. Ask its owners.")
    refusals = Refusals()
    wanted = {
        "tools": globs_of("tools", tools, refusals),
        "prompts": globs_of("prompts", prompts, refusals),
        "resources": globs_of("resources", resources, refusals),
        "seconds": seconds,
    }
    if not (wanted["tools"] or wanted["prompts"] or wanted["resources"]):
        refusals.add("tools", "nothing_asked_for", "Name at least one tool, prompt or resource.")
    if type(seconds) is not int or not MIN_SECONDS <= seconds <= rule.max_window_seconds:
        refusals.add("seconds", "out_of_range", f"Ask for {MIN_SECONDS} to {rule.max_window_seconds} seconds.")
    reason = plain(justification)
    if not reason:
        refusals.add("justification", "required", "Say what you need it for.")
    refusals.raise_any()
    text = json.dumps(["access", str(principal.pk), str(connection.pk), wanted], sort_keys=True)
    binding = hashlib.sha256(text.encode()).digest()
    known = ApprovalRequest.objects.filter(binding=binding, state__in=OPEN).first()
    if known is not None:
        return known
    refuse_floods(principal, connection.pk)
    request = ApprovalRequest(
        code=new_code(), kind=ApprovalRequest.Kind.ACCESS, principal=principal, connection=connection, wanted=wanted,
        binding=binding, justification=reason, why="access for a time", opened_at=now, changed_at=now,
    )  # fmt: skip
    take_terms(request, rule, now)
    request.save()
    notify(request=request, event=Event.ASKED, by=by, now=now)
    return request


def principals_of(user: User) -> list[UUID]:
    """Return the principals for whom this person may ask."""
    if user.principal_id is None:
        return []
    owned = Principal.objects.filter(owner_id=user.principal_id).values_list("pk", flat=True)
    return [user.principal_id, *owned]
