"""Identity providers, in the console: presets to begin with, their keys on demand, and the test of a token."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from accounts import provider_keys, selectors, services, verifying
from accounts.console import ServiceAdmin, ServiceForm
from accounts.lock_link import Lockable
from accounts.models import IdentityProvider
from accounts.presets import PRESETS
from accounts.proof_pages import ProofAdmin
from accounts.tokens import TOKEN_BYTES
from accounts.values import provider_value


class DocumentField(forms.JSONField):
    """A JSON document, laid out for reading; none is an empty field."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 5, "spellcheck": "false", "class": "font-mono"})

    def prepare_value(self, value: Any) -> Any:
        """Return the text to edit."""
        if value is None:
            return ""
        return (
            json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else super().prepare_value(value)
        )


class ProviderForm(ServiceForm):
    """Values of an identity provider. The introspection secret goes in and never comes out."""

    preset = forms.ChoiceField(
        required=False,
        choices=[("", "None"), *((preset.key, preset.title) for preset in PRESETS.values())],
        widget=UnfoldAdminSelectWidget(),
        help_text="The profile that the values were taken from; display only.",
    )
    pinned_jwks = DocumentField(
        required=False, label="Pinned JWKS", help_text="A JSON Web Key Set to use instead of fetching one."
    )
    required_claims = DocumentField(
        required=False,
        help_text='Claims that must be there with one of these texts, such as {"repository_owner": ["acme"]}.',
    )
    introspection_secret = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text="Sealed when saved. Empty keeps the one that is there.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> IdentityProvider:
        """Save the provider."""
        return services.provider_save(provider_id=self.row_id, **values, now=now)


class TokenForm(forms.Form):
    """A token to test. It is judged and forgotten."""

    token = forms.CharField(
        max_length=4 * TOKEN_BYTES,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off", "class": "font-mono"}
        ),
        help_text="Paste an access token. It is judged and forgotten: neither stored nor logged.",
    )
    audience = forms.CharField(
        required=False,
        max_length=500,
        label="URL of the connection",
        widget=UnfoldAdminTextInputWidget(attrs={"spellcheck": "false", "autocomplete": "off"}),
        help_text="What clients call, accepted as audience besides those of the provider. May be empty.",
    )


@admin.register(IdentityProvider)
class IdentityProviderAdmin(Lockable, ProofAdmin, ServiceAdmin):
    """Whose tokens the gateway accepts, and how they are checked."""

    lock_kind = "provider"
    form = ProviderForm
    entries = [
        "audiences",
        "algorithms",
        "token_types",
        "allowed_networks",
        "authorized_parties",
        "tenants",
        "condition_claims",
    ]
    change_form_outer_before_template = "admin/accounts/identityprovider/before.html"
    list_display = ["name", "issuer", "shown_key_source", "preset", "is_active"]
    list_filter = ["is_active", "preset", "principal_kind"]
    search_fields = ["name", "issuer"]
    readonly_fields = ["keys_flushed_at"]
    fieldsets = (
        (None, {"fields": ["name", "issuer", "preset", "is_active"]}),
        ("Keys", {"fields": ["jwks_url", "allowed_networks", "pinned_jwks", "algorithms", "keys_flushed_at"]}),
        (
            "For whom a token is made",
            {
                "fields": [
                    "audiences",
                    "token_types",
                    "authorized_parties",
                    "tenant_claim",
                    "tenants",
                    "required_claims",
                ]
            },
        ),
        ("For whom a token speaks", {"fields": ["subject_claim", "name_claim", "principal_kind", "condition_claims"]}),
        (
            "Groups",
            {
                "fields": [
                    "groups_claim",
                    "roles_claim",
                    "missing_groups_are_unknown",
                    "uses_directory",
                    "scim_subject",
                    "scim_group_name",
                ]
            },
        ),
        ("Time", {"fields": ["max_token_seconds", "leeway_seconds", "requires_nbf", "dormant_days"]}),
        (
            "Introspection",
            {"fields": ["introspection_url", "introspection_client_id", "introspection_secret"]},
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the page on keys and the test of a token."""
        view = self.admin_site.admin_view
        return [
            path("<uuid:provider_id>/keys/", view(self.keys_view), name="accounts_identityprovider_keys"),
            path("<uuid:provider_id>/test-token/", view(self.token_view), name="accounts_identityprovider_test_token"),
            *super().get_urls(),
        ]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill the form with the values of the preset that was chosen."""
        preset = PRESETS.get(request.GET.get("preset", ""))
        return dict(preset.values) if preset else super().get_changeform_initial_data(request)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Offer the presets where a provider is added."""
        offered = (
            {} if object_id else {"presets": PRESETS.values(), "preset": PRESETS.get(request.GET.get("preset", ""))}
        )
        return super().changeform_view(request, object_id, form_url, {**offered, **(extra_context or {})})

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    def keys_view(self, request: HttpRequest, provider_id: UUID) -> HttpResponse:
        """Show where the keys come from; on POST forget those that are cached, fetch them, and say what was found."""
        provider = self._visible(request, provider_id)
        found = None
        if request.method == "POST":
            if not self.has_change_permission(request, provider):
                raise PermissionDenied
            provider = services.provider_keys_flush(provider_id=provider.pk, now=timezone.now())
            found = provider_keys.look(provider_value(provider))
        context = {"may_fetch": self.has_change_permission(request, provider), "found": found}
        return self._page(request, "keys", provider, "Keys", context)

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    @method_decorator(sensitive_post_parameters("token"))
    @sensitive_variables("form", "raw", "sent")
    def token_view(self, request: HttpRequest, provider_id: UUID) -> HttpResponse:
        """Ask for a token; on POST say claim by claim why it would be accepted or refused. The page never holds it."""
        provider = self._visible(request, provider_id)
        report = None
        form = TokenForm(initial={"audience": f"{settings.WARDGATE_PUBLIC_URL}/mcp/"})
        if request.method == "POST":
            sent = request.POST.copy()
            form = TokenForm(sent)
            if form.is_valid():
                raw = form.cleaned_data["token"].strip().removeprefix("Bearer ").encode("utf-8", "replace")
                audience = form.cleaned_data["audience"]
                report = verifying.explained(raw, row=provider, audience=audience, now=time.time())
                form = TokenForm(initial={"audience": audience})
            else:
                sent["token"] = ""
        groups = getattr(report.verdict, "groups", None) if report else None
        context = {"form": form, "report": report, "groups": None if groups is None else sorted(groups)}
        return self._page(request, "test_token", provider, "Test a token", context)

    def _visible(self, request: HttpRequest, provider_id: UUID) -> IdentityProvider:
        if not self.has_view_permission(request):
            raise PermissionDenied
        user: Any = request.user
        return get_object_or_404(selectors.providers_visible_to(user=user), pk=provider_id)

    def _page(
        self, request: HttpRequest, template: str, provider: IdentityProvider, title: str, context: dict[str, Any]
    ) -> HttpResponse:
        everywhere = self.admin_site.each_context(request)
        about = {"title": title, "subtitle": str(provider), "provider": provider, "opts": self.opts}
        place = f"admin/accounts/identityprovider/{template}.html"
        return TemplateResponse(request, place, {**everywhere, **about, **context})

    @display(description="Keys from")
    def shown_key_source(self, provider: IdentityProvider) -> str:
        """Say where the signing keys come from."""
        if provider.pinned_jwks is not None:
            return "pinned key set"
        return provider.jwks_url or "discovery"

    def delete_by_service(self, row: IdentityProvider) -> None:
        """Delete the provider."""
        services.provider_delete(provider_id=row.pk)
