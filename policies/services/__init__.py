"""Writes of policy. Every one is a use case, in one transaction, with the time passed in.

The version of the policy moves by database triggers in the same transaction (`migrations/0002`).
"""

from __future__ import annotations

from .grants import grant_delete, grant_save
from .guardrails import guardrail_delete, guardrail_save
from .masking import masking_pattern_delete, masking_pattern_save

__all__ = [
    "grant_delete",
    "grant_save",
    "guardrail_delete",
    "guardrail_save",
    "masking_pattern_delete",
    "masking_pattern_save",
]
