"""What can be wrong with a connection besides its values."""

from __future__ import annotations

from accounts.exceptions import DomainError, MasterKeysUnusable

__all__ = ["ConnectionsError", "CredentialUnreadable", "MasterKeysUnusable"]


class ConnectionsError(DomainError):
    """Base of the errors of this app."""

    code = "connections_error"


class CredentialUnreadable(ConnectionsError):
    """A stored secret does not open under the configured master keys."""

    code = "credential_unreadable"

    def __init__(self) -> None:
        super().__init__("The stored secret does not open under the configured master keys. Set it again.")
