"""Principals, over REST: evidence that stays as it is, and what a person says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from accounts import selectors, services
from accounts.models import Principal
from accounts.rest import ServiceViewSet, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method


class PrincipalSerializer(StrictModelSerializer):
    """Who acts on the data path. Issuer and subject stay what they were declared as."""

    class Meta:
        model = Principal
        fields = [
            "id",
            "issuer",
            "subject",
            "kind",
            "is_kind_fixed",
            "owner",
            "notes",
            "display_name",
            "email",
            "first_seen",
            "last_seen",
            "last_address",
            "last_client",
        ]
        read_only_fields = ["display_name", "email", "first_seen", "last_seen", "last_address", "last_client"]


class PrincipalViewSet(ServiceViewSet):
    """Principals; each appears with its first verified token, or is declared before it."""

    queryset = Principal.objects.none()
    required_scopes = scopes_by_method(read="read", write="write")
    serializer_class = PrincipalSerializer
    filterset_fields = ["issuer", "subject", "kind", "owner"]
    page_ordering = ("first_seen", "id")

    def visible(self, user: Any) -> QuerySet[Principal]:
        """Return the principals that `user` may see."""
        return selectors.principals_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> Principal:
        """Save what a person says of the principal."""
        return services.principal_save(principal_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete a principal that has left no evidence."""
        services.principal_delete(principal_id=row_id)
