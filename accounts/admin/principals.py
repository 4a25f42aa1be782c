"""Principals, in the console: evidence that stays as it is, and what a person says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts import services
from accounts.console import ServiceAdmin, ServiceForm
from accounts.lock_link import Lockable
from accounts.models import Principal
from accounts.services.principals import has_evidence


class PrincipalForm(ServiceForm):
    """What a person says of a principal."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Principal:
        """Save the principal."""
        return services.principal_save(principal_id=self.row_id, **values, now=now)


@admin.register(Principal)
class PrincipalAdmin(Lockable, ServiceAdmin):
    """Who acts on the data path. A principal appears with its first verified token, or is declared before it."""

    lock_kind = "principal"
    form = PrincipalForm
    actions = None
    list_display = ["__str__", "issuer", "subject", "kind", "owner", "last_seen", "last_address", "last_client"]
    list_filter = ["kind", "is_kind_fixed", "issuer"]
    list_select_related = ["owner"]
    search_fields = ["issuer", "subject", "display_name", "email", "notes"]
    autocomplete_fields = ["owner"]
    readonly_fields = ["display_name", "email", "first_seen", "last_seen", "last_address", "last_client"]
    fieldsets = (
        (None, {"fields": ["issuer", "subject", "display_name", "email"]}),
        ("What a person says", {"fields": ["kind", "is_kind_fixed", "owner", "notes"]}),
        ("Seen", {"fields": ["first_seen", "last_seen", "last_address", "last_client"]}),
    )
    add_fieldsets = ((None, {"fields": ["issuer", "subject", "kind", "owner", "notes"]}),)

    def get_fieldsets(self, request: HttpRequest, obj: Principal | None = None) -> Any:
        """Ask for less where a principal is declared: nothing has been seen of it yet."""
        return self.fieldsets if obj else self.add_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Principal | None = None) -> list[str]:
        """Keep the key of a principal, by which tokens and evidence know it."""
        return [*self.readonly_fields, *(["issuer", "subject"] if obj else [])]

    def has_delete_permission(self, request: HttpRequest, obj: Principal | None = None) -> bool:
        """Only for a principal that was declared and has left no evidence."""
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or not has_evidence(obj)

    def delete_by_service(self, row: Principal) -> None:
        """Delete the principal."""
        services.principal_delete(principal_id=row.pk)
