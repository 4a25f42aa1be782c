"""Versions of policy, in the console."""

from __future__ import annotations

from django.contrib import admin

from accounts.console import EvidenceAdmin
from policies.models import PolicyState


@admin.register(PolicyState)
class PolicyStateAdmin(EvidenceAdmin):
    """The version of the policy in force; the database moves it with every change."""

    list_display = ["version", "changed_at"]
    fields = readonly_fields = ["version", "changed_at"]
