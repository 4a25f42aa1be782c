"""WHO, over REST."""

from __future__ import annotations

from .directory import GroupViewSet
from .issued import ApiTokenViewSet, ExchangedTokenViewSet, SigningKeyViewSet
from .locks import EventTransmitterViewSet, LockViewSet, RevokedTokenViewSet
from .people import ConsoleSessionViewSet, LoginClientViewSet, RoleGrantViewSet
from .principals import PrincipalViewSet
from .providers import IdentityProviderViewSet, ProviderPresetViewSet
from .saml import SamlProviderViewSet
from .scim import ScimSyncViewSet, ScimUserViewSet

__all__ = [
    "ApiTokenViewSet",
    "ConsoleSessionViewSet",
    "EventTransmitterViewSet",
    "ExchangedTokenViewSet",
    "GroupViewSet",
    "IdentityProviderViewSet",
    "LockViewSet",
    "LoginClientViewSet",
    "PrincipalViewSet",
    "ProviderPresetViewSet",
    "RevokedTokenViewSet",
    "RoleGrantViewSet",
    "SamlProviderViewSet",
    "ScimSyncViewSet",
    "ScimUserViewSet",
    "SigningKeyViewSet",
]
