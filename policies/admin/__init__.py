"""WHAT IS ALLOWED, in the console."""

from __future__ import annotations

from .rules import AccessGrantAdmin, GuardrailAdmin, MaskingPatternAdmin
from .versions import PolicyStateAdmin

__all__ = ["AccessGrantAdmin", "GuardrailAdmin", "MaskingPatternAdmin", "PolicyStateAdmin"]
