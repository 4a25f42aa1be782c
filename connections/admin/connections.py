"""WHERE TO, in the console: connections, and credentials that nobody reads back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts.console import ServiceAdmin, ServiceForm
from accounts.exceptions import DomainError
from accounts.lock_link import Lockable
from accounts.proof_pages import ProofAdmin
from connections import selectors, services
from connections.models import Connection, Credential


class ConnectionForm(ServiceForm):
    """Values of a connection."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Connection:
        """Save the connection."""
        return services.connection_save(connection_id=self.row_id, **values, now=now)


@admin.register(Connection)
class ConnectionAdmin(Lockable, ServiceAdmin):
    """Upstream MCP servers, and what they may ask of the client."""

    lock_kind = "connection"
    form = ConnectionForm
    entries = ["allowed_networks", "labels", "taints"]
    list_display = ["name", "shown_path", "upstream_url", "shown_credential", "is_active"]
    list_filter = ["is_active"]
    list_select_related = ["credential"]
    search_fields = ["name", "slug", "upstream_url"]
    autocomplete_fields = ["owners"]
    readonly_fields = ["shown_path", "shown_credential", "created_at", "updated_at"]
    change_form_outer_before_template = "admin/connections/connection/before.html"
    fieldsets = (
        (None, {"fields": ["name", "slug", "shown_path", "owners", "is_active"]}),
        ("Upstream", {"fields": ["upstream_url", "shown_credential", "allowed_networks", "timeout_seconds"]}),
        ("For rules", {"fields": ["labels", "taints", "pins_tools"]}),
        (
            "What the upstream may ask of the client",
            {"fields": ["allows_sampling", "allows_elicitation", "allows_roots"]},
        ),
        ("History", {"fields": ["created_at", "updated_at"]}),
    )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead from a connection to its tools, for those who may see them."""
        user: Any = request.user
        connection = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if connection is not None and user.has_perm("connections.view_tool"):
            waiting = selectors.tools_to_review().filter(connection=connection)
            context = {
                "tools": connection.tools.count(),
                "waiting": waiting.count() if user.has_perm("connections.change_tool") else 0,
                "may_forget": user.has_perm("connections.delete_tool"),
            }
        answer: HttpResponse = super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})
        return answer

    @display(description="Clients use")
    def shown_path(self, connection: Connection) -> str:
        """Return the URL that clients use."""
        return selectors.client_url(connection) if connection.slug else "told after saving"

    @display(description="Credential", label={"none": "warning"})
    def shown_credential(self, connection: Connection) -> str:
        """Say which kind of credential there is; never anything of the secret."""
        credential = getattr(connection, "credential", None)
        return f"{credential.get_kind_display()}, version {credential.version}" if credential else "none"

    def delete_by_service(self, row: Connection) -> None:
        """Delete the connection."""
        services.connection_delete(connection_id=row.pk)


class CredentialForm(ServiceForm):
    """A new secret for a connection. What is stored is never part of the form."""

    secret = forms.CharField(
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text="Sealed when saved. Nobody can read it back: to change anything here, give the secret again.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Credential:
        """Seal the secret; an earlier one is replaced."""
        connection = values.get("connection") or self.instance.connection
        given = {name: values[name] for name in ("kind", "header_name", "secret")}
        return services.credential_set(connection=connection, **given, now=now)


@admin.register(Credential)
class CredentialAdmin(ProofAdmin, ServiceAdmin):
    """Secrets of connections: set, replaced and deleted here, never shown."""

    form = CredentialForm
    list_display = ["connection", "kind", "header_name", "version", "key_id", "rotated_at"]
    list_filter = ["kind"]
    list_select_related = ["connection"]
    search_fields = ["connection__name", "connection__slug"]
    actions = ["rewrap_selected"]
    fields = ["connection", "kind", "header_name", "secret", "version", "key_id", "rotated_at"]
    readonly_fields = ["version", "key_id", "rotated_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Credential | None = None) -> list[str]:
        """Keep a credential with its connection: the seal is bound to it."""
        return [*self.readonly_fields, *(["connection"] if obj else [])]

    def get_fields(self, request: HttpRequest, obj: Credential | None = None) -> list[str]:
        """Show what is known of the stored secret only where there is one."""
        return list(self.fields) if obj else [name for name in self.fields if name not in self.readonly_fields]

    @admin.action(description="Seal again under the first master key", permissions=["change"])
    def rewrap_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Rewrap one by one, and say which could not be."""
        rewrapped = 0
        for credential in queryset:
            try:
                services.credential_rewrap(credential_id=credential.pk)
                rewrapped += 1
            except DomainError as error:
                self.message_user(request, f"{credential}: {error}", messages.WARNING)
        self.message_user(request, f"{rewrapped} of {len(queryset)} sealed under the first master key.")

    def delete_by_service(self, row: Credential) -> None:
        """Delete the credential."""
        services.credential_delete(credential_id=row.pk)
