"""WHAT IS ALLOWED, in the console."""

from __future__ import annotations

from .approvals import ApprovalRequestAdmin, ApprovalRuleAdmin
from .back_tests import BackTestAdmin
from .rules import AccessGrantAdmin, GuardrailAdmin, MaskingPatternAdmin
from .versions import PolicyStateAdmin

__all__ = [
    "AccessGrantAdmin",
    "ApprovalRequestAdmin",
    "ApprovalRuleAdmin",
    "BackTestAdmin",
    "GuardrailAdmin",
    "MaskingPatternAdmin",
    "PolicyStateAdmin",
]
