"""Writes of the console's people: who logs in as whom, the sessions they have, and the roles they hold."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.exceptions import DomainError
from accounts.models import (
    ConsoleSession,
    Group,
    IdentityProvider,
    Lock,
    Principal,
    RoleGrant,
    SamlProvider,
    ScimMember,
    User,
    in_force,
)
from accounts.saving import Refusals

from .principals import principal_ensure

NEVER_PROVED: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""As the last proof of a login: it is not known that the person proved anything for it."""

_UNUSABLE_IN_NAMES = re.compile(r"[^\w.@+-]+")
_LONGEST_NAME = 150


class NotAllowed(DomainError):
    """Somebody proved who they are, and still may not use the console."""

    code = "login_not_allowed"


def person_log_in(
    *,
    issuer: str,
    subject: str,
    display_name: str,
    email: str,
    groups: frozenset[str] | None,
    is_requester: bool = False,
    now: datetime,
) -> User:
    """Return the person who is the principal (issuer, subject), created at their first login.

    Nobody is ever found by e-mail: whoever can choose an address at one provider would become its owner here. The roles
    of the provider's groups are taken over at each login; those that were given to the person directly stay.

    `issuer` is the token's, or the entity id of the assertion. `groups` are as the provider named them; None when they
    are unknown, and then they give no role, unless the provider is set to look them up in its directory.

    With `is_requester` somebody without a role is let in as one who asks: they are no member of the console's staff,
    every page of it and the REST API stay closed to them, and they see what they themselves have asked for.

    Raises:
        NotAllowed: the provider is not active, the person is locked, inactive or a local account, or has no role.
    """
    provider = provider_of(issuer)
    if provider is None:
        raise NotAllowed("This identity provider is not active.")
    with transaction.atomic():
        principal = principal_ensure(
            issuer=issuer, subject=subject, kind=Principal.Kind.HUMAN, display_name=display_name, email=email, now=now
        )
        user = User.objects.select_for_update().filter(principal=principal).first()
        if user is not None and (user.is_superuser or user.is_break_glass):
            raise NotAllowed("This is a local emergency account: log in with its password.")
        members = groups_of(provider=provider, principal=principal, names=groups)
        role_names = sorted(set(RoleGrant.objects.filter(group_id__in=members).values_list("role", flat=True)))
        if user is not None:
            # Written even when the login is refused below: who has left every group keeps no role of theirs.
            user.role_names, user.group_ids = role_names, members
            user.save(update_fields=["role_names", "group_ids"])
        is_staff = bool(role_names) or (user is not None and user.roles.exists())
        may_enter = is_staff or is_requester
        if may_enter and not is_locked(provider=provider, principal=principal, group_ids=members, now=now):
            entered = _entered(user, provider, principal, role_names, display_name, email, is_staff=is_staff, now=now)
            User.objects.filter(pk=entered.pk).update(group_ids=members)
            return entered
    if may_enter:
        raise NotAllowed("This account is locked. Ask an administrator of the gateway.")
    raise NotAllowed("None of your groups has a role in this console. Ask an administrator of the gateway.")


def provider_of(issuer: str) -> IdentityProvider | None:
    """Return the active provider whose issuer, or whose SAML entity id, is `issuer`."""
    by_saml = Q(saml__entity_id=issuer, saml__is_active=True)
    return IdentityProvider.objects.filter(Q(issuer=issuer) | by_saml, is_active=True).first() if issuer else None


def groups_of(*, provider: IdentityProvider, principal: Principal, names: frozenset[str] | None) -> list[int]:
    """Return the ids of the provider's groups that are called `names`.

    When the names are unknown, those of the directory count if the provider is set to look there.
    """
    if names is not None:
        found = Group.objects.filter(provider=provider, name__in=names).values_list("pk", flat=True)
        return sorted(found)
    if not provider.uses_directory:
        return []
    members = ScimMember.objects.filter(user__principal=principal, user__is_active=True, group__provider=provider)
    return sorted(members.values_list("group_id", flat=True))


def is_locked(
    *, provider: IdentityProvider | None, principal: Principal | None, group_ids: list[int], now: datetime
) -> bool:
    """Return whether a lock stops this person at `now`."""
    target = Q(kind=Lock.Kind.GROUP, group_id__in=group_ids)
    if provider is not None:
        target |= Q(kind=Lock.Kind.PROVIDER, provider=provider)
    if principal is not None:
        target |= Q(kind=Lock.Kind.PRINCIPAL, principal=principal)
    return Lock.objects.filter(in_force(now)).filter(target).exists()


def session_digest(session_key: str) -> str:
    """Return by what a console session is known: nobody who reads the table can take a session over."""
    return hashlib.sha256(session_key.encode()).hexdigest()


@transaction.atomic
def console_session_begin(
    *,
    user: User,
    session_key: str,
    issuer: str = "",
    subject: str = "",
    provider_session: str = "",
    method: str,
    address: str = "",
    user_agent: str = "",
    now: datetime,
) -> ConsoleSession:
    """Note a login, so that it can be ended from elsewhere.

    `session_key` is Django's, after the login gave it a new one. `issuer` and `subject` are those of the token or the
    assertion, and `provider_session` is its `sid` or SessionIndex, by which the provider ends it; all three are
    empty for a local account. `method` is how the person proved who they are: `oidc`, `saml`, `password+totp`.
    """
    return ConsoleSession.objects.create(
        user=user,
        session_digest=session_digest(session_key),
        issuer=issuer,
        subject=subject,
        provider_session=provider_session[:255],
        method=method,
        address=address[:64],
        user_agent=user_agent[:400],
        began_at=now,
        authenticated_at=now,
    )


