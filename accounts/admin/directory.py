"""WHO, in the console: principals, providers and groups."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from unfold.decorators import display

from accounts import services
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.models import Group, IdentityProvider, Principal


class ProviderForm(ServiceForm):
    """Values of an identity provider."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> IdentityProvider:
        """Save the provider."""
        return services.provider_save(provider_id=self.row_id, **values, now=now)


@admin.register(IdentityProvider)
class IdentityProviderAdmin(ServiceAdmin):
    """Whose tokens the gateway accepts, and how they are checked."""

    form = ProviderForm
    entries = ["audiences", "algorithms", "token_types", "allowed_networks"]
    list_display = ["name", "issuer", "shown_key_source", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["name", "issuer"]
    fieldsets = (
        (None, {"fields": ["name", "issuer", "is_active"]}),
        ("Keys", {"fields": ["jwks_url", "allowed_networks", "pinned_jwks", "algorithms"]}),
        (
            "Claims",
            {
                "fields": [
                    "audiences",
                    "token_types",
                    "groups_claim",
                    "max_token_seconds",
                    "leeway_seconds",
                    "requires_nbf",
                ]
            },
        ),
    )

    @display(description="Keys from")
    def shown_key_source(self, provider: IdentityProvider) -> str:
        """Say where the signing keys come from."""
        if provider.pinned_jwks is not None:
            return "pinned key set"
        return provider.jwks_url or "discovery"

    def delete_by_service(self, row: IdentityProvider) -> None:
        """Delete the provider."""
        services.provider_delete(provider_id=row.pk)


class GroupForm(ServiceForm):
    """Values of a group."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Group:
        """Save the group."""
        return services.group_save(group_id=self.row_id, **values, now=now)


@admin.register(Group)
class GroupAdmin(ServiceAdmin):
    """Groups as providers name them in their tokens."""

    form = GroupForm
    list_display = ["name", "provider", "description"]
    list_filter = ["provider"]
    list_select_related = ["provider"]
    search_fields = ["name", "description"]
    fields = ["provider", "name", "description"]

    def delete_by_service(self, row: Group) -> None:
        """Delete the group."""
        services.group_delete(group_id=row.pk)


@admin.register(Principal)
class PrincipalAdmin(EvidenceAdmin):
    """Who has acted on the data path. A principal appears with its first verified token."""

    list_display = ["__str__", "issuer", "subject", "email", "kind", "last_seen"]
    list_filter = ["kind"]
    search_fields = ["issuer", "subject", "display_name", "email"]
    fields = readonly_fields = [
        "issuer",
        "subject",
        "display_name",
        "email",
        "kind",
        "first_seen",
        "last_seen",
    ]
