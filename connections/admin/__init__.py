"""WHERE TO, in the console."""

from __future__ import annotations

from .connections import ConnectionAdmin, CredentialAdmin
from .tools import ToolAdmin

__all__ = ["ConnectionAdmin", "CredentialAdmin", "ToolAdmin"]
