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

from accounts import vault
from accounts.sealing import opened
from policies.models import ApprovalRequest, ApprovalUse
from sessions.models import Event, GatewayInstance

from .approvals import BODY_PLACE, State


@dataclass(frozen=True, slots=True)
class Claimed:
    """One run that this process may start, and the bytes that were approved."""

    use_id: UUID
    request_id: UUID
    code: str
    body: bytes = field(repr=False)


@transaction.atomic
def use_claim(*, request_id: UUID, binding: bytes, call_id: UUID, instance_id: UUID, now: datetime) -> Claimed | None:
    """Claim a run for the call `call_id`; None when there is none to have.

    Whatever the request is bound to must be the same now: `binding` is made anew from the call that is about to run.

    Raises:
        vault.CannotOpen: what was approved cannot be opened any more, so nothing runs.
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
    taken = set(request.uses.values_list("number", flat=True))
    number = next((free for free in range(1, request.uses_allowed + 1) if free not in taken), None)
    if number is None:
        return None
    kept = vault.Sealed(request.key_id, bytes(request.wrapped_key or b""), bytes(request.ciphertext or b""))
    body = opened(kept, place=BODY_PLACE, row_id=request.pk).reveal()
    use = ApprovalUse.objects.create(
        request=request, number=number, call_id=call_id, instance_id=instance_id, claimed_at=now
    )
    if len(taken) + 1 >= request.uses_allowed:
        request.state, request.ended_at, request.changed_at = State.USED, now, now
        request.save(update_fields=["state", "ended_at", "changed_at"])
    return Claimed(use.pk, request.pk, request.code, body)


def request_kept(*, request_id: UUID) -> tuple[bytes, bytes] | None:
    """Return the session of a held call, and the bytes that would leave; None when there is no such call.

    Raises:
        vault.CannotOpen: the bytes cannot be opened any more.
    """
    request = ApprovalRequest.objects.filter(pk=request_id, kind=ApprovalRequest.Kind.CALL).first()
    if request is None or request.session_id is None:
        return None
    kept = vault.Sealed(request.key_id, bytes(request.wrapped_key or b""), bytes(request.ciphertext or b""))
    return request.session_id.bytes, opened(kept, place=BODY_PLACE, row_id=request.pk).reveal()


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
