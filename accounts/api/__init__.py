"""WHO, over REST."""

from __future__ import annotations

from .directory import GroupViewSet, IdentityProviderViewSet, PrincipalViewSet

__all__ = ["GroupViewSet", "IdentityProviderViewSet", "PrincipalViewSet"]
