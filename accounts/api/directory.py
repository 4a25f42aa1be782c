"""Groups of identity providers, over REST."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from accounts import selectors, services
from accounts.models import Group
from accounts.rest import ServiceViewSet, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method


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
