"""Who calls: people of the console, principals of the gateway, and what vouches for them or stops them."""

from __future__ import annotations

from .directory import ScimMember, ScimSync, ScimUser
from .issued import ApiToken, ExchangedToken, SigningKey
from .locks import Lock, RevocationState, RevokedToken, SeenToken, in_force, is_in_force
from .people import ConsoleSession, LoginClient, RoleGrant, User
from .principals import Principal
from .providers import ALGORITHMS, EventTransmitter, Group, IdentityProvider, default_algorithms
from .saml import SamlAssertion, SamlProvider, SamlRequest

__all__ = [
    "ALGORITHMS",
    "ApiToken",
    "ConsoleSession",
    "EventTransmitter",
    "ExchangedToken",
    "Group",
    "IdentityProvider",
    "Lock",
    "LoginClient",
    "Principal",
    "RevocationState",
    "RevokedToken",
    "RoleGrant",
    "SamlAssertion",
    "SamlProvider",
    "SamlRequest",
    "ScimMember",
    "ScimSync",
    "ScimUser",
    "SeenToken",
    "SigningKey",
    "User",
    "default_algorithms",
    "in_force",
    "is_in_force",
]
