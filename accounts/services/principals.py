"""Writes of principals: seen with a token, declared before one, and what a person says of them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.exceptions import DomainError
from accounts.models import Principal
from accounts.saving import Refusals

_ACTS_FOR_SOMEBODY = frozenset({Principal.Kind.MACHINE, Principal.Kind.AGENT})


class PrincipalHasEvidence(DomainError):
    """What a principal did stays attributable: it is locked, and not deleted."""

    code = "principal_has_evidence"

    def __init__(self) -> None:
        super().__init__("There is evidence of this principal, so it stays: lock it instead of deleting it.")


@transaction.atomic
def principal_ensure(
    *,
    issuer: str,
    subject: str,
    kind: str = Principal.Kind.UNKNOWN,
    display_name: str = "",
    email: str = "",
    now: datetime,
) -> Principal:
    """Return the principal (issuer, subject), declared now if it is new.

    What is told of it fills in what is not known yet. A kind that a person fixed stays, and this says nothing about
    when the principal was last seen.

    Raises:
        ValidationError: by field, the issuer or the subject cannot be a principal's.
    """
    principal = Principal.objects.select_for_update().filter(issuer=issuer, subject=subject).first()
    if principal is None:
        refusals = Refusals()
        fresh = Principal(issuer=issuer, subject=subject, kind=kind, first_seen=now)
        fresh.display_name, fresh.email = display_name[:255], email[:320]
        refusals.check(fresh, is_unique_elsewhere=True)
        principal, is_new = Principal.objects.get_or_create(
            issuer=issuer,
            subject=subject,
            defaults={"kind": kind, "display_name": fresh.display_name, "email": fresh.email, "first_seen": now},
        )
        if is_new:
            return principal
    if _learn(
        principal, kind=kind, display_name=principal.display_name or display_name, email=principal.email or email
    ):
        principal.save(update_fields=["kind", "display_name", "email"])
    return principal


@transaction.atomic
def principal_seen(
    *,
    issuer: str,
    subject: str,
    kind: str = Principal.Kind.UNKNOWN,
    display_name: str = "",
    email: str = "",
    address: str,
    client: str,
    now: datetime,
) -> Principal:
    """Note that the principal acted, from `address` with `client`; it is created with its first verified token.

    Name and e-mail are refreshed for display. The kind follows the token until a person fixes it.
    """
    principal, _ = Principal.objects.get_or_create(issuer=issuer, subject=subject, defaults={"first_seen": now})
    _learn(principal, kind=kind, display_name=display_name, email=email)
    principal.last_seen = now
    principal.last_address = address[:64]
    principal.last_client = client[:255]
    principal.save(update_fields=["display_name", "email", "last_seen", "last_address", "last_client"])
    # Apart, because a person may fix the kind at this moment: their word counts, whoever commits first.
    Principal.objects.filter(pk=principal.pk, is_kind_fixed=False).exclude(kind=principal.kind).update(
        kind=principal.kind
    )
    return principal


@transaction.atomic
def principal_save(
    *,
    principal_id: UUID | None = None,
    issuer: str = "",
    subject: str = "",
    kind: str = Principal.Kind.UNKNOWN,
    is_kind_fixed: bool = False,
    owner: Principal | None = None,
    notes: str = "",
    now: datetime,
) -> Principal:
    """Change what a person says of a principal; without an id, declare one before its first token.

    Issuer and subject are what tokens and evidence know a principal by, so an existing principal keeps them. Choosing a
    kind fixes it. An owner link fixes the kind at both ends, because it means something only while a human answers for
    a machine or an agent.

    Raises:
        Principal.DoesNotExist: there is no principal `principal_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    if principal_id is None:
        row = Principal(issuer=issuer.strip(), subject=subject.strip(), first_seen=now)
    else:
        row = Principal.objects.select_for_update().get(pk=principal_id)
    refusals = Refusals()
    for field, given in (("issuer", issuer), ("subject", subject)):
        if given.strip() not in ("", getattr(row, field)):
            refusals.add(field, "cannot_change", "Tokens and evidence know the principal by this: declare another one.")
    row.is_kind_fixed = is_kind_fixed or kind not in {row.kind, Principal.Kind.UNKNOWN}
    row.kind = kind
    row.notes = notes
    row.owner = owner
    _link_owner(row, refusals)
    if kind != Principal.Kind.HUMAN and not row._state.adding and row.owned.exists():
        refusals.add("kind", "owns_machines", "Machines or agents name it as their owner, so it stays human.")
    refusals.save(row)
    return row


@transaction.atomic
def principal_delete(*, principal_id: UUID) -> None:
    """Delete a principal that was declared and has never acted nor been locked.

    Raises:
        Principal.DoesNotExist: there is no such principal.
        PrincipalHasEvidence: something refers to what it did.
        ProtectedError: a session or a token that was given out refers to it.
    """
    row = Principal.objects.select_for_update().get(pk=principal_id)
    if has_evidence(row):
        raise PrincipalHasEvidence
    row.delete()


def has_evidence(principal: Principal) -> bool:
    """Tell whether `principal` has acted, was locked, or is somebody whom the console or the directory knows."""
    if principal.last_seen is not None or hasattr(principal, "user"):
        return True
    return principal.locks.exists() or principal.scim_users.exists()


def _learn(principal: Principal, *, kind: str, display_name: str, email: str) -> bool:
    """Take over what is told of `principal`; tell whether that changed anything."""
    before = (principal.kind, principal.display_name, principal.email)
    if kind != Principal.Kind.UNKNOWN and not principal.is_kind_fixed:
        principal.kind = kind
    principal.display_name = display_name[:255] or principal.display_name
    principal.email = email[:320] or principal.email
    return before != (principal.kind, principal.display_name, principal.email)


def _link_owner(row: Principal, refusals: Refusals) -> None:
    """Fix the kind at both ends of the link to an owner, or refuse it.

    Owners are human, and what is human has no owner: with that no chain and no circle can exist.
    """
    if row.owner is None:
        return
    row.is_kind_fixed = True
    if row.owner.pk == row.pk:
        refusals.add(
            "owner", "owner_is_itself", "A principal does not own itself: choose the human who answers for it."
        )
    elif row.kind not in _ACTS_FOR_SOMEBODY:
        refusals.add("owner", "owner_needs_machine", "Only a machine or an agent has an owner: set its kind first.")
    # Asked in the database, because the owner's kind may have changed since it was chosen.
    elif not Principal.objects.filter(pk=row.owner.pk, kind=Principal.Kind.HUMAN).update(is_kind_fixed=True):
        refusals.add("owner", "owner_not_human", "The owner must be a principal of the kind human.")
