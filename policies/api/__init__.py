"""WHAT IS ALLOWED, over REST."""

from __future__ import annotations

from .rules import AccessGrantViewSet, GuardrailViewSet, MaskingPatternViewSet

__all__ = ["AccessGrantViewSet", "GuardrailViewSet", "MaskingPatternViewSet"]
