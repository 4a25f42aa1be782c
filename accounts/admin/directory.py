"""WHO, in the console: people, roles, principals, providers and groups."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoRoleAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group as Role
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import services
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.models import Group, IdentityProvider, Principal, User

admin.site.unregister(Role)
for login_model in (AccessAttempt, AccessFailureLog, AccessLog):
    admin.site.unregister(login_model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """People of the console, as Django manages them, and which principal each is on the data path."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "principal", "is_active", "is_staff", "is_superuser", "last_login"]
    list_select_related = ["principal"]
    autocomplete_fields = ["principal"]
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), ("On the data path", {"fields": ["principal"]}))


@admin.register(Role)
class RoleAdmin(DjangoRoleAdmin, ModelAdmin):
    """Sets of permissions for people of the console. Not the groups of identity providers."""


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ModelAdmin):
    """Failed logins that count towards a lock-out; deleting one lets its person try again."""

    list_display = ["attempt_time", "username", "ip_address", "failures_since_start"]
    search_fields = ["username", "ip_address"]
    fields = readonly_fields = ["attempt_time", "username", "ip_address", "failures_since_start", "user_agent"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: attempts are counted, not written."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: attempts are counted, not edited."""
        return False


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
