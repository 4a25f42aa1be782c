"""WHAT IS ALLOWED, over REST: grants, guardrails and masking patterns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers

from accounts.rest import ServiceViewSet, StrictModelSerializer, Texts
from policies import selectors, services
from policies.models import AccessGrant, Guardrail, MaskingPattern

from .shared import publisher_of


class AccessGrantSerializer(StrictModelSerializer):
    """A principal, a group or whoever meets a condition may use a connection."""

    labels = Texts(required=False)
    networks = Texts(required=False)
    windows = serializers.ListField(child=serializers.DictField(), required=False)
    tools = Texts(required=False)
    prompts = Texts(required=False)
    resources = Texts(required=False)

    class Meta:
        model = AccessGrant
        fields = [
            "id",
            "connection",
            "labels",
            "principal",
            "group",
            "condition",
            "tools",
            "prompts",
            "resources",
            "windows",
            "networks",
            "kind",
            "valid_from",
            "valid_until",
            "note",
            "is_active",
            "created_at",
        ]
        read_only_fields = ["kind", "created_at"]


class AccessGrantViewSet(ServiceViewSet):
    """Who may use which connection, with what, until when."""

    queryset = AccessGrant.objects.none()
    serializer_class = AccessGrantSerializer
    filterset_fields = ["connection", "principal", "group", "is_active"]
    page_ordering = ("created_at", "id")

    def visible(self, user: Any) -> QuerySet[AccessGrant]:
        """Return the grants that `user` may see."""
        return selectors.grants_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> AccessGrant:
        """Save the grant."""
        creator: Any = self.request.user
        return services.grant_save(
            grant_id=row_id, **values, created_by=creator, by=publisher_of(self.request), now=now
        )

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the grant."""
        services.grant_delete(grant_id=row_id, by=publisher_of(self.request), now=timezone.now())


class GuardrailSerializer(StrictModelSerializer):
    """A rule over calls."""

    labels = Texts(required=False)
    methods = Texts(required=False)
    names = Texts(required=False)
    annotations = serializers.DictField(child=serializers.BooleanField(), required=False)

    class Meta:
        model = Guardrail
        fields = [
            "id",
            "name",
            "effect",
            "connection",
            "labels",
            "principals",
            "groups",
            "methods",
            "names",
            "annotations",
            "condition",
            "is_observed",
            "approval_rule",
            "pack",
            "reason",
            "is_active",
            "created_at",
        ]
        read_only_fields = ["pack", "created_at"]


class GuardrailViewSet(ServiceViewSet):
    """Rules over calls: deny, then hold, then allow, whatever their order."""

    queryset = Guardrail.objects.none()
    serializer_class = GuardrailSerializer
    filterset_fields = ["connection", "effect", "is_observed", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[Guardrail]:
        """Return the guardrails that `user` may see."""
        return selectors.guardrails_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> Guardrail:
        """Save the guardrail."""
        return services.guardrail_save(guardrail_id=row_id, **values, by=publisher_of(self.request), now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the guardrail."""
        services.guardrail_delete(guardrail_id=row_id, by=publisher_of(self.request), now=timezone.now())


class MaskingPatternSerializer(StrictModelSerializer):
    """What to redact from every message that goes to a client."""

    class Meta:
        model = MaskingPattern
        fields = ["id", "name", "pattern", "check_kind", "replacement", "connection", "is_active", "created_at"]
        read_only_fields = ["created_at"]


class MaskingPatternViewSet(ServiceViewSet):
    """RE2 expressions whose matches never leave the gateway."""

    queryset = MaskingPattern.objects.none()
    serializer_class = MaskingPatternSerializer
    filterset_fields = ["connection", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[MaskingPattern]:
        """Return the patterns that `user` may see."""
        return selectors.masking_patterns_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> MaskingPattern:
        """Save the pattern."""
        return services.masking_pattern_save(pattern_id=row_id, **values, by=publisher_of(self.request), now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the pattern."""
        services.masking_pattern_delete(pattern_id=row_id, by=publisher_of(self.request), now=timezone.now())
