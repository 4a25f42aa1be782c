"""The base of every error that is a fact about a request and not a fault of ours."""

from __future__ import annotations


class DomainError(Exception):
    """A service refuses. `code` is stable and for programs; the text is a sentence for people, without secrets."""

    code = "refused"


class MasterKeysUnusable(DomainError):
    """WARDGATE_MASTER_KEYS cannot be read, so no secret can be sealed or opened."""

    code = "master_keys_unusable"

    def __init__(self) -> None:
        super().__init__("WARDGATE_MASTER_KEYS is missing or malformed, so no secret can be sealed.")
