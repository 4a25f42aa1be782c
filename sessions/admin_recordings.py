"""Recordings in the console: what is sealed, how long it is kept, what is held, and what was deleted."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe
from unfold.decorators import display

from accounts.actors import person_of
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.proof_pages import ProofAdmin

from . import downloads, recordings, retention
from .models import LegalHold, Recording, RetentionRule, Tombstone
from .recording import Unsound

_STATES = {"sealed": "success", "writing": "info", "deleting": "warning", "deleted": "warning"}
_TO_PROVE = 20
"""Recordings that are proved at once at the console; the command proves all of them."""


@require_safe
def download(request: HttpRequest, recording_id: UUID) -> HttpResponseBase:
    """Send the file of a recording as it is kept, and say so in the record of readings."""
    try:
        return downloads.recording_file(request, recording_id=recording_id, now=timezone.now())
    except recordings.RecordingUnreadable as error:
        return _told(error)


@require_safe
def export(request: HttpRequest, session_id: UUID, kind: str) -> HttpResponseBase:
    """Send a session as a file, and say so in the record of readings."""
    try:
        return downloads.session_export(request, session_id=session_id, kind=kind, now=timezone.now())
    except recordings.RecordingUnreadable as error:
        return _told(error)


@admin.register(Recording)
class RecordingAdmin(EvidenceAdmin):
    """Sealed files, newest first."""

    list_display = ["shown_of", "part", "events", "calls", "shown_size", "shown_ratio", "shown_state", "sealed_at"]
    list_filter = ["state", "is_encrypted", "session__connection"]
    list_select_related = ["session__principal", "session__connection", "tombstone"]
    search_fields = ["=session__id", "session__principal__subject", "name", "content_sha256"]
    actions = ["prove_selected"]
    fieldsets = (
        (None, {"fields": ["shown_of", "part", "shown_state", "shown_file", "suspect"]}),
        ("Content", {"fields": ["events", "calls", "first_at", "last_at", "shown_size", "shown_ratio", "months"]}),
        ("Proof", {"fields": ["content_sha256", "chain", "kid", "shown_chains", "tombstone"]}),
        ("Where it is", {"fields": ["storage", "name", "is_encrypted", "created_at", "sealed_at", "deleted_at"]}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return every field: nothing here is edited."""
        return [field for _, options in self.fieldsets for field in options["fields"]]

    def get_urls(self) -> list[URLPattern]:
        """Add the download, and a session as a file."""
        file, session = self.admin_site.admin_view(download), self.admin_site.admin_view(export)
        return [
            path("<uuid:recording_id>/file/", file, name="gateway_sessions_recording_file"),
            path("of/<uuid:session_id>/<slug:kind>/", session, name="gateway_sessions_recording_export"),
            *super().get_urls(),
        ]

    @display(description="Of", ordering="session")
    def shown_of(self, row: Recording) -> str:
        """Say of whom and where to, or of which month."""
        return f"events of {row.month:%Y-%m} without a session" if row.session is None else str(row.session)

    @display(description="State", ordering="state", label=_STATES)
    def shown_state(self, row: Recording) -> str:
        """Say where it is in its life."""
        return row.state

    @display(description="Size", ordering="size")
    def shown_size(self, row: Recording) -> str:
        """Say how large the file is."""
        return filesizeformat(row.size)

    @display(description="Compression")
    def shown_ratio(self, row: Recording) -> str:
        """Say how many bytes became one."""
        return f"{row.raw_bytes / row.size:.1f}:1" if row.size else ""

    @display(description="File")
    def shown_file(self, row: Recording) -> SafeString | str:
        """Link to the file while there is one."""
        if row.state != Recording.State.SEALED:
            return "deleted" if row.tombstone_id else "being written"
        url = reverse("admin:gateway_sessions_recording_file", args=[row.pk])
        note = " (encrypted)" if row.is_encrypted else ""
        return format_html('<a href="{}" class="underline">Download</a>{}', url, note)

    @display(description="Its place in the chains")
    def shown_chains(self, row: Recording) -> SafeString:
        """Lay out which numbers of which chain it has."""
        return _preformatted(json.dumps(row.chains, indent=2))

    def has_prove_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may have recordings proved: whoever sees them."""
        return request.user.has_perm("gateway_sessions.view_recording")

    @admin.action(description="Read back and prove", permissions=["prove"])
    def prove_selected(self, request: HttpRequest, queryset: QuerySet[Recording]) -> None:
        """Read each file and prove every byte of it; say of each what was found."""
        rows = list(queryset.filter(state=Recording.State.SEALED)[: _TO_PROVE + 1])
        if len(rows) > _TO_PROVE:
            rows = rows[:_TO_PROVE]
            self.message_user(request, f"Only the first {_TO_PROVE} are read.", messages.WARNING)
        for row in rows:
            verdict = recordings.recording_verify(recording=row)
            if isinstance(verdict, Unsound):
                self.message_user(request, f"{row}: NOT sound ({verdict.code}). {verdict.message}", messages.ERROR)
            else:
                self.message_user(request, f"{row}: sound, {verdict.events} events.", messages.SUCCESS)


class RuleForm(ServiceForm):
    """How long, and whether encrypted."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> RetentionRule:
        """Save the rule."""
        return retention.rule_save(rule_id=self.row_id, **values, now=now)


