"""Identity providers, over REST: their values, their keys on demand, the test of a token, and the presets."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import provider_keys, selectors, services, token_report, verifying
from accounts.models import IdentityProvider
from accounts.presets import PRESETS, Preset
from accounts.proof_pages import ProofViewSet
from accounts.rest import ServiceViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method
from accounts.tokens import TOKEN_BYTES
from accounts.values import provider_value

from .issued import EmptySerializer


class IdentityProviderSerializer(StrictModelSerializer):
    """An identity provider. The introspection secret goes in and never comes out."""

    audiences = Texts(required=False)
    algorithms = Texts(required=False)
    token_types = Texts(required=False)
    allowed_networks = Texts(required=False)
    authorized_parties = Texts(required=False)
    tenants = Texts(required=False)
    condition_claims = Texts(required=False)
    required_claims = serializers.DictField(required=False)
    pinned_jwks = serializers.DictField(required=False, allow_null=True)
    introspection_secret = serializers.CharField(
        write_only=True, required=False, allow_blank=True, trim_whitespace=False, max_length=4096
    )
    has_introspection_secret = serializers.SerializerMethodField()

    class Meta:
        model = IdentityProvider
        fields = [
            "id",
            "name",
            "issuer",
            "preset",
            "jwks_url",
            "pinned_jwks",
            "keys_flushed_at",
            "audiences",
            "algorithms",
            "token_types",
            "subject_claim",
            "groups_claim",
            "roles_claim",
            "name_claim",
            "authorized_parties",
            "tenant_claim",
            "tenants",
            "condition_claims",
            "required_claims",
            "principal_kind",
            "missing_groups_are_unknown",
            "uses_directory",
            "scim_subject",
            "scim_group_name",
            "introspection_url",
            "introspection_client_id",
            "introspection_secret",
            "has_introspection_secret",
            "dormant_days",
            "max_token_seconds",
            "leeway_seconds",
            "requires_nbf",
            "allowed_networks",
            "is_active",
            "created_at",
        ]
        read_only_fields = ["keys_flushed_at", "created_at"]

    def get_has_introspection_secret(self, provider: IdentityProvider) -> bool:
        """Tell whether a secret is there."""
        return bool(provider.introspection_key_id)


class TokenSerializer(StrictFields):
    """A token to test, and the URL of the connection that it is for."""

    token = serializers.CharField(max_length=4 * TOKEN_BYTES, write_only=True)
    audience = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class TokenRowSerializer(serializers.Serializer):
    """What one check found."""

    claim = serializers.CharField()
    value = serializers.CharField()
    rule = serializers.CharField()
    result = serializers.ChoiceField(["ok", "failed", "not_checked"])
    code = serializers.CharField()
    sentence = serializers.CharField()


class TokenReportSerializer(serializers.Serializer):
    """Why a token is accepted or refused."""

    accepted = serializers.BooleanField()
    code = serializers.CharField()
    detail = serializers.CharField()
    identity = serializers.DictField(allow_null=True)
    rows = TokenRowSerializer(many=True)


class KeyStepSerializer(serializers.Serializer):
    """One thing that was done to get at the keys."""

    what = serializers.CharField()
    where = serializers.CharField()
    is_ok = serializers.BooleanField()
    sentence = serializers.CharField()


class KeysSerializer(serializers.Serializer):
    """What was found when the keys were asked for."""

    is_ok = serializers.BooleanField()
    steps = KeyStepSerializer(many=True)
    usable = serializers.ListField(child=serializers.DictField())
    refused = serializers.ListField(child=serializers.DictField())


class MayTest(BasePermission):
    """Whoever may see providers may ask why one of them refuses a token; nothing is changed by it."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Ask for the permission to view."""
        return bool(request.user and request.user.has_perm("accounts.view_identityprovider"))


class MayChange(BasePermission):
    """Whoever may change providers may make the gateway forget their keys."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Ask for the permission to change."""
        return bool(request.user and request.user.has_perm("accounts.change_identityprovider"))


class IdentityProviderViewSet(ProofViewSet, ServiceViewSet):
    """Issuers whose tokens the gateway accepts."""

    queryset = IdentityProvider.objects.none()
    required_scopes = scopes_by_method(read="read", write="admin")
    serializer_class = IdentityProviderSerializer
    filterset_fields = ["name", "issuer", "is_active", "preset"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[IdentityProvider]:
        """Return the providers that `user` may see."""
        return selectors.providers_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> IdentityProvider:
        """Save the provider."""
        return services.provider_save(provider_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the provider."""
        services.provider_delete(provider_id=row_id)

    @extend_schema(request=TokenSerializer, responses=TokenReportSerializer)
    @action(detail=True, methods=["post"], url_path="test-token", permission_classes=[IsAuthenticated, MayTest])
    @sensitive_variables("body", "raw")
    def test_token(self, request: Request, pk: str | None = None) -> Response:
        """Say claim by claim why this provider accepts or refuses a token. It is neither stored nor logged."""
        row = self.get_object()
        body = TokenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        raw = body.validated_data["token"].strip().removeprefix("Bearer ").encode("utf-8", "replace")
        report = verifying.explained(raw, row=row, audience=body.validated_data["audience"], now=time.time())
        return Response(token_report.payload(report), headers={"Cache-Control": "no-store"})

    @extend_schema(request=EmptySerializer, responses=KeysSerializer)
    @action(detail=True, methods=["post"], url_path="fetch-keys", permission_classes=[IsAuthenticated, MayChange])
    def fetch_keys(self, request: Request, pk: str | None = None) -> Response:
        """Make every gateway process forget this provider's keys, fetch them, and say what was found or why not."""
        EmptySerializer(data=request.data).is_valid(raise_exception=True)
        row = services.provider_keys_flush(provider_id=self.get_object().pk, now=timezone.now())
        return Response(_found(provider_keys.look(provider_value(row))), headers={"Cache-Control": "no-store"})


def _found(found: provider_keys.KeysFound) -> dict[str, Any]:
    usable = found.keys.usable if found.keys else ()
    refused = found.keys.refused if found.keys else ()
    return {
        "is_ok": found.is_ok,
        "steps": [
            {"what": step.what, "where": step.where, "is_ok": step.is_ok, "sentence": step.sentence}
            for step in found.steps
        ],
        "usable": [{"key_id": key_id, "algorithms": list(algorithms)} for key_id, algorithms in usable],
        "refused": [{"place": place, "reason": reason} for place, reason in refused],
    }


class PresetSerializer(serializers.Serializer):
    """A ready-made profile: values for a provider, and what is left to do."""

    key = serializers.CharField()
    title = serializers.CharField()
    values = serializers.DictField()
    notes = serializers.ListField(child=serializers.CharField())


class ProviderPresetViewSet(viewsets.ViewSet):
    """Ready-made profiles of identity providers; what is in braces is to be replaced."""

    permission_classes = [IsAuthenticated, MayTest]
    required_scopes = scopes_by_method(read="read")

    @extend_schema(responses=PresetSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Return every preset."""
        return Response([_preset(preset) for preset in PRESETS.values()])

    @extend_schema(parameters=[OpenApiParameter("id", str, OpenApiParameter.PATH)], responses=PresetSerializer)
    def retrieve(self, request: Request, pk: str = "") -> Response:
        """Return one preset by its key."""
        if pk not in PRESETS:
            raise NotFound
        return Response(_preset(PRESETS[pk]))


def _preset(preset: Preset) -> dict[str, Any]:
    return {
        "key": preset.key,
        "title": preset.title,
        "values": dict(preset.values),
        "notes": list(preset.notes),
    }
