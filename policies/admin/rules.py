"""WHAT IS ALLOWED, in the console: grants, guardrails and masking patterns."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from unfold.decorators import action, display

from policies import services
from policies.models import AccessGrant, Guardrail, MaskingPattern

from .fields import WINDOW_EXAMPLE, JsonField, WindowsField, code_area
from .least_privilege import LeastPrivilegePages
from .packs import packs_view
from .shared import PolicyForm, PolicyServiceAdmin


def _joined(entries: list[str]) -> str:
    return ", ".join(entries) or "none"


class GrantForm(PolicyForm):
    """Values of a grant."""

    condition = forms.CharField(
        required=False,
        max_length=4096,
        widget=code_area(3, 'identity.kind == "machine" && connection.slug == "orders"'),
        help_text="Instead of a group or principal, or besides: CEL over identity, client, connection and request. "
        "What cannot be told lets nobody in.",
    )
    windows = WindowsField(
        required=False,
        help_text=f"Weekly windows in which the grant counts, one a line: {WINDOW_EXAMPLE}, or "
        "fri,sat 22:00-06:00 America/New_York over midnight. Empty: always.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> AccessGrant:
        """Save the grant."""
        return services.grant_save(grant_id=self.row_id, **values, created_by=self.actor, by=self.publisher, now=now)


@admin.register(AccessGrant)
class AccessGrantAdmin(LeastPrivilegePages, PolicyServiceAdmin):
    """Who may use which connection, with which tools, until when."""

    form = GrantForm
    entries = ["labels", "tools", "prompts", "resources", "networks"]
    examples = {
        "labels": "production",
        "tools": "get_*\nsearch_orders",
        "prompts": "*",
        "resources": "orders://order/*",
        "networks": "10.0.0.0/8\n2001:db8::/32",
        "note": "On call until Friday, ticket 4711",
    }
    list_display = ["shown_holder", "shown_connection", "shown_tools", "valid_until", "kind", "is_active"]
    list_filter = ["is_active", "kind", "connection"]
    list_select_related = ["principal", "group__provider", "connection"]
    search_fields = ["principal__subject", "principal__display_name", "group__name", "connection__name", "note"]
    autocomplete_fields = ["principal", "group"]
    readonly_fields = ["kind", "created_by", "created_at"]
    fieldsets = (
        ("Who", {"fields": ["group", "principal", "condition"]}),
        ("Where to", {"fields": ["connection", "labels"]}),
        ("What", {"fields": ["tools", "prompts", "resources"]}),
        ("When, and from where", {"fields": ["valid_from", "valid_until", "windows", "networks", "is_active"]}),
        ("Why", {"fields": ["note", "kind", "created_by", "created_at"]}),
    )

    @display(description="Who", ordering="group__name")
    def shown_holder(self, grant: AccessGrant) -> str:
        """Name the principal or the group, or say that a condition decides."""
        return str(grant.principal or grant.group or "whoever meets the condition")

    @display(description="Connection", ordering="connection__name")
    def shown_connection(self, grant: AccessGrant) -> str:
        """Name the connection, or the labels of those that are meant."""
        return str(grant.connection) if grant.connection is not None else f"labelled {_joined(grant.labels)}"

    @display(description="Tools")
    def shown_tools(self, grant: AccessGrant) -> str:
        """List the globs of tools."""
        return _joined(grant.tools)

    def delete_published(self, row: AccessGrant, by: services.Publisher, now: datetime) -> None:
        """Delete the grant."""
        services.grant_delete(grant_id=row.pk, by=by, now=now)


class GuardrailForm(PolicyForm):
    """Values of a guardrail."""

    annotations = JsonField(
        of=dict,
        widget=code_area(2, '{"destructiveHint": true}'),
        help_text="What the tool must say of itself, as a JSON object of readOnlyHint, destructiveHint, idempotentHint "
        "and openWorldHint. A tool that says nothing meets what denies or holds.",
    )
    condition = forms.CharField(
        required=False,
        max_length=4096,
        widget=code_area(3, "has(args.amount) && args.amount > 100"),
        help_text="CEL over identity, client, connection, tool, args, request and session, such as "
        "sql.statements(args.q).exists(s, !s.is_read_only), in_cidr(request.ip, '10.0.0.0/8') or "
        "'untrusted' in session.labels. What fails denies. Empty: always.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Guardrail:
        """Save the guardrail."""
        return services.guardrail_save(guardrail_id=self.row_id, **values, by=self.publisher, now=now)


@admin.register(Guardrail)
class GuardrailAdmin(PolicyServiceAdmin):
    """Rules over calls: deny, then hold, then allow, whatever their order."""

    form = GuardrailForm
    actions_list = ["packs_link"]
    entries = ["labels", "methods", "names"]
    examples = {"labels": "production", "reason": "Deleting needs a ticket.", "name": "Nobody deletes"}
    autocomplete_fields = ["principals", "groups"]
    readonly_fields = ["pack"]
    list_display = ["name", "shown_effect", "shown_connection", "shown_names", "is_observed", "is_active"]
    list_filter = ["effect", "is_observed", "is_active", "connection"]
    list_select_related = ["connection"]
    search_fields = ["name", "reason"]
    fieldsets = (
        (None, {"fields": ["name", "effect", "approval_rule", "reason", "is_observed", "is_active", "pack"]}),
        ("Which calls", {"fields": ["connection", "labels", "methods", "names", "annotations", "condition"]}),
        ("Whose calls", {"fields": ["principals", "groups"]}),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the page of ready-made packs."""
        view = self.admin_site.admin_view(partial(packs_view, model_admin=self))
        return [path("packs/", view, name="policies_guardrail_packs"), *super().get_urls()]

    @action(description="Ready-made packs", url_path="to-packs")
    def packs_link(self, request: HttpRequest) -> HttpResponse:
        """Lead from the list to the packs."""
        return HttpResponseRedirect(reverse("admin:policies_guardrail_packs"))

    @display(description="Effect", ordering="effect", label={"deny": "danger", "hold": "warning", "allow": "success"})
    def shown_effect(self, guardrail: Guardrail) -> str:
        """Return the effect as a label."""
        return guardrail.effect

    @display(description="Connection", ordering="connection__name")
    def shown_connection(self, guardrail: Guardrail) -> str:
        """Name the connection or the labels, or say that it is every one."""
        if guardrail.connection is None and guardrail.labels:
            return f"labelled {_joined(guardrail.labels)}"
        return str(guardrail.connection or "every connection")

    @display(description="Calls")
    def shown_names(self, guardrail: Guardrail) -> str:
        """List the globs of names."""
        return _joined(guardrail.names)

    def delete_published(self, row: Guardrail, by: services.Publisher, now: datetime) -> None:
        """Delete the guardrail."""
        services.guardrail_delete(guardrail_id=row.pk, by=by, now=now)


class MaskingPatternForm(PolicyForm):
    """Values of a masking pattern."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> MaskingPattern:
        """Save the pattern."""
        return services.masking_pattern_save(pattern_id=self.row_id, **values, by=self.publisher, now=now)


@admin.register(MaskingPattern)
class MaskingPatternAdmin(PolicyServiceAdmin):
    """What is redacted from every message that goes to a client."""

    form = MaskingPatternForm
    list_display = ["name", "pattern", "check_kind", "shown_connection", "is_active"]
    list_filter = ["is_active", "connection"]
    list_select_related = ["connection"]
    search_fields = ["name", "pattern"]
    fields = ["name", "pattern", "check_kind", "replacement", "connection", "is_active"]

    @display(description="Connection", ordering="connection__name")
    def shown_connection(self, pattern: MaskingPattern) -> str:
        """Name the connection, or say that it is every one."""
        return str(pattern.connection or "every connection")

    def delete_published(self, row: MaskingPattern, by: services.Publisher, now: datetime) -> None:
        """Delete the pattern."""
        services.masking_pattern_delete(pattern_id=row.pk, by=by, now=now)
