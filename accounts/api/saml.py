"""WHO, over REST: SAML identity providers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts import selectors, services
from accounts.models import SamlProvider
from accounts.proof_pages import ProofViewSet
from accounts.rest import ServiceViewSet, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method
from accounts.saml.certificates import MAX_CHARACTERS, describe
from accounts.saml.checks import MESSAGE_BYTES
from accounts.services.saml import saml_places


class CertificateSerializer(serializers.Serializer):
    """A certificate as it was read."""

    subject = serializers.CharField()
    key = serializers.CharField()
    fingerprint = serializers.CharField()
    not_after = serializers.DateTimeField()
    warning = serializers.CharField()


class PlacesSerializer(serializers.Serializer):
    """What the identity provider's administrator has to enter for us."""

    entity_id = serializers.CharField()
    acs = serializers.CharField()
    slo = serializers.CharField()


class SamlProviderSerializer(StrictModelSerializer):
    """A SAML identity provider."""

    metadata = serializers.CharField(
        required=False,
        allow_blank=True,
        write_only=True,
        max_length=MESSAGE_BYTES,
        help_text="The identity provider's metadata; its entity id, URLs and certificates are taken from it.",
    )
    entity_id = serializers.CharField(required=False, allow_blank=True, max_length=500)
    sso_url = serializers.CharField(required=False, allow_blank=True, max_length=500)
    certificates = serializers.ListField(
        child=serializers.CharField(max_length=MAX_CHARACTERS), required=False, help_text="In PEM."
    )
    certificate_details = serializers.SerializerMethodField()
    service_provider = serializers.SerializerMethodField()

    class Meta:
        model = SamlProvider
        fields = [
            "id",
            "name",
            "provider",
            "metadata",
            "entity_id",
            "sso_url",
            "slo_url",
            "certificates",
            "certificate_details",
            "subject_attribute",
            "groups_attribute",
            "name_attribute",
            "email_attribute",
            "allows_console_login",
            "allows_token_exchange",
            "is_active",
            "service_provider",
            "created_at",
        ]
        read_only_fields = ["created_at"]

    @extend_schema_field(CertificateSerializer(many=True))
    def get_certificate_details(self, row: SamlProvider) -> Any:
        """Return what the certificates are, and which of them are about to expire."""
        now = timezone.now()
        return CertificateSerializer([describe(entry, now) for entry in row.certificates], many=True).data

    @extend_schema_field(PlacesSerializer)
    def get_service_provider(self, row: SamlProvider) -> Any:
        """Return our URLs at this provider."""
        return PlacesSerializer(saml_places(row.pk)).data


class SamlProviderViewSet(ProofViewSet, ServiceViewSet):
    """Identity providers that vouch with SAML assertions."""

    queryset = SamlProvider.objects.none()
    serializer_class = SamlProviderSerializer
    filterset_fields = ["name", "provider", "entity_id", "is_active"]
    page_ordering = ("name",)
    required_scopes = scopes_by_method(read="read", write="admin")

    def visible(self, user: Any) -> QuerySet[SamlProvider]:
        """Return the SAML providers that `user` may see."""
        return selectors.saml_providers_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> SamlProvider:
        """Save the provider."""
        return services.saml_provider_save(saml_provider_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the provider."""
        services.saml_provider_delete(saml_provider_id=row_id)
