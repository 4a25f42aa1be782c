"""Export sinks in the console: where the record is streamed to, and how far each place has it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from accounts.console import ServiceAdmin, ServiceForm
from accounts.proof_pages import ProofAdmin

from . import exports
from .models import ExportSink


class ExportSinkForm(ServiceForm):
    """Values of a sink; its secret is written and never shown."""

    secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Token, API key, password or signing secret. Leave empty to keep the one there is.",
    )
    from_the_beginning = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Only for a new sink: all that is still in the database, and not only what comes from now on.",
    )

    def add_prefix(self, field_name: str) -> str:
        """Call `dataset` something else in HTML: django-unfold takes a form with that name for one of its own."""
        return super().add_prefix("stream" if field_name == "dataset" else field_name)

    def save_by_service(self, values: dict[str, Any], now: datetime) -> ExportSink:
        """Save the sink."""
        return exports.export_sink_save(sink_id=self.row_id, **values, now=now)


@admin.register(ExportSink)
class ExportSinkAdmin(ProofAdmin, ServiceAdmin):
    """Systems that get the record as it grows."""

    form = ExportSinkForm
    entries = ["allowed_networks"]
    list_display = ["name", "kind", "is_active", "shown_state", "delivered", "refused", "delivered_at"]
    list_filter = ["kind", "is_active"]
    search_fields = ["name", "target"]
    actions = ["test_selected"]
    readonly_fields = [
        "shown_state",
        "shown_lag",
        "delivered",
        "refused",
        "delivered_at",
        "failures",
        "last_error",
        "retry_at",
        "created_at",
    ]
    fieldsets = (
        (None, {"fields": ["name", "kind", "target", "is_active"]}),
        ("What is sent", {"fields": ["includes_every_event", "includes_contents", "batch", "from_the_beginning"]}),
        ("Access", {"fields": ["secret", "user", "dataset"]}),
        ("Network", {"fields": ["has_tls", "ca_certificate", "allowed_networks"]}),
        (
            "How it goes",
            {
                "fields": [
                    "shown_state",
                    "shown_lag",
                    "delivered",
                    "refused",
                    "delivered_at",
                    "failures",
                    "last_error",
                    "retry_at",
                    "created_at",
                ]
            },
        ),
    )

    @display(description="State", label={"flows": "success", "waits": "danger", "off": "info"})
    def shown_state(self, sink: ExportSink) -> str:
        """Say whether it takes what it is sent."""
        if not sink.is_active:
            return "off"
        return "waits" if sink.failures else "flows"

    @display(description="Events behind")
    def shown_lag(self, sink: ExportSink) -> str:
        """Say how many events it does not have yet."""
        return "" if sink._state.adding else f"{exports.lag_of(sink):,}"

    def delete_by_service(self, row: ExportSink) -> None:
        """Delete the sink."""
        exports.export_sink_delete(sink_id=row.pk)

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may have sinks tested: whoever may change them."""
        return request.user.has_perm("gateway_sessions.change_exportsink")

    @admin.action(description="Send a test event", permissions=["test"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[ExportSink]) -> None:
        """Send one event to each, and say what became of it."""
        for sink in queryset[:20]:
            try:
                exports.export_sink_test(sink_id=sink.pk, now=timezone.now())
            except exports.ExportFailed as error:
                self.message_user(request, f"{sink}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{sink}: it took the test event.", messages.SUCCESS)
