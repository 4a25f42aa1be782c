"""What identity providers provision, over REST: read only, because the provider writes it over SCIM."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from accounts import selectors
from accounts.models import ScimSync, ScimUser
from accounts.rest import ReadViewSet, StrictModelSerializer
from accounts.scim.selectors import hint_for, hinted


class ScimUserSerializer(StrictModelSerializer):
    """A provisioned user; `hint` says what does not fit, `groups` are the ids of the groups it was put into."""

    hint = serializers.SerializerMethodField(help_text="What may keep it from having an effect; mostly empty.")
    groups = serializers.SerializerMethodField()

    class Meta:
        model = ScimUser
        fields = [
            "id",
            "provider",
            "user_name",
            "external_id",
            "is_active",
            "display_name",
            "email",
            "principal",
            "groups",
            "hint",
            "created_at",
            "changed_at",
        ]
        read_only_fields = fields

    def get_hint(self, user: ScimUser) -> str:
        """Return the hint."""
        return hint_for(user)

    def get_groups(self, user: ScimUser) -> list[int]:
        """Return the ids of its groups."""
        return [member.group_id for member in user.memberships.all()]


class ScimUserViewSet(ReadViewSet):
    """Users that a provider has provisioned."""

    queryset = ScimUser.objects.none()
    serializer_class = ScimUserSerializer
    filterset_fields = ["provider", "is_active", "principal"]
    page_ordering = ("created_at", "id")

    def visible(self, user: Any) -> QuerySet[ScimUser]:
        """Return the users that `user` may see."""
        return hinted(selectors.scim_users_visible_to(user=user)).prefetch_related("memberships")


class ScimSyncSerializer(StrictModelSerializer):
    """When a provider last provisioned, and what was last refused."""

    class Meta:
        model = ScimSync
        fields = ["provider", "last_request_at", "last_change_at", "last_refusal_at", "last_refusal"]
        read_only_fields = fields


class ScimSyncViewSet(ReadViewSet):
    """How the provisioning of each provider goes."""

    queryset = ScimSync.objects.none()
    serializer_class = ScimSyncSerializer
    page_ordering = ("provider_id",)

    def visible(self, user: Any) -> QuerySet[ScimSync]:
        """Return what `user` may see."""
        return selectors.scim_syncs_visible_to(user=user)
