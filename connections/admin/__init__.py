"""WHERE TO, in the console."""

from __future__ import annotations

from .connections import ConnectionAdmin, CredentialAdmin

__all__ = ["ConnectionAdmin", "CredentialAdmin"]
