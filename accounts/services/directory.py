"""Writes of what a provider provisions over SCIM: users and the locks that follow, groups and who is in them.

A provider's writes take turns: its row is locked from the beginning of each until its transaction ends. So what is read
before a write is still so at the write, two creations of one name cannot both pass, and two PATCH requests at once
leave what one after the other would.

A user who is not active, or no longer provisioned, has a lock of the source `scim` on its principal and no console
session, in the same transaction. A user who is active has no such lock. Locks of other sources are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from accounts.models import Group, IdentityProvider, Lock, Principal, ScimMember, ScimUser
from accounts.scim.group_patch import GroupChange, group_change
from accounts.scim.patch import Operation, user_patched
from accounts.scim.refusals import bad_value, not_found, taken
from accounts.scim.resources import GroupValues, UserValues, values_of
from accounts.scim.selectors import folded, group_for, subject_of, user_for

from .locks import lock_place, locks_lift
from .people import console_sessions_end
from .principals import principal_ensure

_WAIT_MILLISECONDS = 10_000
_BATCH = 5000
_SUBJECT_NAMES = {"external_id": "externalId", "user_name": "userName"}


@transaction.atomic
def scim_user_create(*, provider_id: UUID, user: UserValues, now: datetime) -> ScimUser:
    """Add a user, with its principal; one who is not active is locked from the beginning.

    Raises:
        ScimRefused: `uniqueness`: the userName or externalId is taken; `invalidValue`: the attribute that names the
            principal is missing.
    """
    provider = _turn(provider_id)
    row = ScimUser(id=uuid4(), provider=provider, is_active=True, created_at=now)
    _write_user(row, user, now)
    _follow(row, before=None, now=now)
    return row


@transaction.atomic
def scim_user_replace(*, provider_id: UUID, user_id: str, user: UserValues, now: datetime) -> ScimUser:
    """Replace all attributes of a user.

    What names a user, and whether it is active, stay as they are when the provider says nothing of them: Okta leaves
    `externalId` out, and nobody becomes active again by an omission.

    Raises:
        ScimRefused: 404, or as for a new one.
    """
    row = _user_in_turn(provider_id, user_id)
    before = row.principal
    _write_user(row, user, now)
    _follow(row, before=before, now=now)
    return row


@transaction.atomic
def scim_user_patch(*, provider_id: UUID, user_id: str, asked: tuple[Operation, ...], now: datetime) -> ScimUser:
    """Apply operations to a user, all or none.

    Raises:
        ScimRefused: 404; an operation cannot be applied; or as for a new one.
    """
    row = _user_in_turn(provider_id, user_id)
    before = row.principal
    user = values_of(user_patched(row.attributes, asked, user_id=str(row.pk)))
    if user.external_id is None:
        row.external_id = ""
    _write_user(row, user, now)
    _follow(row, before=before, now=now)
    return row


@transaction.atomic
def scim_user_delete(*, provider_id: UUID, user_id: str, now: datetime) -> None:
    """Delete a user and its memberships; its principal is locked until a user of that subject is provisioned again.

    Raises:
        ScimRefused: 404.
    """
    row = _user_in_turn(provider_id, user_id)
    principal = row.principal
    subject = subject_of(row.provider, row)
    row.delete()
    _stop(_principals(row.provider, subject, principal), f"Deleted over SCIM by {row.provider.name}.", now)


@transaction.atomic
def scim_settings_follow(*, provider: IdentityProvider, now: datetime) -> None:
    """Apply the provider's issuer, subject attribute and group names to what is provisioned, after they were changed.

    Whoever is not active is locked under the name that tokens have from now on. Whoever is active gets their principal
    with the next request about them, so that a mistaken setting can be put right without a trace. A group that cannot
    have its new name keeps the old one, which no token carries.
    """
    for user in ScimUser.objects.filter(provider=provider, is_active=False).select_related("principal"):
        user.provider = provider
        if subject_of(provider, user):
            _follow(user, before=user.principal, now=now)
    for group in Group.objects.filter(provider=provider).exclude(scim_id=None):
        name = group.scim_external_id if provider.scim_group_name == "external_id" else group.scim_display_name
        if name and name != group.name and not provider.groups.filter(name=name).exists():
            group.name = name
            group.save(update_fields=["name"])


@transaction.atomic
def scim_group_create(*, provider_id: UUID, group: GroupValues, now: datetime) -> Group:
    """Add a group with its members; a group of that name that was declared in the console becomes this one.

    Raises:
        ScimRefused: `uniqueness`: the name is provisioned already; `invalidValue`: an unknown member, or the attribute
            that tokens carry is missing.
    """
    provider = _turn(provider_id)
    name = _group_name(provider, group.display_name, group.external_id or "")
    row = Group.objects.filter(provider=provider, name=name).first() or Group(provider=provider, name=name)
    if row.scim_id is not None:
        raise taken("A group of this name is provisioned already.")
    row.scim_id = uuid4()
    _write_group(row, group.display_name, group.external_id or "", now)
    _write_members(row, GroupChange(added=group.members))
    return row


@transaction.atomic
def scim_group_replace(*, provider_id: UUID, group_id: str, group: GroupValues, now: datetime) -> Group:
    """Replace a group and all its members; who is not named is out. An externalId that is left out stays.

    Raises:
        ScimRefused: 404, or as for a new one.
    """
    row = _group_in_turn(provider_id, group_id)
    _write_group(row, group.display_name, row.scim_external_id if group.external_id is None else group.external_id, now)
    _write_members(row, GroupChange(clears=True, added=group.members))
    return row


@transaction.atomic
def scim_group_patch(*, provider_id: UUID, group_id: str, asked: Iterable[Operation], now: datetime) -> Group:
    """Apply operations to a group, all or none.

    Raises:
        ScimRefused: 404; an operation cannot be applied; or as for a new one.
    """
    row = _group_in_turn(provider_id, group_id)
    change = group_change(asked, group_id=str(row.scim_id))
    _write_group(
        row,
        row.scim_display_name if change.display_name is None else change.display_name,
        row.scim_external_id if change.external_id is None else change.external_id,
        now,
    )
    _write_members(row, change)
    return row


@transaction.atomic
def scim_group_delete(*, provider_id: UUID, group_id: str) -> None:
    """Delete a group: nobody is in it any more. Where a grant, a role or a lock refers to it, its row stays.

    Raises:
        ScimRefused: 404.
    """
    row = _group_in_turn(provider_id, group_id)
    row.scim_members.all().delete()
    if _is_referred_to(row):
        row.scim_id, row.scim_external_id, row.scim_display_name, row.scim_changed_at = None, "", "", None
        row.save(update_fields=["scim_id", "scim_external_id", "scim_display_name", "scim_changed_at"])
    else:
        row.delete()


def _turn(provider_id: UUID) -> IdentityProvider:
    """Wait until no other transaction writes for this provider, or changes it; then return it.

    Raises:
        ScimRefused: 404: there is no such provider.
        OperationalError: another transaction did not end in time.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{_WAIT_MILLISECONDS}ms"])
    provider = IdentityProvider.objects.select_for_update(no_key=True).filter(pk=provider_id).first()
    if provider is None:
        raise not_found()
    return provider


