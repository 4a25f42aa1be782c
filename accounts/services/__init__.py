"""Writes of identity. Every one is a use case, in one transaction, with the time passed in."""

from __future__ import annotations

from accounts.models import in_force, is_in_force

from .directory import (
    scim_group_create,
    scim_group_delete,
    scim_group_patch,
    scim_group_replace,
    scim_settings_follow,
    scim_user_create,
    scim_user_delete,
    scim_user_patch,
    scim_user_replace,
)
from .events import TokenReplayed, events_receive, logout_receive
from .groups import group_delete, group_save
from .introspecting import token_introspect
from .issued import NotYours, api_token_create, api_token_revoke
from .locks import (
    lock_lift,
    lock_place,
    locks_lift,
    revocation_end,
    token_revoke,
    token_seen,
)
from .people import (
    NEVER_PROVED,
    NotAllowed,
    console_session_begin,
    console_session_end,
    console_session_prove,
    console_session_rekey,
    console_sessions_end,
    groups_of,
    person_log_in,
    provider_of,
    role_grant_delete,
    role_grant_save,
    session_digest,
)
from .principals import PrincipalHasEvidence, principal_delete, principal_ensure, principal_save, principal_seen
from .providers import (
    PRIVATE_KEY_MEMBERS,
    introspection_secret,
    provider_delete,
    provider_keys_flush,
    provider_save,
)
from .revoking import presented_token_revoke
from .saml_providers import saml_provider_delete, saml_provider_save
from .signing import signing_key_rotate, signing_key_state, signing_key_withdraw, signing_keys_tend
from .sweeps import Dormant, Swept, dormant_lock, dormant_principals, revocations_sweep
from .transmitters import transmitter_delete, transmitter_heard, transmitter_save

__all__ = [
    "NEVER_PROVED",
    "PRIVATE_KEY_MEMBERS",
    "Dormant",
    "NotAllowed",
    "NotYours",
    "PrincipalHasEvidence",
    "Swept",
    "TokenReplayed",
    "api_token_create",
    "api_token_revoke",
    "console_session_begin",
    "console_session_end",
    "console_session_prove",
    "console_session_rekey",
    "console_sessions_end",
    "dormant_lock",
    "dormant_principals",
    "events_receive",
    "group_delete",
    "group_save",
    "groups_of",
    "in_force",
    "introspection_secret",
    "is_in_force",
    "lock_lift",
    "lock_place",
    "locks_lift",
    "logout_receive",
    "person_log_in",
    "presented_token_revoke",
    "principal_delete",
    "principal_ensure",
    "principal_save",
    "principal_seen",
    "provider_delete",
    "provider_keys_flush",
    "provider_of",
    "provider_save",
    "revocation_end",
    "revocations_sweep",
    "role_grant_delete",
    "role_grant_save",
    "saml_provider_delete",
    "saml_provider_save",
    "scim_group_create",
    "scim_group_delete",
    "scim_group_patch",
    "scim_group_replace",
    "scim_settings_follow",
    "scim_user_create",
    "scim_user_delete",
    "scim_user_patch",
    "scim_user_replace",
    "session_digest",
    "signing_key_rotate",
    "signing_key_state",
    "signing_key_withdraw",
    "signing_keys_tend",
    "token_introspect",
    "token_revoke",
    "token_seen",
    "transmitter_delete",
    "transmitter_heard",
    "transmitter_save",
]