def console_session_rekey(*, session_id: UUID, session_key: str) -> None:
    """Follow Django's session to its new key, which it gets when its person changes the password."""
    ConsoleSession.objects.filter(pk=session_id).update(session_digest=session_digest(session_key))


def console_session_prove(*, session_id: UUID, now: datetime) -> None:
    """Note that the person proved again who they are, for actions that ask for a recent proof."""
    ConsoleSession.objects.filter(pk=session_id, ended_at=None).update(authenticated_at=now)


def console_session_end(*, session_id: UUID, user: User | None = None, now: datetime) -> int:
    """End one session; with `user` only if it is theirs. Return 1, or 0 when there was none to end."""
    found = ConsoleSession.objects.filter(pk=session_id, ended_at=None)
    if user is not None:
        found = found.filter(user=user)
    return found.update(ended_at=now)


@transaction.atomic
def console_sessions_end(
    *, issuer: str = "", subject: str = "", provider_session: str = "", user: User | None = None, now: datetime
) -> int:
    """End console sessions at once, and return how many there were.

    Either all of a person's (`user`), or those that came from a provider: of a `subject`, of one `provider_session`, or
    of both (OpenID Connect Back-Channel Logout 1.0 section 2.4: a logout token names one or the other or both).

    Raises:
        ValueError: nothing says whose.
    """
    found = ConsoleSession.objects.filter(ended_at=None)
    if user is not None:
        User.objects.filter(pk=user.pk).update(signed_out_at=now)
        return found.filter(user=user).update(ended_at=now)
    if not issuer or not (subject or provider_session):
        raise ValueError("say whose sessions end: a user, or an issuer with a subject or a provider session")
    found = found.filter(issuer=issuer)
    if provider_session:
        found = found.filter(provider_session=provider_session)
    if subject:
        found = found.filter(subject=subject)
    return found.update(ended_at=now)


@transaction.atomic
def role_grant_save(
    *,
    role_grant_id: int | None = None,
    group: Group | None = None,
    user: User | None = None,
    role: str,
    now: datetime,
) -> RoleGrant:
    """Give a role to the members of a group, or to one person; without an id, the same one again changes nothing.

    Raises:
        RoleGrant.DoesNotExist: there is no such row.
        ValidationError: by field; neither or both of group and person, a role that does not exist.
    """
    refusals = Refusals()
    if (group is None) == (user is None):
        refusals.add("group", "group_or_user", "Name either a group or a person.")
    if role_grant_id is None:
        row = RoleGrant.objects.select_for_update().filter(group=group, user=user, role=role).first()
        row = row or RoleGrant(created_at=now)
    else:
        row = RoleGrant.objects.select_for_update(of=("self",)).select_related("group__provider").get(pk=role_grant_id)
        if (row.group, row.role) != (group, role):
            _take_back(row, now)
    row.group, row.user, row.role = group, user, role
    refusals.save(row)
    return row


@transaction.atomic
def role_grant_delete(*, role_grant_id: int, now: datetime) -> None:
    """Take a role away; those who hold it lose it at once.

    Raises:
        RoleGrant.DoesNotExist: there is no such row.
    """
    row = RoleGrant.objects.select_for_update(of=("self",)).select_related("group__provider").get(pk=role_grant_id)
    _take_back(row, now)
    row.delete()


def _entered(
    user: User | None,
    provider: IdentityProvider,
    principal: Principal,
    role_names: list[str],
    display_name: str,
    email: str,
    *,
    is_staff: bool,
    now: datetime,
) -> User:
    """Return the person with what their provider says of them today."""
    if user is None:
        user = User(
            username=_free_username(provider, principal.subject, principal.issuer),
            principal=principal,
            date_joined=now,
        )
        user.set_unusable_password()
    if not user.is_active:
        raise NotAllowed("This account is not active. Ask an administrator of the gateway.")
    user.first_name, user.last_name, user.email = display_name[:150], "", email[:254]
    user.role_names, user.is_staff = role_names, is_staff
    user.save()
    return user


def _take_back(row: RoleGrant, now: datetime) -> None:
    """Take a group's role from everybody who may hold it by that group, at once and not with their next login.

    Who is in which group is known at a login only, so all who have the role from this provider log in anew.
    """
    if row.group is None:
        return
    issuers = [row.group.provider.issuer]
    issuers += SamlProvider.objects.filter(provider=row.group.provider).values_list("entity_id", flat=True)
    for user in User.objects.select_for_update().filter(
        principal__issuer__in=issuers, role_names__contains=[str(row.role)]
    ):
        user.role_names = [name for name in user.role_names if name != row.role]
        user.save(update_fields=["role_names"])
        console_sessions_end(user=user, now=now)


def _free_username(provider: IdentityProvider, subject: str, issuer: str) -> str:
    """Return a readable name that nobody has; it is for display, and nobody logs in with it."""
    parts = (_UNUSABLE_IN_NAMES.sub("-", text).strip("-") for text in (provider.name, subject))
    readable = ".".join(parts).lower()[: _LONGEST_NAME - 9]
    digest = hashlib.sha256(f"{issuer}\x00{subject}".encode()).hexdigest()
    if readable and not User.objects.filter(username=readable).exists():
        return readable
    return f"{readable}-{digest[:8]}"
