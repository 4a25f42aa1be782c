"""WHAT HAPPENED, in the console: evidence, read only, and the way to a session's replay."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from accounts.console import EvidenceAdmin

from . import markup
from .calls import payload_text
from .models import Event, GatewayInstance, Session
from .views import replay


class OpenFilter(admin.SimpleListFilter):
    """Sessions that are under way, or that have ended."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two states."""
        return [("open", "Open"), ("ended", "Ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        """Return the sessions in the chosen state."""
        return queryset if self.value() is None else queryset.filter(ended_at__isnull=self.value() == "open")


@admin.register(Session)
class SessionAdmin(EvidenceAdmin):
    """Spans of activity of one principal on one connection; each opens its replay."""

    list_display = ["shown_principal", "connection", "shown_client", "era", "started_at", "shown_state", "shown_replay"]
    list_filter = [OpenFilter, "era", "connection"]
    list_select_related = ["principal", "connection"]
    search_fields = ["principal__subject", "principal__display_name", "principal__email", "client_name", "=id"]
    readonly_fields = ["shown_replay", "id", "shown_client", "shown_state"]
    fieldsets = (
        (None, {"fields": ["shown_replay", "id", "principal", "connection"]}),
        ("Client, as it says", {"fields": ["shown_client", "user_agent", "remote_address"]}),
        ("Protocol", {"fields": ["era", "protocol_version"]}),
        ("Time", {"fields": ["started_at", "ended_at", "end_reason"]}),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the replay."""
        view = self.admin_site.admin_view(replay)
        return [
            path("<uuid:session_id>/replay/", view, name="gateway_sessions_session_replay"),
            path("<uuid:session_id>/replay/calls/<uuid:call_id>/", view, name="gateway_sessions_session_call"),
            *super().get_urls(),
        ]

    @display(description="Who", ordering="principal__subject")
    def shown_principal(self, session: Session) -> SafeString:
        """Name the principal."""
        return markup.visible(str(session.principal))

    @display(description="Client")
    def shown_client(self, session: Session) -> SafeString:
        """Name the client, as it names itself."""
        return markup.visible(f"{session.client_name} {session.client_version}".strip() or "not told")

    @display(description="State", ordering="ended_at", label={"open": "success"})
    def shown_state(self, session: Session) -> str:
        """Say whether the session is under way, or why it ended."""
        return "open" if session.ended_at is None else session.end_reason or "ended"

    @display(description="Replay")
    def shown_replay(self, session: Session) -> SafeString:
        """Link to the replay."""
        url = reverse("admin:gateway_sessions_session_replay", args=[session.pk])
        return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500 underline">Replay</a>', url)


@admin.register(Event)
class EventAdmin(EvidenceAdmin):
    """Entries of the record, newest first. The table grows for ever, so nothing here counts it."""

    list_display = ["seq", "at", "name", "shown_session", "call_id"]
    list_display_links = ["name"]
    list_per_page = 100
    paginator = InfinitePaginator
    show_full_result_count = False
    ordering = ["-id"]
    search_fields = ["session"]
    search_help_text = "The id of a session"
    fields = readonly_fields = [
        "seq",
        "instance",
        "at",
        "name",
        "shown_session",
        "call_id",
        "shown_body",
        "shown_payload",
        "shown_prev_hash",
        "shown_hash",
    ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Look for a session by its id, the only search that has an index."""
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(session=UUID(search_term.strip())), False
        except ValueError:
            return queryset.none(), False

    @display(description="Session")
    def shown_session(self, event: Event) -> SafeString | str:
        """Link to the replay of the event's session, at its call."""
        if event.session_id is None:
            return "none"
        url = reverse("admin:gateway_sessions_session_replay", args=[event.session_id])
        anchor = f"#call-{event.call_id}" if event.call_id else ""
        return format_html('<a href="{}{}" class="underline">{}</a>', url, anchor, event.session_id)

    @display(description="Body")
    def shown_body(self, event: Event) -> SafeString:
        """Return the body, laid out."""
        return _preformatted(markup.json_markup(event.body))

    @display(description="Masked message")
    def shown_payload(self, event: Event) -> SafeString | str:
        """Return the message, laid out."""
        text = payload_text(None if event.payload is None else bytes(event.payload))
        return "none" if text is None else _preformatted(markup.json_markup(text))

    @display(description="Hash of the event before")
    def shown_prev_hash(self, event: Event) -> str:
        """Return the hash in hexadecimal."""
        return bytes(event.prev_hash).hex()

    @display(description="Hash")
    def shown_hash(self, event: Event) -> str:
        """Return the hash in hexadecimal."""
        return bytes(event.hash).hex()


@admin.register(GatewayInstance)
class GatewayInstanceAdmin(EvidenceAdmin):
    """Gateway processes: each owns one chain of events."""

    list_display = ["host", "pid", "started_at", "heartbeat_at", "ended_at", "end_reason"]
    list_filter = ["end_reason"]
    search_fields = ["host", "=id"]


def _preformatted(content: SafeString) -> SafeString:
    return format_html('<pre class="font-mono text-xs whitespace-pre-wrap wrap-anywhere">{}</pre>', content)
