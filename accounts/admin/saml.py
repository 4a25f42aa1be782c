"""WHO, in the console: SAML identity providers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts import services
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.models import SamlAssertion, SamlProvider, SamlRequest
from accounts.proof_pages import ProofAdmin
from accounts.saml.certificates import describe
from accounts.services.saml import saml_places


class CertificatesField(forms.Field):
    """Certificates in PEM, edited as one text."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false", "class": "font-mono"})

    def prepare_value(self, value: Any) -> Any:
        """Return the text to edit."""
        return "".join(str(entry) for entry in value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> list[str]:
        """Return what was written as one entry, which the service takes apart."""
        text = str(value or "").strip()
        return [text] if text else []

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether the certificates differ."""
        return str(self.prepare_value(initial) or "").split() != str(data or "").split()


class SamlProviderForm(ServiceForm):
    """Values of a SAML identity provider."""

    metadata = forms.CharField(
        required=False,
        strip=True,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false", "class": "font-mono"}),
        help_text="Paste the identity provider's metadata (XML): entity id, URLs and certificates are taken from it.",
    )
    certificates = CertificatesField(
        required=False, help_text="Signing certificates in PEM; old and new one below the other during a change."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Metadata may bring them; the service refuses a row without.
        for name in ("entity_id", "sso_url"):
            if name in self.fields:
                self.fields[name].required = False

    def save_by_service(self, values: dict[str, Any], now: datetime) -> SamlProvider:
        """Save the provider."""
        return services.saml_provider_save(saml_provider_id=self.row_id, **values, now=now)


@admin.register(SamlProvider)
class SamlProviderAdmin(ProofAdmin, ServiceAdmin):
    """Identity providers that vouch with SAML assertions, and what their administrators have to enter for us."""

    form = SamlProviderForm
    list_display = ["name", "provider", "entity_id", "allows_console_login", "allows_token_exchange", "is_active"]
    list_filter = ["is_active"]
    list_select_related = ["provider"]
    search_fields = ["name", "entity_id"]
    autocomplete_fields = ["provider"]
    readonly_fields = ["shown_places", "shown_certificates"]
    fieldsets = (
        (None, {"fields": ["name", "provider", "is_active"]}),
        ("What to enter at the identity provider", {"fields": ["shown_places"]}),
        (
            "What the identity provider says of itself",
            {"fields": ["metadata", "entity_id", "sso_url", "slo_url", "certificates", "shown_certificates"]},
        ),
        (
            "How its assertions are read",
            {"fields": ["subject_attribute", "groups_attribute", "name_attribute", "email_attribute"]},
        ),
        ("What its assertions are for", {"fields": ["allows_console_login", "allows_token_exchange"]}),
    )

    @display(description="Our side")
    def shown_places(self, row: SamlProvider | None) -> str | SafeString:
        """Show our URLs, to copy."""
        if row is None or row._state.adding:
            return "Save first: the URLs hold the id of this row."
        places = saml_places(row.pk)
        entries = (
            ("Entity id and metadata", places.entity_id),
            ("Assertion consumer service (HTTP-POST)", places.acs),
            ("Single logout service", places.slo),
        )
        return format_html("<dl>{}</dl>", format_html_join("", "<dt>{}</dt><dd><code>{}</code></dd>", entries))

    @display(description="Read as")
    def shown_certificates(self, row: SamlProvider | None) -> str | SafeString:
        """Show what the saved certificates are, to compare with the identity provider's pages."""
        if row is None or row._state.adding or not row.certificates:
            return "-"
        now = timezone.now()
        found = [describe(certificate, now) for certificate in row.certificates]
        lines = (
            (one.subject, one.key, one.fingerprint, f"{one.not_after:%Y-%m-%d}", f" {one.warning}".rstrip())
            for one in found
        )
        body = format_html_join("", "<li>{}, {}<br>SHA-256 <code>{}</code><br>until {}.<strong>{}</strong></li>", lines)
        return format_html("<ul>{}</ul>", body)

    def delete_by_service(self, row: SamlProvider) -> None:
        """Delete the provider."""
        services.saml_provider_delete(saml_provider_id=row.pk)


@admin.register(SamlRequest)
class SamlRequestAdmin(EvidenceAdmin):
    """Logins that are under way or were finished lately. What an answer proved is not shown."""

    list_display = ["request_id", "saml_provider", "created_at", "answered_at", "used_at"]
    list_filter = ["saml_provider"]
    list_select_related = ["saml_provider"]
    ordering = ["-created_at"]
    fields = readonly_fields = [
        "request_id",
        "saml_provider",
        "next_path",
        "is_proof",
        "created_at",
        "expires_at",
        "answered_at",
        "used_at",
    ]


@admin.register(SamlAssertion)
class SamlAssertionAdmin(EvidenceAdmin):
    """Messages that were accepted once and never will be again, as long as they have to be remembered."""

    list_display = fields = readonly_fields = ["assertion_id", "saml_provider", "used_at", "expires_at"]
    list_filter = ["saml_provider"]
    list_select_related = ["saml_provider"]
    search_fields = ["assertion_id"]
    ordering = ["-used_at"]
