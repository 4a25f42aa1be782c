"""What can be wrong with a connection besides its values."""

from __future__ import annotations

from accounts.exceptions import DomainError


class ConnectionsError(DomainError):
    """Base of the errors of this app."""

    code = "connections_error"


class MasterKeysUnusable(ConnectionsError):
    """WARDGATE_MASTER_KEYS cannot be read, so no secret can be sealed."""

    code = "master_keys_unusable"

    def __init__(self) -> None:
        super().__init__("WARDGATE_MASTER_KEYS is missing or malformed, so no secret can be sealed.")


class CredentialUnreadable(ConnectionsError):
    """A stored secret does not open under the configured master keys."""

    code = "credential_unreadable"

    def __init__(self) -> None:
        super().__init__("The stored secret does not open under the configured master keys. Set it again.")
