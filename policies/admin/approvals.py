"""WHO SAYS YES, in the console: rules of approval, and requests, decisions and uses as evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from unfold.decorators import display

from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from policies import services
from policies.models import (
    ApprovalDecision,
    ApprovalDelegation,
    ApprovalMessage,
    ApprovalRequest,
    ApprovalRule,
    ApprovalUse,
    ApprovalView,
)

from . import stages as stages_form


class ApprovalRuleForm(ServiceForm, stages_form.StageFields):
    """Values of an approval rule; its stages are fields, and what is wrong with one stands at it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        stages = self.instance.stages if isinstance(self.instance.stages, list) else []
        for prefix, stage in zip(stages_form.PREFIXES, stages, strict=False):
            self.initial.update(stages_form.initial_of(prefix, stage))
        self.initial.update(stages_form.initial_of(stages_form.ESCALATION, self.instance.escalate_to or {}))

    def clean(self) -> dict[str, Any]:
        """Refuse a rule without a stage, and a stage without a name."""
        values = super().clean() or self.cleaned_data
        stages = [stages_form.take_stage(prefix, dict(values)) for prefix in stages_form.PREFIXES]
        if not any(stages):
            self.add_error("stage_1_name", "Say who decides: there has to be a stage.")
        for prefix, stage in zip(stages_form.PREFIXES, stages, strict=True):
            if stage and not stage["name"]:
                self.add_error(f"{prefix}_name", "Give the stage a name.")
        return values

    def save_by_service(self, values: dict[str, Any], now: datetime) -> ApprovalRule:
        """Save the rule."""
        given = dict(values)
        stages = [stages_form.take_stage(prefix, given) for prefix in stages_form.PREFIXES]
        escalate_to = stages_form.take_stage(stages_form.ESCALATION, given)
        return services.approval_rule_save(
            rule_id=self.row_id, stages=[stage for stage in stages if stage], escalate_to=escalate_to, **given, now=now
        )

    def _add_refusals(self, refusal: ValidationError) -> None:
        """Show what the service says about the stages and the escalation at their first fields."""
        by_field = refusal.error_dict if hasattr(refusal, "error_dict") else {}
        for name, field in (("stages", "stage_1_name"), ("escalate_to", "escalation_groups")):
            for error in by_field.pop(name, []):
                self.add_error(field, error)
        super()._add_refusals(refusal)


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(ServiceAdmin):
    """Who decides about held calls, how many of them, and what an approval is good for."""

    form = ApprovalRuleForm
    list_display = ["name", "risk", "shown_stages", "expires_seconds", "is_active"]
    list_filter = ["risk", "is_active"]
    search_fields = ["name"]
    autocomplete_fields = ["access_to"]
    fieldsets = (
        (None, {"fields": ["name", "risk", "is_active"]}),
        *(stages_form.fieldset_of(prefix) for prefix in (*stages_form.PREFIXES, stages_form.ESCALATION)),
        ("Terms", {"fields": ["expires_seconds", "run_within_seconds", "max_uses", "max_window_seconds"]}),
        ("What is asked for", {"fields": ["needs_reason", "needs_poller"]}),
        ("Access for a time", {"fields": ["access_to"]}),
    )

    @display(description="Stages")
    def shown_stages(self, rule: ApprovalRule) -> str:
        """Name the stages in their order."""
        return " → ".join(f"{stage['needed']} of {stage['name']}" for stage in rule.stages)

    def delete_by_service(self, row: ApprovalRule) -> None:
        """Delete the rule."""
        services.approval_rule_delete(rule_id=row.pk)


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(EvidenceAdmin):
    """Held calls and requests for access; they are decided in the inbox."""

    list_display = ["code", "state", "principal", "connection", "name", "rule_name", "opened_at", "expires_at"]
    list_filter = ["state", "kind", "connection"]
    list_select_related = ["principal", "connection"]
    search_fields = ["code", "name", "rule_name", "principal__subject", "principal__display_name"]
    exclude = ["key_id", "wrapped_key", "ciphertext", "binding", "arguments_sha256"]


@admin.register(ApprovalDecision)
class ApprovalDecisionAdmin(EvidenceAdmin):
    """Who decided what, from where, and what they saw."""

    list_display = ["request", "verdict", "finding", "user", "behalf_of", "channel", "address", "at"]
    list_filter = ["verdict", "finding", "channel"]
    list_select_related = ["request", "user", "behalf_of"]
    search_fields = ["request__code", "user__username"]
    exclude = ["view_sha256"]


@admin.register(ApprovalUse)
class ApprovalUseAdmin(EvidenceAdmin):
    """Runs of approved calls."""

    list_display = ["request", "number", "call_id", "claimed_at", "consumed_at"]
    list_select_related = ["request"]
    search_fields = ["request__code"]


@admin.register(ApprovalView)
class ApprovalViewAdmin(EvidenceAdmin):
    """Who looked at which request."""

    list_display = ["request", "user", "address", "at"]
    list_select_related = ["request", "user"]
    search_fields = ["request__code", "user__username"]


@admin.register(ApprovalDelegation)
class ApprovalDelegationAdmin(EvidenceAdmin):
    """Who decides for whom, and from when until when; people name their delegates on a page of their own."""

    list_display = ["delegator", "delegate", "starts_at", "ends_at", "ended_at", "ended_by"]
    list_select_related = ["delegator", "delegate", "ended_by"]
    search_fields = ["delegator__username", "delegate__username"]


@admin.register(ApprovalMessage)
class ApprovalMessageAdmin(EvidenceAdmin):
    """Questions about requests, and their answers."""

    list_display = ["request", "kind", "user", "channel", "at"]
    list_filter = ["kind", "channel"]
    list_select_related = ["request", "user"]
    search_fields = ["request__code", "user__username"]
