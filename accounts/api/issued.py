"""WHO, over REST: API tokens."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import permissions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors, services
from accounts.models import ApiToken, User
from accounts.rest import ReadViewSet, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method


class ApiTokenSerializer(StrictModelSerializer):
    """An API token as everybody may see it: never its secret."""

    user = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), required=False)
    scopes = Texts()
    expires_at = serializers.DateTimeField(required=False)

    class Meta:
        model = ApiToken
        fields = [
            "id",
            "name",
            "user",
            "provider",
            "scopes",
            "prefix",
            "created_at",
            "expires_at",
            "last_used_at",
            "last_used_address",
            "revoked_at",
        ]
        read_only_fields = ["prefix", "created_at", "last_used_at", "last_used_address", "revoked_at"]


class ApiTokenViewSet(ReadViewSet):
    """Tokens for this API. One's own need no permission; those of others need the ones for API tokens."""

    queryset = ApiToken.objects.none()
    serializer_class = ApiTokenSerializer
    permission_classes = [permissions.IsAuthenticated]
    required_scopes = scopes_by_method(read="admin", write="admin")
    filterset_fields = ["user", "provider", "prefix"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[ApiToken]:
        """Return one's own tokens, and with the permission those of everybody."""
        return selectors.api_tokens_visible_to(user=user)

    def create(self, request: Request) -> Response:
        """Make one; 201, and the only answer that ever holds the `token` itself."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = {"user": request.user, **serializer.validated_data}
        made_with = request.auth if isinstance(request.auth, ApiToken) else None
        row, plain = services.api_token_create(**values, actor=request.user, made_with=made_with, now=timezone.now())
        body = {**self.get_serializer(row).data, "token": plain}
        return Response(body, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})

    def destroy(self, request: Request, pk: str | None = None) -> Response:
        """Revoke one; 204. Its row stays, as evidence."""
        services.api_token_revoke(token_id=self.get_object().pk, actor=request.user, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
