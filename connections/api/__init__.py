"""WHERE TO, over REST."""

from __future__ import annotations

from .connections import ConnectionViewSet, CredentialViewSet

__all__ = ["ConnectionViewSet", "CredentialViewSet"]
