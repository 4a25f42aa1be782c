"""The runs of an approved call: claimed by one gateway process, consumed in the transaction that writes the intent.

Claiming commits before the intent is written, and only the intent's own statement consumes. So a process that dies in
between leaves a claim of which nothing has left: it is given back once the process is known to be dead and no intent of
the call exists. A consumed use stays consumed, whatever became of the call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.models import RevocationState
from accounts.vault import CannotOpen
from policies.approval_errors import PolicyMoved
from policies.models import ApprovalRequest, ApprovalUse, PolicyState
from sessions.models import Event, GatewayInstance

from .approval_seal import open_body
from .approvals import State, terms_given


@dataclass(frozen=True, slots=True)
class Claimed:
    """One run that this process may start, and the bytes that were approved."""

    use_id: UUID
    request_id: UUID
    code: str
    body: bytes = field(repr=False)


@transaction.atomic
def use_claim(
    *,
    request_id: UUID,
    binding: bytes,
    call_id: UUID,
    instance_id: UUID,
    versions: tuple[int, int] | None = None,
    now: datetime,
) -> Claimed | None:
    """Claim a run for the call `call_id`; None when there is none to have.

    Whatever the request is bound to must be the same now: `binding` is made anew from the call that is about to run,
    under the `versions` of policy and of locks (None does not compare). The row alone is not believed: what was decided
    is read from the decisions, and the bytes open only in a row that says what the approvers were shown. An approval
    whose approver has been disabled since, or that cannot be opened any more, ends here.

    Raises:
        PolicyMoved: policy or locks are newer than `versions`.
    """
    request = ApprovalRequest.objects.select_for_update(of=("self",)).filter(pk=request_id).first()
    if (
        request is None
        or request.state != State.APPROVED
        or request.kind != ApprovalRequest.Kind.CALL
        or request.usable_until is None
        or request.usable_until <= now
        or bytes(request.binding) != binding
        or not request.principal_id
    ):
        return None
    if versions is not None and versions != _versions():
        raise PolicyMoved("Policy or locks have moved meanwhile.")
    given = terms_given(request)
    if given is None:
        _end_early(request, "who approved it may no longer approve", now)
        return None
    uses_given, until = given
    if until <= now:
        return None
    taken = set(request.uses.values_list("number", flat=True))
    number = next((free for free in range(1, min(request.uses_allowed, uses_given) + 1) if free not in taken), None)
    if number is None:
        return None
    try:
        body = open_body(request)
    except CannotOpen:
        _end_early(request, "what was approved cannot be opened", now)
        return None
    use = ApprovalUse.objects.create(
        request=request, number=number, call_id=call_id, instance_id=instance_id, claimed_at=now
    )
    if len(taken) + 1 >= request.uses_allowed:
        request.state, request.ended_at, request.changed_at = State.USED, now, now
        request.save(update_fields=["state", "ended_at", "changed_at"])
    return Claimed(use.pk, request.pk, request.code, body)


def _versions() -> tuple[int, int]:
    """Return the versions of policy and of locks, as this transaction sees them."""
    policy = PolicyState.objects.values_list("version", flat=True).first()
    locks = RevocationState.objects.values_list("version", flat=True).first()
    return policy or 0, locks or 0


def _end_early(request: ApprovalRequest, why: str, now: datetime) -> None:
    """End an approval that is good for nothing, so that asking again asks anew."""
    request.state, request.end_reason, request.ended_at, request.changed_at = State.CANCELLED, why, now, now
    request.save(update_fields=["state", "end_reason", "ended_at", "changed_at"])


def request_kept(*, request_id: UUID) -> tuple[bytes, bytes] | None:
    """Return the session of a held call, and the bytes that would leave; None when there is no such call.

    Raises:
        vault.CannotOpen: the bytes cannot be opened any more.
    """
    request = ApprovalRequest.objects.filter(pk=request_id, kind=ApprovalRequest.Kind.CALL).first()
    if request is None or request.session_id is None:
        return None
    return request.session_id.bytes, open_body(request)


@transaction.atomic
def use_release(*, use_id: UUID, now: datetime) -> bool:
    """Give a claim back that was not consumed; False when there is nothing to give back."""
    use = ApprovalUse.objects.filter(pk=use_id).first()
    if use is None:
        return False
    request = ApprovalRequest.objects.select_for_update(of=("self",)).get(pk=use.request_id)
    deleted, _ = ApprovalUse.objects.filter(pk=use_id, consumed_at=None).delete()
    if not deleted:
        return False
    has_heir = ApprovalRequest.objects.filter(binding=request.binding, state__in=[State.HELD, State.APPROVED]).exists()
    if request.state == State.USED and not has_heir:
        request.state, request.ended_at, request.changed_at = State.APPROVED, None, now
        request.save(update_fields=["state", "ended_at", "changed_at"])
    return True


def uses_reconcile(*, now: datetime) -> int:
    """Settle the claims of gateway processes that have ended; return how many were given back.

    A claim whose call has an intent in the record was consumed with it: the one statement does both. This looks again,
    because giving back what had run would run it twice.
    """
    given_back = 0
    ended = GatewayInstance.objects.exclude(ended_at=None).values("pk")
    for use in ApprovalUse.objects.filter(consumed_at=None, instance_id__in=ended)[:1000]:
        if Event.objects.filter(call_id=use.call_id, name="gateway:call:intent").exists():
            ApprovalUse.objects.filter(pk=use.pk, consumed_at=None).update(consumed_at=now)
        else:
            given_back += use_release(use_id=use.pk, now=now)
    return given_back
