"""WHAT IS ALLOWED: grants, guardrails, masking patterns."""
