"""WHO, over REST."""

from __future__ import annotations

from .directory import GroupViewSet, IdentityProviderViewSet, PrincipalViewSet
from .issued import ApiTokenViewSet, ExchangedTokenViewSet, SigningKeyViewSet
from .locks import EventTransmitterViewSet, LockViewSet, RevokedTokenViewSet
from .saml import SamlProviderViewSet

__all__ = [
    "ApiTokenViewSet",
    "EventTransmitterViewSet",
    "ExchangedTokenViewSet",
    "GroupViewSet",
    "IdentityProviderViewSet",
    "LockViewSet",
    "PrincipalViewSet",
    "RevokedTokenViewSet",
    "SamlProviderViewSet",
    "SigningKeyViewSet",
]
