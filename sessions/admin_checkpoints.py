"""What proves the record, in the console: checkpoints, their keys, where copies go, and what was released."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts import proofs
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.proof_pages import ProofAdmin

from . import checkpoint_keys, markup, shipping
from .models import Checkpoint, CheckpointKey, CheckpointSink, EventRelease


class _Statements(EvidenceAdmin):
    """What statements have in common: they are shown as they were signed."""

    paginator = InfinitePaginator
    show_full_result_count = False

    @display(description="As signed")
    def shown_body(self, row: Any) -> SafeString:
        """Lay out the body."""
        return format_html('<pre class="font-mono text-xs whitespace-pre-wrap">{}</pre>', markup.json_markup(row.body))

    @display(description="Hash")
    def shown_hash(self, row: Any) -> str:
        """Return the hash in hexadecimal."""
        return bytes(row.hash).hex()

    @display(description="Hash of the one before")
    def shown_prev_hash(self, row: Any) -> str:
        """Return the hash in hexadecimal."""
        return bytes(row.prev_hash).hex()

    @display(description="Signature")
    def shown_signature(self, row: Any) -> str:
        """Return the signature in base64."""
        return base64.b64encode(bytes(row.signature)).decode()


@admin.register(Checkpoint)
class CheckpointAdmin(_Statements):
    """Signed statements of how far all chains had come, newest first."""

    list_display = ["number", "at", "events", "kid"]
    fields = readonly_fields = [
        "number",
        "at",
        "events",
        "kid",
        "shown_body",
        "shown_prev_hash",
        "shown_hash",
        "shown_signature",
    ]


@admin.register(EventRelease)
class EventReleaseAdmin(_Statements):
    """Months of events that left the database: what was in each of them."""

    list_display = ["number", "at", "partition", "events", "kid"]
    fields = readonly_fields = [
        "number",
        "at",
        "partition",
        "events",
        "kid",
        "shown_body",
        "shown_prev_hash",
        "shown_hash",
        "shown_signature",
    ]


@admin.register(CheckpointKey)
class CheckpointKeyAdmin(EvidenceAdmin):
    """Keys that sign the record. They change by themselves; each is vouched for by the one before."""

    list_display = ["kid", "shown_state", "created_at", "signs_until", "endorsed_by"]
    fields = readonly_fields = ["kid", "shown_state", "shown_public_key", "created_at", "signs_until", "endorsed_by"]
    actions_list = ["rotate"]

    @display(description="State", label={"signs": "success", "has signed": "info"})
    def shown_state(self, key: CheckpointKey) -> str:
        """Say whether the key signs."""
        return "signs" if key.signs_until is None else "has signed"

    @display(description="Public key (base64)")
    def shown_public_key(self, key: CheckpointKey) -> str:
        """Return the 32 bytes in base64."""
        return base64.b64encode(bytes(key.public_key)).decode()

    def has_rotate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Tell whether the person may change to a new key."""
        return request.user.has_perm("gateway_sessions.change_checkpointkey")

    @action(description="Change the key", permissions=["rotate"], url_path="rotate")
    def rotate(self, request: HttpRequest) -> HttpResponse:
        """Ask first, and whether the present key may still vouch for the next."""
        if not proofs.is_recent(request, timezone.now()):
            return proofs.ask(request)
        if request.method == "POST":
            is_vouched_for = request.POST.get("trust") != "none"
            key = checkpoint_keys.checkpoint_key_rotate(now=timezone.now(), is_vouched_for=is_vouched_for)
            self.message_user(request, f"{key.kid} signs from now on.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:gateway_sessions_checkpointkey_changelist"))
        context = {**self.admin_site.each_context(request), "title": "Change the key of the record", "opts": self.opts}
        return TemplateResponse(request, "admin/sessions/checkpointkey/rotate.html", context)


class CheckpointSinkForm(ServiceForm):
    """Values of a sink. The secret goes in and never comes out."""

    secret = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text="S3: the secret access key. Webhook: what deliveries are signed with. Empty keeps the one there is.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> CheckpointSink:
        """Save the sink."""
        return shipping.checkpoint_sink_save(sink_id=self.row_id, **values, now=now)


@admin.register(CheckpointSink)
class CheckpointSinkAdmin(ProofAdmin, ServiceAdmin):
    """Places outside this machine that get every checkpoint."""

    form = CheckpointSinkForm
    entries = ["allowed_networks"]
    list_display = ["name", "kind", "shown_state", "delivered", "delivered_at", "last_error"]
    list_filter = ["kind", "is_active"]
    readonly_fields = ["delivered", "delivered_at", "failures", "last_error"]
    actions = ["send_test"]
    fieldsets = (
        (None, {"fields": ["name", "kind", "target", "is_active"]}),
        ("S3", {"fields": ["bucket", "prefix", "region", "access_key"]}),
        ("Secret of S3 and webhook", {"fields": ["secret"]}),
        ("Network", {"fields": ["has_tls", "ca_certificate", "allowed_networks"]}),
        ("Delivery", {"fields": ["delivered", "delivered_at", "failures", "last_error"]}),
    )

    @display(description="State", label={"up to date": "success", "behind": "warning", "failing": "danger"})
    def shown_state(self, sink: CheckpointSink) -> str:
        """Say whether the sink has everything."""
        if not sink.is_active:
            return "off"
        if sink.failures:
            return "failing"
        newest = Checkpoint.objects.order_by("-number").values_list("number", flat=True).first() or 0
        return "up to date" if sink.delivered >= newest else "behind"

    def has_send_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may send a test."""
        return request.user.has_perm("gateway_sessions.change_checkpointsink")

    @admin.action(description="Send a test", permissions=["send"])
    def send_test(self, request: HttpRequest, queryset: Any) -> None:
        """Send a line to each chosen sink, now, and say what became of it."""
        for sink in queryset:
            try:
                shipping.checkpoint_sink_test(sink_id=sink.pk, now=timezone.now())
            except shipping.SinkFailed as error:
                self.message_user(request, f"{sink.name}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{sink.name} took the test.", messages.SUCCESS)

    def delete_by_service(self, row: CheckpointSink) -> None:
        """Delete the sink."""
        identifier: UUID = row.pk
        shipping.checkpoint_sink_delete(sink_id=identifier)
