"""WHERE TO, over REST."""

from __future__ import annotations

from .connections import ConnectionViewSet, CredentialViewSet
from .tools import ToolViewSet

__all__ = ["ConnectionViewSet", "CredentialViewSet", "ToolViewSet"]