def _user_in_turn(provider_id: UUID, user_id: str) -> ScimUser:
    provider = _turn(provider_id)
    row = user_for(provider_id=provider_id, user_id=user_id)
    row.provider = provider
    return row


def _group_in_turn(provider_id: UUID, group_id: str) -> Group:
    provider = _turn(provider_id)
    row = group_for(provider_id=provider_id, group_id=group_id)
    row.provider = provider
    return row


def _write_user(row: ScimUser, user: UserValues, now: datetime) -> None:
    """Save what the provider said; what it left out of identity and state stays."""
    row.user_name, row.user_name_folded = user.user_name, folded(user.user_name)
    row.external_id = row.external_id if user.external_id is None else user.external_id
    row.is_active = row.is_active if user.is_active is None else user.is_active
    row.display_name, row.email, row.changed_at = user.display_name, user.email, now
    kept = {"userName": row.user_name, "externalId": row.external_id, "active": row.is_active}
    row.attributes = {**user.attributes, **{name: value for name, value in kept.items() if value != ""}}
    others = ScimUser.objects.filter(provider=row.provider).exclude(pk=row.pk)
    if others.filter(user_name_folded=row.user_name_folded).exists():
        raise taken("A user of this userName is provisioned already.")
    if row.external_id and others.filter(external_id=row.external_id).exists():
        raise taken("A user of this externalId is provisioned already.")
    row.save()