@admin.register(RetentionRule)
class RetentionRuleAdmin(ProofAdmin, ServiceAdmin):
    """How long recordings are kept, by connection. Without a rule they are kept for ever."""

    form = RuleForm
    list_display = ["shown_connection", "shown_days", "is_encrypted", "updated_at"]
    list_display_links = ["shown_connection"]
    list_select_related = ["connection"]
    autocomplete_fields = ["connection"]
    fieldsets = (
        (None, {"fields": ["connection", "days", "is_encrypted"]}),
        ("History", {"fields": ["created_at", "updated_at"]}),
    )
    readonly_fields = ["created_at", "updated_at"]

    @display(description="Connection", ordering="connection__name")
    def shown_connection(self, rule: RetentionRule) -> str:
        """Name the connection."""
        return str(rule.connection or "every other connection")

    @display(description="Kept for", ordering="days")
    def shown_days(self, rule: RetentionRule) -> str:
        """Say for how long."""
        return "ever" if rule.days is None else f"{rule.days} days"

    def delete_by_service(self, row: RetentionRule) -> None:
        """Delete the rule."""
        retention.rule_delete(rule_id=row.pk)


class HoldForm(ServiceForm):
    """What to hold, why, and until when."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> LegalHold:
        """Place the hold in the name of the person at the console."""
        return retention.hold_place(**values, actor=self.actor, now=now)


@admin.register(LegalHold)
class LegalHoldAdmin(ProofAdmin, ServiceAdmin):
    """What must not be deleted. A hold is placed and lifted, never edited nor deleted: it is its own evidence."""

    form = HoldForm
    list_display = ["shown_target", "reason", "actor", "created_at", "ends_at", "shown_state"]
    list_filter = ["kind"]
    list_select_related = ["session__principal", "session__connection", "principal", "connection", "actor"]
    search_fields = ["reason", "=session__id", "principal__subject"]
    autocomplete_fields = ["session", "principal", "connection"]
    actions = ["lift_selected"]
    fieldsets = (
        (None, {"fields": ["kind", "session", "principal", "connection"]}),
        ("Why and how long", {"fields": ["reason", "ends_at"]}),
    )
    evidence = ("Evidence", {"fields": ["shown_state", "actor", "created_at", "lifted_at", "lifted_by"]})
    readonly_fields = ["shown_state", "actor", "created_at", "lifted_at", "lifted_by"]

    @display(description="Holds", ordering="kind")
    def shown_target(self, hold: LegalHold) -> str:
        """Say what is held."""
        return str(hold)

    @display(description="State", label={"in force": "success", "lifted": "info", "ended": "info"})
    def shown_state(self, hold: LegalHold) -> str:
        """Say whether it holds anything now."""
        if hold.lifted_at is not None:
            return "lifted"
        return "in force" if hold.ends_at is None or hold.ends_at > timezone.now() else "ended"

    def get_fieldsets(self, request: HttpRequest, obj: LegalHold | None = None) -> Any:
        """Show what became of a hold only where there is one."""
        return self.fieldsets if obj is None else (*self.fieldsets, self.evidence)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a hold is lifted and placed anew."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a hold is evidence."""
        return False

    def has_lift_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may lift holds."""
        return request.user.has_perm("gateway_sessions.change_legalhold")

    @admin.action(description="Lift: it may be deleted again", permissions=["lift"])
    def lift_selected(self, request: HttpRequest, queryset: QuerySet[LegalHold]) -> None:
        """Lift one by one."""
        holds = list(queryset.filter(retention.in_force(timezone.now())))
        for hold in holds:
            retention.hold_lift(hold_id=hold.pk, actor=person_of(request), now=timezone.now())
        self.message_user(request, f"{len(holds)} lifted.", messages.SUCCESS if holds else messages.WARNING)


@admin.register(Tombstone)
class TombstoneAdmin(EvidenceAdmin):
    """What was deleted, signed and chained."""

    list_display = ["number", "at", "connection_slug", "events", "rule", "session"]
    list_filter = ["connection_slug"]
    search_fields = ["=session__id", "rule"]
    fields = readonly_fields = [
        "number",
        "at",
        "session",
        "connection_slug",
        "events",
        "rule",
        "shown_body",
        "shown_prev_hash",
        "shown_hash",
        "kid",
        "shown_signature",
    ]

    @display(description="As signed")
    def shown_body(self, row: Tombstone) -> SafeString:
        """Return the text that was signed."""
        return _preformatted(row.body)

    @display(description="Hash of the tombstone before")
    def shown_prev_hash(self, row: Tombstone) -> str:
        """Return the hash in hexadecimal."""
        return bytes(row.prev_hash).hex()

    @display(description="Hash")
    def shown_hash(self, row: Tombstone) -> str:
        """Return the hash in hexadecimal."""
        return bytes(row.hash).hex()

    @display(description="Signature (Ed25519)")
    def shown_signature(self, row: Tombstone) -> str:
        """Return the signature in hexadecimal."""
        return bytes(row.signature).hex()


def _told(error: Exception) -> HttpResponse:
    return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")


def _preformatted(text: str) -> SafeString:
    return format_html('<pre class="font-mono text-xs whitespace-pre-wrap wrap-anywhere">{}</pre>', text)
