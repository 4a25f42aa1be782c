"""Writes of identity. Every one is a use case, in one transaction, with the time passed in."""

from __future__ import annotations

from .locks import lock_lift, lock_place, locks_lift, revocation_end, token_revoke, token_seen
from .principals import PrincipalHasEvidence, principal_delete, principal_ensure, principal_save, principal_seen
from .providers import PRIVATE_KEY_MEMBERS, group_delete, group_save, provider_delete, provider_save

__all__ = [
    "PRIVATE_KEY_MEMBERS",
    "PrincipalHasEvidence",
    "group_delete",
    "group_save",
    "lock_lift",
    "lock_place",
    "locks_lift",
    "principal_delete",
    "principal_ensure",
    "principal_save",
    "principal_seen",
    "provider_delete",
    "provider_save",
    "revocation_end",
    "token_revoke",
    "token_seen",
]
