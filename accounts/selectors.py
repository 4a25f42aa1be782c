"""Reads of identity: who may see which providers, groups and principals."""

from __future__ import annotations

from django.db.models import QuerySet

from .models import ApiToken, EventTransmitter, Group, IdentityProvider, Lock, Principal, RevokedToken, User


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
