"""WHO, over REST: providers, groups and principals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from accounts import selectors, services
from accounts.models import Group, IdentityProvider, Principal
from accounts.rest import ReadViewSet, ServiceViewSet, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method


class IdentityProviderSerializer(StrictModelSerializer):
    """An identity provider."""

    audiences = Texts(required=False)
    algorithms = Texts(required=False)
    token_types = Texts(required=False)
    allowed_networks = Texts(required=False)
    pinned_jwks = serializers.DictField(required=False, allow_null=True)

    class Meta:
        model = IdentityProvider
        fields = [
            "id",
            "name",
            "issuer",
            "jwks_url",
            "pinned_jwks",
            "audiences",
            "algorithms",
            "token_types",
            "groups_claim",
            "max_token_seconds",
            "leeway_seconds",
            "requires_nbf",
            "allowed_networks",
            "is_active",
            "created_at",
        ]
        read_only_fields = ["created_at"]


class IdentityProviderViewSet(ServiceViewSet):
    """Issuers whose tokens the gateway accepts."""

    queryset = IdentityProvider.objects.none()
    required_scopes = scopes_by_method(read="read", write="admin")
    serializer_class = IdentityProviderSerializer
    filterset_fields = ["name", "issuer", "is_active"]
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


class GroupSerializer(StrictModelSerializer):
    """A group as its provider names it."""

    class Meta:
        model = Group
        fields = ["id", "provider", "name", "description"]


class GroupViewSet(ServiceViewSet):
    """Groups that grants can name."""

    queryset = Group.objects.none()
    required_scopes = scopes_by_method(read="read", write="admin")
    serializer_class = GroupSerializer
    filterset_fields = ["provider", "name"]

    def visible(self, user: Any) -> QuerySet[Group]:
        """Return the groups that `user` may see."""
        return selectors.groups_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> Group:
        """Save the group."""
        return services.group_save(group_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the group."""
        services.group_delete(group_id=row_id)


class PrincipalSerializer(serializers.ModelSerializer):
    """Who has acted on the data path."""

    class Meta:
        model = Principal
        fields = ["id", "issuer", "subject", "kind", "display_name", "email", "first_seen", "last_seen"]
        read_only_fields = fields


class PrincipalViewSet(ReadViewSet):
    """Principals; each appears with its first verified token."""

    queryset = Principal.objects.none()
    serializer_class = PrincipalSerializer
    filterset_fields = ["issuer", "subject", "kind"]
    page_ordering = ("first_seen", "id")

    def visible(self, user: Any) -> QuerySet[Principal]:
        """Return the principals that `user` may see."""
        return selectors.principals_visible_to(user=user)
