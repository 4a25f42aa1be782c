"""WHAT IS ALLOWED, in the console."""

from __future__ import annotations

from .approvals import ApprovalRequestAdmin, ApprovalRuleAdmin
from .rules import AccessGrantAdmin, GuardrailAdmin, MaskingPatternAdmin
from .versions import PolicyStateAdmin

__all__ = [
    "AccessGrantAdmin",
    "ApprovalRequestAdmin",
    "ApprovalRuleAdmin",
    "GuardrailAdmin",
    "MaskingPatternAdmin",
    "PolicyStateAdmin",
]
