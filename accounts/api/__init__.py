"""WHO, over REST."""

from __future__ import annotations

from .directory import GroupViewSet, IdentityProviderViewSet, PrincipalViewSet
from .issued import ApiTokenViewSet
from .locks import EventTransmitterViewSet, LockViewSet, RevokedTokenViewSet
from .saml import SamlProviderViewSet

__all__ = [
    "ApiTokenViewSet",
    "EventTransmitterViewSet",
    "GroupViewSet",
    "IdentityProviderViewSet",
    "LockViewSet",
    "PrincipalViewSet",
    "RevokedTokenViewSet",
    "SamlProviderViewSet",
]
