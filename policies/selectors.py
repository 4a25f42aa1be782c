"""Reads of policy: who may see which rows."""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.models import User

from .models import AccessGrant, Guardrail, MaskingPattern


def grants_visible_to(*, user: User) -> QuerySet[AccessGrant]:
    """Return the grants that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_accessgrant"):
        return AccessGrant.objects.none()
    return AccessGrant.objects.select_related("connection", "principal", "group__provider")


def guardrails_visible_to(*, user: User) -> QuerySet[Guardrail]:
    """Return the guardrails that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_guardrail"):
        return Guardrail.objects.none()
    return Guardrail.objects.select_related("connection")


def masking_patterns_visible_to(*, user: User) -> QuerySet[MaskingPattern]:
    """Return the masking patterns that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_maskingpattern"):
        return MaskingPattern.objects.none()
    return MaskingPattern.objects.select_related("connection")
