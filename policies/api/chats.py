"""Who is who in Slack, over REST."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import permissions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actors import person_of
from accounts.rest import ReadViewSet
from accounts.rest_authentication import scopes_by_method
from policies import selectors
from policies.models import SlackIdentity
from policies.services.slack_links import slack_link_end


class SlackIdentitySerializer(serializers.ModelSerializer):
    """A person of the console, as a user of a Slack workspace."""

    class Meta:
        model = SlackIdentity
        fields = ["id", "user", "team", "slack_user", "slack_name", "linked_at", "expires_at", "used_at", "ended_at"]
        read_only_fields = fields


class SlackIdentityViewSet(ReadViewSet):
    """Links to Slack: one's own, and with the permission those of everybody. DELETE ends one at once."""

    queryset = SlackIdentity.objects.none()
    serializer_class = SlackIdentitySerializer
    permission_classes = [permissions.IsAuthenticated]
    required_scopes = scopes_by_method(read="admin", write="admin")
    filterset_fields = ["user", "team", "slack_user"]
    page_ordering = ("-linked_at", "id")

    def visible(self, user: Any) -> QuerySet[SlackIdentity]:
        """Return one's own links, and with the permission those of everybody."""
        return selectors.slack_identities_visible_to(user=user)

    def destroy(self, request: Request, pk: str | None = None) -> Response:
        """End one; 204. To end one of somebody else takes the permission to change links."""
        row, asker = self.get_object(), person_of(request)
        if row.user_id != asker.pk and not asker.has_perm("policies.change_slackidentity"):
            self.permission_denied(request)
        slack_link_end(identity_id=row.pk, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
