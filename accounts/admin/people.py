"""WHO, in the console: its people, the roles they hold, where they are logged in, and failed logins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group as PermissionSet
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts import proofs, services
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.exceptions import DomainError
from accounts.models import ConsoleSession, LoginClient, RoleGrant, User
from accounts.oidc import redirect_uri
from accounts.proof_pages import ProofAdmin
from accounts.services import factors, login_clients

# Django's own sets of permissions: here roles decide, and a second way to give permissions would go unnoticed.
admin.site.unregister(PermissionSet)
for login_model in (AccessAttempt, AccessFailureLog, AccessLog):
    admin.site.unregister(login_model)


@admin.register(User)
class UserAdmin(ProofAdmin, DjangoUserAdmin, ModelAdmin):
    """People of the console. Their permissions follow from roles; only emergency accounts are superusers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "principal", "is_active", "is_break_glass", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_break_glass", "is_superuser"]
    list_select_related = ["principal"]
    autocomplete_fields = ["principal"]
    filter_horizontal = ()
    actions = ["sign_out_selected", "forget_factors_of_selected"]
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

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set a password, after a proof."""
        if self._must_ask(request):
            return proofs.ask(request)
        return super().user_change_password(request, id, form_url)

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """End every login of the selected people."""
        now = timezone.now()
        ended = sum(services.console_sessions_end(user=user, now=now) for user in self._reachable(request, queryset))
        self.message_user(request, f"{ended} logins ended.", messages.SUCCESS)

    @admin.action(description="Forget second factors", permissions=["change"])
    def forget_factors_of_selected(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let people who lost their factors enrol new ones at their next login, and end the logins they have."""
        people = self._reachable(request, queryset)
        for user in people:
            factors.factors_forget(user=user)
            services.console_sessions_end(user=user, now=timezone.now())
        self.message_user(request, f"The second factors of {len(people)} accounts are forgotten.", messages.SUCCESS)

    def _reachable(self, request: HttpRequest, queryset: QuerySet[User]) -> list[User]:
        return [user for user in queryset if not self._is_above(request, user)]


class RoleGrantForm(ServiceForm):
    """Values of a role grant."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> RoleGrant:
        """Save the role grant."""
        return services.role_grant_save(role_grant_id=self.row_id, **values, now=now)


@admin.register(RoleGrant)
class RoleGrantAdmin(ProofAdmin, ServiceAdmin):
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


class LoginClientForm(ServiceForm):
    """Values of a login client. What is stored of the secret is never part of the form."""

    secret = forms.CharField(
        strip=False,
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text="Sealed when saved, and read back by nobody. Empty: the one that is there stays; a client that never "
        "had one is public and relies on PKCE.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> LoginClient:
        """Save the client."""
        return login_clients.login_client_save(login_client_id=self.row_id, **values, now=now)


@admin.register(LoginClient)
class LoginClientAdmin(ProofAdmin, ServiceAdmin):
    """At which OpenID providers people log in to this console, and as which client it is known there."""

    form = LoginClientForm
    entries = ["scopes"]
    list_display = ["provider", "client_id", "is_active", "shown_secret", "key_id"]
    list_select_related = ["provider"]
    search_fields = ["provider__name", "client_id"]
    autocomplete_fields = ["provider"]
    actions = ["reseal_selected"]
    fields = ["provider", "client_id", "secret", "scopes", "is_active", "shown_redirect", "shown_secret"]
    readonly_fields = ["shown_redirect", "shown_secret"]

    @display(description="Secret")
    def shown_secret(self, row: LoginClient) -> str:
        """Say whether there is one, and no more."""
        return "sealed" if row.ciphertext is not None else "none: a public client"

    @display(description="Redirect URI to register at the provider")
    def shown_redirect(self, row: LoginClient) -> str:
        """Say where the provider sends people back; it is known once the client is saved."""
        return "shown when this was saved" if row._state.adding else redirect_uri(row)

    @admin.action(description="Seal again under the first master key", permissions=["change"])
    def reseal_selected(self, request: HttpRequest, queryset: QuerySet[LoginClient]) -> None:
        """Seal the selected secrets and those of all second factors again, and say which could not be."""
        level = messages.SUCCESS
        for row in queryset:
            try:
                login_clients.login_client_reseal(login_client_id=row.pk)
            except DomainError as error:
                level = messages.WARNING
                self.message_user(request, f"{row}: {error}", level)
        try:
            moved, stuck = factors.factor_secrets_seal_again()
        except DomainError as error:
            self.message_user(request, str(error), messages.WARNING)
            return
        if stuck:
            level = messages.WARNING
            self.message_user(request, f"{stuck} second factors do not open: is a master key missing?", level)
        if level == messages.SUCCESS:
            text = f"All of them are sealed again, and {moved} second factors."
        else:
            text = f"The others are sealed again, and {moved} second factors. Keep the older master key until all are."
        self.message_user(request, text, level)

    def delete_by_service(self, row: LoginClient) -> None:
        """Delete the client."""
        login_clients.login_client_delete(login_client_id=row.pk)


@admin.register(ConsoleSession)
class ConsoleSessionAdmin(EvidenceAdmin):
    """Logins to the console. They are ended here and never edited."""

    list_display = ["user", "method", "issuer", "address", "began_at", "shown_proof", "ended_at"]
    list_filter = ["method", ("ended_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user"]
    search_fields = ["user__username", "subject", "address"]
    fields = readonly_fields = [
        "user",
        "method",
        "issuer",
        "subject",
        "address",
        "user_agent",
        "began_at",
        "shown_proof",
        "ended_at",
    ]
    actions = ["end_selected"]

    @display(description="Last proof", ordering="authenticated_at")
    def shown_proof(self, row: ConsoleSession) -> str:
        """Say when its person last proved who they are, for dangerous actions."""
        at = row.authenticated_at
        return "not known" if at == services.NEVER_PROVED else f"{at:%Y-%m-%d %H:%M} UTC"

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may end logins of others."""
        return request.user.has_perm("accounts.change_consolesession")

    @admin.action(description="End", permissions=["end"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[ConsoleSession]) -> None:
        """End the selected logins; each is over with its next request."""
        now = timezone.now()
        ended = sum(services.console_session_end(session_id=row.pk, now=now) for row in queryset)
        self.message_user(request, f"{ended} ended.", messages.SUCCESS)


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
