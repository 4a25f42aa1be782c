"""WHAT HAPPENED, in the console: evidence, read only, and the way to a session's replay."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.proof_pages import ProofAdmin

from . import (
    admin_checkpoints,  # noqa: F401  (registers its pages)
    admin_exports,  # noqa: F401  (registers its pages)
    admin_recordings,  # noqa: F401  (registers its pages)
    markup,
    reading,
    selectors,
    views,
)
from .calls import payload_text
from .models import Event, GatewayInstance, ReadEvent, RecordAccess, SavedView, Session, SessionStop
from .search_views import search_page


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
        """Add the replay and the search."""
        of_call = "<uuid:session_id>/replay/calls/<uuid:call_id>/"
        places = {
            "search": ("search/", search_page),
            "replay": ("<uuid:session_id>/replay/", views.replay),
            "tail": ("<uuid:session_id>/replay/tail/", views.tail),
            "end": ("<uuid:session_id>/replay/end/", views.end),
            "call": (of_call, views.call_page),
            "panel": (f"{of_call}panel/", views.panel),
            "message": (f"{of_call}messages/<int:number>/", views.message),
        }
        return [
            *(
                path(route, self.admin_site.admin_view(view), name=f"gateway_sessions_session_{name}")
                for name, (route, view) in places.items()
            ),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """Return the sessions that the person may see."""
        return selectors.sessions_visible_to(user=request.user)  # type: ignore[arg-type]

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
        if event.call_id is None:
            url = reverse("admin:gateway_sessions_session_replay", args=[event.session_id])
        else:
            url = reverse("admin:gateway_sessions_session_call", args=[event.session_id, event.call_id])
        return format_html('<a href="{}" class="underline">{}</a>', url, event.session_id)

    def changeform_view(self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Show one event; who looks is recorded first."""
        if object_id is not None and request.user.has_perm("gateway_sessions.view_event"):
            reading.reading_add(
                reader=reading.reader_of(request),
                kind=ReadEvent.Kind.EVENT,
                detail=f"event {object_id}",
                now=timezone.now(),
            )
        return super().changeform_view(request, object_id, *args, **kwargs)

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


@admin.register(ReadEvent)
class ReadEventAdmin(EvidenceAdmin):
    """Who looked at the record: one chain, newest first. The table grows for ever, so nothing here counts it."""

    list_display = ["seq", "at", "username", "kind", "shown_session", "shown_detail", "via", "address"]
    list_display_links = ["seq"]
    list_filter = ["kind"]
    list_per_page = 100
    paginator = InfinitePaginator
    show_full_result_count = False
    ordering = ["-seq"]
    search_fields = ["username", "detail"]
    fields = readonly_fields = [
        "seq",
        "at",
        "kind",
        "username",
        "user_id",
        "via",
        "address",
        "shown_session",
        "call_id",
        "shown_detail",
        "shown_hash",
    ]

    @display(description="Session")
    def shown_session(self, row: ReadEvent) -> SafeString | str:
        """Link to the replay."""
        if row.session_id is None:
            return "none"
        url = reverse("admin:gateway_sessions_session_replay", args=[row.session_id])
        return format_html('<a href="{}" class="underline">{}</a>', url, row.session_id)

    @display(description="What")
    def shown_detail(self, row: ReadEvent) -> SafeString:
        """Return what was searched for, exported, or why."""
        return markup.visible(row.detail)

    @display(description="Hash")
    def shown_hash(self, row: ReadEvent) -> str:
        """Return the hash in hexadecimal."""
        return bytes(row.hash).hex()


@admin.register(SessionStop)
class SessionStopAdmin(EvidenceAdmin):
    """Sessions that a person has ended: who, when and why."""

    list_display = ["at", "session", "username", "shown_reason"]
    list_select_related = ["session__principal", "session__connection"]
    search_fields = ["username", "reason"]
    fields = readonly_fields = ["at", "session", "username", "user_id", "shown_reason"]

    @display(description="Reason")
    def shown_reason(self, row: SessionStop) -> SafeString:
        """Return why."""
        return markup.visible(row.reason)


class SavedViewForm(ServiceForm):
    """A search to keep."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> SavedView:
        """Save the view of the person at the console."""
        return reading.saved_view_save(view_id=self.row_id, owner=self.actor, **values, now=now)


@admin.register(SavedView)
class SavedViewAdmin(ServiceAdmin):
    """One's own saved searches."""

    form = SavedViewForm
    list_display = ["name", "query", "is_shared", "updated_at"]
    fields = ["name", "query", "is_shared"]
    search_fields = ["name", "query"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SavedView]:
        """Return the views of the person; those that others share are on the page of the search."""
        return selectors.saved_views_visible_to(user=request.user).filter(owner=request.user.pk)  # type: ignore[arg-type]

    def delete_by_service(self, row: SavedView) -> None:
        """Delete the view."""
        reading.saved_view_delete(view_id=row.pk, owner=row.owner)


class RecordAccessForm(ServiceForm):
    """Whose sessions a person sees."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> RecordAccess:
        """Save the access."""
        return reading.record_access_save(access_id=self.row_id, **values, now=now)


@admin.register(RecordAccess)
class RecordAccessAdmin(ProofAdmin, ServiceAdmin):
    """Who sees the sessions of which connection, without seeing all."""

    form = RecordAccessForm
    list_display = ["user", "connection", "sees_contents", "created_at"]
    list_filter = ["sees_contents", "connection"]
    list_select_related = ["user", "connection"]
    autocomplete_fields = ["user", "connection"]
    search_fields = ["user__username", "connection__name"]
    fields = ["user", "connection", "sees_contents"]

    def delete_by_service(self, row: RecordAccess) -> None:
        """Take the access away."""
        reading.record_access_delete(access_id=row.pk)


def _preformatted(content: SafeString) -> SafeString:
    return format_html('<pre class="font-mono text-xs whitespace-pre-wrap wrap-anywhere">{}</pre>', content)
