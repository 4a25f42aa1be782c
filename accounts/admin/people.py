"""WHO, in the console: its people, the roles they hold, where they are logged in, and failed logins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group as PermissionSet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import services
from accounts.console import ServiceAdmin, ServiceForm
from accounts.models import RoleGrant, User

# Django's own sets of permissions: here roles decide, and a second way to give permissions would go unnoticed.
admin.site.unregister(PermissionSet)
for login_model in (AccessAttempt, AccessFailureLog, AccessLog):
    admin.site.unregister(login_model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """People of the console. Their permissions follow from roles; only emergency accounts are superusers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "principal", "is_active", "is_break_glass", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_break_glass", "is_superuser"]
    list_select_related = ["principal"]
    autocomplete_fields = ["principal"]
    filter_horizontal = ()
    readonly_fields = ["role_names", "last_login", "date_joined", "signed_out_at"]
    fieldsets = (
        (None, {"fields": ["username", "password"]}),
        ("Who", {"fields": ["first_name", "last_name", "email", "principal"]}),
        ("What they may do", {"fields": ["role_names", "is_active", "is_staff", "is_break_glass", "is_superuser"]}),
        ("When", {"fields": ["last_login", "date_joined", "signed_out_at"]}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Let nobody but a superuser make one, or let an account log in with a password."""
        fixed = list(super().get_readonly_fields(request, obj))
        user: Any = request.user
        return fixed if user.is_superuser else [*fixed, "is_superuser", "is_break_glass"]

    def _is_above(self, request: HttpRequest, obj: Any) -> bool:
        """Tell whether the person on this page has more than the one who looks at it."""
        user: Any = request.user
        return obj is not None and obj.is_superuser and not user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser changes a superuser: whoever sets their password is one."""
        return super().has_change_permission(request, obj) and not self._is_above(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser deletes a superuser."""
        return super().has_delete_permission(request, obj) and not self._is_above(request, obj)


class RoleGrantForm(ServiceForm):
    """Values of a role grant."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> RoleGrant:
        """Save the role grant."""
        return services.role_grant_save(role_grant_id=self.row_id, **values, now=now)


@admin.register(RoleGrant)
class RoleGrantAdmin(ServiceAdmin):
    """Which role the members of a group, or one person, have in this console."""

    form = RoleGrantForm
    list_display = ["role", "group", "user", "created_at"]
    list_filter = ["role", "group__provider"]
    list_select_related = ["group__provider", "user"]
    search_fields = ["group__name", "user__username"]
    autocomplete_fields = ["group", "user"]
    fields = ["role", "group", "user"]

    def delete_by_service(self, row: RoleGrant) -> None:
        """Take the role away."""
        services.role_grant_delete(role_grant_id=row.pk, now=timezone.now())


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
