"""What the gateway gives out, in the console: API tokens, tokens for calls, and the keys that sign those."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts import proofs, selectors, services
from accounts.actors import person_of
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.exceptions import DomainError
from accounts.models import ApiToken, ExchangedToken, SigningKey
from accounts.scopes import SCOPES

_STATE_LABELS = {"good": "success", "expired": "info", "revoked": "danger"}
_KEY_LABELS = {"signs": "success", "waits": "info", "verifies": "info", "over": "warning"}


class ApiTokenForm(ServiceForm):
    """What a new token is for. The token itself is in `plain` once it is saved, and nowhere else."""

    scopes = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {meaning}") for name, meaning in SCOPES.items()],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="A scope gives nothing by itself: the permissions of the token's person are needed as well.",
    )
    plain: str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Both have a default that the service knows: the person at the console, and the longest life.
        for name in ("user", "expires_at"):
            if name in self.fields:
                self.fields[name].required = False

    def save_by_service(self, values: dict[str, Any], now: datetime) -> ApiToken:
        """Make the token."""
        values = {**values, "user": values.get("user") or self.actor}
        row, self.plain = services.api_token_create(**values, actor=self.actor, now=now)
        return row


@admin.register(ApiToken)
class ApiTokenAdmin(ServiceAdmin):
    """Tokens for the REST API: made, shown once, revoked. One's own need no permission."""

    form = ApiTokenForm
    list_display = ["name", "shown_prefix", "user", "shown_scopes", "expires_at", "last_used_at", "shown_state"]
    list_filter = ["expires_at"]
    list_select_related = ["user"]
    search_fields = ["name", "prefix", "user__username"]
    autocomplete_fields = ["user", "provider"]
    actions = ["revoke_selected"]
    evidence = [
        "name",
        "shown_prefix",
        "user",
        "shown_scopes",
        "provider",
        "shown_state",
        "created_at",
        "expires_at",
        "last_used_at",
        "last_used_address",
        "revoked_at",
    ]

    @display(description="Begins with")
    def shown_prefix(self, token: ApiToken) -> str:
        """Return the characters that name the token."""
        return f"{token.prefix}…"

    @display(description="Scopes")
    def shown_scopes(self, token: ApiToken) -> str:
        """Return the scopes in a line."""
        return ", ".join(token.scopes)

    @display(description="State", label=_STATE_LABELS)
    def shown_state(self, token: ApiToken) -> str:
        """Say whether the token is good."""
        if token.revoked_at is not None:
            return "revoked"
        return "good" if timezone.now() < token.expires_at else "expired"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Return one's own tokens, and with the permission those of everybody."""
        return selectors.api_tokens_visible_to(user=person_of(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask for a person only those who may make tokens for others."""
        if obj is not None:
            return self.evidence
        others = ["user"] if request.user.has_perm("accounts.add_apitoken") else []
        return ["name", "scopes", "provider", *others, "expires_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show everything of a token that is there already, and let nothing be changed."""
        return [] if obj is None else self.evidence

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Everybody may have tokens."""
        return True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Everybody may see their own; `get_queryset` holds back the others."""
        return True

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Everybody may make their own; the service refuses those for others."""
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a token is revoked and made anew."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a token that is revoked stays as evidence."""
        return False

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a token, for whoever has just proved who they are: it outlives the session at this browser."""
        if not proofs.is_recent(request, timezone.now()):
            return proofs.ask(request)
        response: HttpResponse = super().add_view(request, form_url, extra_context)
        return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and hold the token itself for the one answer that shows it."""
        super().save_model(request, obj, form, change)
        request.wardgate_plain_token = form.plain  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token, once, in an answer that nothing keeps."""
        context = {
            **self.admin_site.each_context(request),
            "title": "API token",
            "opts": self.opts,
            "token": obj,
            "plain": getattr(request, "wardgate_plain_token", ""),
        }
        response = TemplateResponse(request, "admin/accounts/apitoken/once.html", context)
        add_never_cache_headers(response)
        return response

    @admin.action(description="Revoke")
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke one by one."""
        revoked, now = 0, timezone.now()
        for token in queryset:
            try:
                services.api_token_revoke(token_id=token.pk, actor=person_of(request), now=now)
                revoked += 1
            except DomainError as error:
                self.message_user(request, f"{token}: {error}", messages.WARNING)
        self.message_user(request, f"{revoked} revoked.", messages.SUCCESS)


@admin.register(ExchangedToken)
class ExchangedTokenAdmin(EvidenceAdmin):
    """Tokens of minutes that `/oauth/token` gave out: to whom, for what, until when."""

    list_display = ["issued_at", "principal", "connection_slug", "shown_tools", "shown_actors", "address", "expires_at"]
    list_filter = ["connection_slug", "grant_type"]
    list_select_related = ["principal"]
    search_fields = ["id", "principal__subject", "principal__display_name", "connection_slug"]
    fields = readonly_fields = [
        "id",
        "principal",
        "connection_slug",
        "shown_tools",
        "shown_actors",
        "grant_type",
        "subject_digest",
        "address",
        "issued_at",
        "expires_at",
    ]

    @display(description="Tools")
    def shown_tools(self, token: ExchangedToken) -> str:
        """Return the globs in a line."""
        return ", ".join(token.tools)

    @display(description="Acting")
    def shown_actors(self, token: ExchangedToken) -> str:
        """Return who acts, the one that asked first."""
        return ", ".join(token.actors) or "the principal itself"


@admin.register(SigningKey)
class SigningKeyAdmin(EvidenceAdmin):
    """Keys of the gateway's own tokens. They change by themselves; one that somebody else may have is withdrawn."""

    list_display = ["kid", "shown_state", "signs_from", "signs_until", "published_until"]
    fields = readonly_fields = [
        "kid",
        "shown_state",
        "algorithm",
        "key_id",
        "created_at",
        "signs_from",
        "signs_until",
        "published_until",
    ]
    actions = ["withdraw_selected"]
    actions_list = ["rotate"]

    @display(description="State", label=_KEY_LABELS)
    def shown_state(self, key: SigningKey) -> str:
        """Say what the key does now."""
        return services.signing_key_state(key, timezone.now())

    def has_tend_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Tell whether the person may rotate and withdraw keys."""
        return request.user.has_perm("accounts.change_signingkey")

    @action(description="Rotate", permissions=["tend"], url_path="rotate")
    def rotate(self, request: HttpRequest) -> HttpResponse:
        """Ask first, then make the next key; the present one signs until everybody can know it."""
        if not proofs.is_recent(request, timezone.now()):
            return proofs.ask(request)
        if request.method == "POST":
            key = services.signing_key_rotate(now=timezone.now())
            self.message_user(request, f"{key.kid} signs from {key.signs_from:%Y-%m-%d %H:%M} UTC.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:accounts_signingkey_changelist"))
        context = {**self.admin_site.each_context(request), "title": "Rotate the signing key", "opts": self.opts}
        return TemplateResponse(request, "admin/accounts/signingkey/rotate.html", context)

    @admin.action(description="Withdraw at once: refuse every token that it signed", permissions=["tend"])
    def withdraw_selected(self, request: HttpRequest, queryset: QuerySet[SigningKey]) -> HttpResponse | None:
        """Withdraw one by one; the next key signs from this moment."""
        now = timezone.now()
        if not proofs.is_recent(request, now):
            return proofs.ask(request)
        for key in queryset:
            services.signing_key_withdraw(kid=key.kid, now=now)
        self.message_user(request, f"{len(queryset)} withdrawn.", messages.SUCCESS)
        return None
