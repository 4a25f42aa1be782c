"""WHAT IS ALLOWED: grants, guardrails and masking patterns."""

from __future__ import annotations

from django.apps import AppConfig


class PoliciesConfig(AppConfig):
    """WHAT IS ALLOWED: grants, guardrails and masking patterns."""

    name = "policies"
    label = "policies"
    verbose_name = "What is allowed"