def _follow(row: ScimUser, *, before: Principal | None, now: datetime) -> None:
    """Make principal, lock and sessions what the saved user says.

    Raises:
        ScimRefused: `invalidValue`: nothing of the user could be locked, because the attribute that names its principal
            is missing.
    """
    provider, subject = row.provider, subject_of(row.provider, row)
    if not subject:
        name = _SUBJECT_NAMES[provider.scim_subject]
        raise bad_value(f"{name} is needed: it is what the tokens of this provider name the user by.")
    try:
        principal = principal_ensure(
            issuer=provider.issuer,
            subject=subject,
            kind=Principal.Kind.HUMAN,
            display_name=row.display_name,
            email=row.email,
            now=now,
        )
    except ValidationError:
        raise bad_value("The value that names the user in tokens cannot be a subject.") from None
    if row.principal != principal:
        row.principal = principal
        row.save(update_fields=["principal"])
    if before is not None and before != principal:
        _stop([before], f"{provider.name} provisions this user under another subject since.", now)
    same = _principals(provider, subject, principal)
    if not row.is_active:
        _stop(same, f"Deactivated over SCIM by {provider.name}.", now)
        return
    for held in same:
        locks_lift(principal=held, source=Lock.Source.SCIM, now=now)


def _principals(provider: IdentityProvider, subject: str, principal: Principal | None) -> list[Principal]:
    """Return whom the tokens of a user may speak for.

    A userName ignores case and a subject does not, so a token may spell the same user differently: all of them count.
    """
    found = {} if principal is None else {principal.pk: principal}
    if provider.scim_subject == "user_name":
        found |= {
            other.pk: other for other in Principal.objects.filter(issuer=provider.issuer, subject__iexact=subject)
        }
    return list(found.values())


def _stop(principals: Iterable[Principal], reason: str, now: datetime) -> None:
    for principal in principals:
        lock_place(kind=Lock.Kind.PRINCIPAL, principal=principal, reason=reason, source=Lock.Source.SCIM, now=now)
        console_sessions_end(issuer=principal.issuer, subject=principal.subject, now=now)


def _group_name(provider: IdentityProvider, display_name: str, external_id: str) -> str:
    """Return the name that tokens of this provider give the group.

    Raises:
        ScimRefused: `invalidValue`: it is the externalId, and there is none.
    """
    if provider.scim_group_name == "display_name":
        return display_name
    if not external_id:
        raise bad_value("externalId is needed: it is what the tokens of this provider name the group by.")
    return external_id


def _write_group(row: Group, display_name: str, external_id: str, now: datetime) -> None:
    """Save what the provider calls the group. Grants follow a group that is renamed.

    Raises:
        ScimRefused: `uniqueness`, `invalidValue`.
    """
    others = Group.objects.filter(provider=row.provider).exclude(pk=row.pk)
    name = _group_name(row.provider, display_name, external_id)
    if others.filter(name=name).exists():
        raise taken("Another group has this name already; where it was declared in the console, delete it there.")
    if external_id and others.filter(scim_external_id=external_id).exists():
        raise taken("A group of this externalId is provisioned already.")
    row.scim_display_name, row.scim_external_id, row.scim_changed_at = display_name, external_id, now
    if row._state.adding or row.name != name:
        row.name = name
        row.save()
    else:
        # The name is left out, because writing it would make every gateway process compile its policy anew.
        row.save(update_fields=["scim_id", "scim_display_name", "scim_external_id", "scim_changed_at"])


def _write_members(row: Group, change: GroupChange) -> None:
    """Add and remove members.

    Raises:
        ScimRefused: `invalidValue`: one to add is not a user of this provider.
    """
    known = set(ScimUser.objects.filter(provider=row.provider, pk__in=change.added).values_list("pk", flat=True))
    if known != change.added:
        raise bad_value("A member is not a user that this provider has provisioned.")
    members = ScimMember.objects.filter(group=row)
    if change.clears:
        members.exclude(user_id__in=change.added).delete()
    elif change.removed:
        members.filter(user_id__in=change.removed).delete()
    held = set(members.filter(user_id__in=change.added).values_list("user_id", flat=True)) if change.added else set()
    if change.added != held:
        fresh = [ScimMember(group=row, user_id=user_id) for user_id in change.added - held]
        ScimMember.objects.bulk_create(fresh, batch_size=_BATCH)


def _is_referred_to(row: Group) -> bool:
    """Tell whether any row names the group: a grant, a role, a lock, or what a later app adds."""
    relations: Any = row._meta.related_objects
    return any(
        relation.related_model._default_manager.filter(**{relation.field.name: row}).exists() for relation in relations
    )
