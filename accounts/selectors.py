"""Reads of identity: who may see which providers, groups and principals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from .models import (
    ApiToken,
    ConsoleSession,
    EventTransmitter,
    ExchangedToken,
    Group,
    IdentityProvider,
    Lock,
    LoginClient,
    Principal,
    RevokedToken,
    RoleGrant,
    SamlProvider,
    ScimMember,
    ScimSync,
    ScimUser,
    SigningKey,
    User,
    in_force,
)


def providers_visible_to(*, user: User) -> QuerySet[IdentityProvider]:
    """Return the providers that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_identityprovider"):
        return IdentityProvider.objects.none()
    return IdentityProvider.objects.all()


def groups_visible_to(*, user: User) -> QuerySet[Group]:
    """Return the groups that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_group"):
        return Group.objects.none()
    return Group.objects.select_related("provider")


def principals_visible_to(*, user: User) -> QuerySet[Principal]:
    """Return the principals that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_principal"):
        return Principal.objects.none()
    return Principal.objects.all()


def api_tokens_visible_to(*, user: User) -> QuerySet[ApiToken]:
    """Return the API tokens that `user` may see: their own without a permission, everybody's with it."""
    tokens = ApiToken.objects.select_related("user", "provider")
    return tokens if user.has_perm("accounts.view_apitoken") else tokens.filter(user=user)


def exchanged_tokens_visible_to(*, user: User) -> QuerySet[ExchangedToken]:
    """Return the tokens of which `user` may see that they were given out: all with the permission, none without."""
    if not user.has_perm("accounts.view_exchangedtoken"):
        return ExchangedToken.objects.none()
    return ExchangedToken.objects.select_related("principal")


def signing_keys_visible_to(*, user: User) -> QuerySet[SigningKey]:
    """Return the signing keys that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_signingkey"):
        return SigningKey.objects.none()
    return SigningKey.objects.all()


def locks_visible_to(*, user: User) -> QuerySet[Lock]:
    """Return the locks that `user` may see, lifted and ended ones too: all with the permission, none without."""
    if not user.has_perm("accounts.view_lock"):
        return Lock.objects.none()
    return Lock.objects.select_related("principal", "group", "provider", "connection")


def revocations_visible_to(*, user: User) -> QuerySet[RevokedToken]:
    """Return the revoked tokens that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_revokedtoken"):
        return RevokedToken.objects.none()
    return RevokedToken.objects.all()


def transmitters_visible_to(*, user: User) -> QuerySet[EventTransmitter]:
    """Return the transmitters of security events that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_eventtransmitter"):
        return EventTransmitter.objects.none()
    return EventTransmitter.objects.select_related("provider")


def console_session_for(*, digest: str, group_ids: Sequence[int], now: datetime) -> ConsoleSession | None:
    """Return the login whose `session_digest` is `digest` while it counts, in one query; None when it does not.

    It does not count when it was ended or began before its person signed out everywhere, when the person is not active,
    when their principal, their provider or one of the groups `group_ids` is locked, or when the provider is not active.
    """
    stopped = Q(kind=Lock.Kind.PRINCIPAL, principal=OuterRef("user__principal"))
    stopped |= Q(kind=Lock.Kind.GROUP, group_id__in=group_ids)
    stopped |= Q(kind=Lock.Kind.PROVIDER, provider__issuer=OuterRef("issuer")) & ~Q(provider__issuer="")
    stopped |= Q(kind=Lock.Kind.PROVIDER, provider__saml__entity_id=OuterRef("issuer"))
    active = IdentityProvider.objects.filter(
        Q(issuer=OuterRef("issuer")) | Q(saml__entity_id=OuterRef("issuer"), saml__is_active=True), is_active=True
    )
    return (
        ConsoleSession.objects.filter(session_digest=digest, ended_at=None, user__is_active=True)
        .filter(Q(user__signed_out_at=None) | Q(began_at__gte=F("user__signed_out_at")))
        .filter(~Exists(Lock.objects.filter(in_force(now)).filter(stopped)))
        .filter(Q(issuer="") | Exists(active))
        .select_related("user")
        .first()
    )


def console_sessions_visible_to(*, user: User) -> QuerySet[ConsoleSession]:
    """Return the logins that `user` may see: their own without a permission, everybody's with it."""
    sessions = ConsoleSession.objects.select_related("user")
    return sessions if user.has_perm("accounts.view_consolesession") else sessions.filter(user=user)


def role_grants_visible_to(*, user: User) -> QuerySet[RoleGrant]:
    """Return the role grants that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_rolegrant"):
        return RoleGrant.objects.none()
    return RoleGrant.objects.select_related("group__provider", "user")


def login_clients_visible_to(*, user: User) -> QuerySet[LoginClient]:
    """Return the console's clients that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_loginclient"):
        return LoginClient.objects.none()
    return LoginClient.objects.select_related("provider")


def saml_providers_visible_to(*, user: User) -> QuerySet[SamlProvider]:
    """Return the SAML providers that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_samlprovider"):
        return SamlProvider.objects.none()
    return SamlProvider.objects.select_related("provider")


def scim_users_visible_to(*, user: User) -> QuerySet[ScimUser]:
    """Return the provisioned users that `user` may see: all with the permission, none without."""
    if not user.has_perm("accounts.view_scimuser"):
        return ScimUser.objects.none()
    return ScimUser.objects.select_related("provider", "principal")


def scim_syncs_visible_to(*, user: User) -> QuerySet[ScimSync]:
    """Return how provisioning goes, as far as `user` may see it: all with the permission, none without."""
    if not user.has_perm("accounts.view_scimsync"):
        return ScimSync.objects.none()
    return ScimSync.objects.select_related("provider")


def provisioned_groups(*, issuer: str, subject: str) -> frozenset[str] | None:
    """Return the groups of a principal that its provider provisioned; None where that is unknown, or not asked for."""
    users = ScimUser.objects.filter(
        provider__issuer=issuer,
        provider__is_active=True,
        provider__uses_directory=True,
        is_active=True,
        principal__issuer=issuer,
        principal__subject=subject,
    )
    user = users.first()
    if user is None:
        return None
    members = ScimMember.objects.filter(user=user, group__provider=user.provider_id)
    return frozenset(members.values_list("group__name", flat=True))
