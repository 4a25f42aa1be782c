"""WHO, over REST."""

from __future__ import annotations

from .directory import GroupViewSet, IdentityProviderViewSet, PrincipalViewSet
from .issued import ApiTokenViewSet

__all__ = ["ApiTokenViewSet", "GroupViewSet", "IdentityProviderViewSet", "PrincipalViewSet"]
