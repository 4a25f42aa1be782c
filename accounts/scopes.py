"""What a token for the REST API may be made for. Pure.

A scope never gives anything: it bounds a token, whose user must hold the permission as well. No scope holds another.
"""

from __future__ import annotations

from typing import Final

SCOPES: Final[dict[str, str]] = {
    "read": "read configuration, policy and principals",
    "write": "change connections, credentials and policy",
    "approve": "decide held calls and requests for access",
    "audit": "read sessions, events and recordings",
    "locks": "place and lift locks",
    "revoke": "revoke tokens (RFC 7009)",
    "scim": "provision users and groups of one identity provider (SCIM 2.0)",
    "events": "push security events of one identity provider (RFC 8935)",
    "admin": "change identity providers, people, API tokens and signing keys",
}
"""Every scope, and what it is for."""

PROVIDER_SCOPES: Final = frozenset({"scim", "events"})
"""Scopes of a token that speaks for one identity provider, which it must then name."""
