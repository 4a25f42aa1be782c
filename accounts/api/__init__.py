"""WHO, over REST."""

from __future__ import annotations

from .directory import GroupViewSet
from .issued import ApiTokenViewSet, ExchangedTokenViewSet, SigningKeyViewSet
from .locks import EventTransmitterViewSet, LockViewSet, RevokedTokenViewSet
from .principals import PrincipalViewSet
from .providers import IdentityProviderViewSet, ProviderPresetViewSet
from .saml import SamlProviderViewSet
from .scim import ScimSyncViewSet, ScimUserViewSet

__all__ = [
    "ApiTokenViewSet",
    "EventTransmitterViewSet",
    "ExchangedTokenViewSet",
    "GroupViewSet",
    "IdentityProviderViewSet",
    "LockViewSet",
    "PrincipalViewSet",
    "ProviderPresetViewSet",
    "RevokedTokenViewSet",
    "SamlProviderViewSet",
    "ScimSyncViewSet",
    "ScimUserViewSet",
    "SigningKeyViewSet",
]
