"""WHO, over REST: roles, the console's clients at OpenID providers, and logins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors, services
from accounts.actors import person_of
from accounts.models import ConsoleSession, LoginClient, RoleGrant, User
from accounts.proof_pages import ProofViewSet
from accounts.rest import ReadViewSet, ServiceViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method
from accounts.services import login_clients


class RoleGrantSerializer(StrictModelSerializer):
    """A role of the members of a group, or of one person."""

    class Meta:
        model = RoleGrant
        fields = ["id", "role", "group", "user", "created_at"]
        read_only_fields = ["created_at"]
        # Whether it is there already is the service's to say: for the same role of the same group there is one row.
        validators: list[Any] = []


class RoleGrantViewSet(ProofViewSet, ServiceViewSet):
    """Who has which role in the console."""

    queryset = RoleGrant.objects.none()
    serializer_class = RoleGrantSerializer
    required_scopes = scopes_by_method(read="admin", write="admin")
    filterset_fields = ["role", "group", "user"]

    def visible(self, user: Any) -> QuerySet[RoleGrant]:
        """Return the role grants that `user` may see."""
        return selectors.role_grants_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> RoleGrant:
        """Save the role grant."""
        return services.role_grant_save(role_grant_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Take the role away."""
        services.role_grant_delete(role_grant_id=row_id, now=timezone.now())


class LoginClientSerializer(StrictModelSerializer):
    """The console as a client of an OpenID provider. The secret goes in and never comes out."""

    secret = serializers.CharField(write_only=True, required=False, trim_whitespace=False, max_length=4096)
    scopes = Texts(required=False)
    has_secret = serializers.SerializerMethodField()

    class Meta:
        model = LoginClient
        fields = ["id", "provider", "client_id", "secret", "has_secret", "scopes", "is_active", "created_at"]
        read_only_fields = ["created_at"]

    def get_has_secret(self, row: LoginClient) -> bool:
        """Tell whether there is a secret."""
        return row.ciphertext is not None


class LoginClientViewSet(ProofViewSet, ServiceViewSet):
    """Where people log in to the console."""

    queryset = LoginClient.objects.none()
    serializer_class = LoginClientSerializer
    required_scopes = scopes_by_method(read="admin", write="admin")
    filterset_fields = ["provider", "is_active"]
    page_ordering = ("created_at", "id")

    def visible(self, user: Any) -> QuerySet[LoginClient]:
        """Return the clients that `user` may see."""
        return selectors.login_clients_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> LoginClient:
        """Save the client."""
        return login_clients.login_client_save(login_client_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the client."""
        login_clients.login_client_delete(login_client_id=row_id)


class ConsoleSessionSerializer(serializers.ModelSerializer):
    """A login to the console, as its person and administrators see it."""

    class Meta:
        model = ConsoleSession
        fields = [
            "id",
            "user",
            "method",
            "issuer",
            "subject",
            "address",
            "user_agent",
            "began_at",
            "authenticated_at",
            "ended_at",
        ]
        read_only_fields = fields


class WhoseSerializer(StrictFields):
    """Whose logins; one's own when nobody is named."""

    user = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), required=False)


class EndedSerializer(StrictFields):
    """How many logins ended."""

    ended = serializers.IntegerField()


class ConsoleSessionViewSet(ReadViewSet):
    """Logins to the console: one's own, and with the permission those of everybody. DELETE ends one at once."""

    queryset = ConsoleSession.objects.none()
    serializer_class = ConsoleSessionSerializer
    permission_classes = [permissions.IsAuthenticated]
    required_scopes = scopes_by_method(read="admin", write="admin")
    filterset_fields = ["user", "issuer", "subject"]
    page_ordering = ("-began_at", "id")

    def visible(self, user: Any) -> QuerySet[ConsoleSession]:
        """Return one's own logins, and with the permission those of everybody."""
        return selectors.console_sessions_visible_to(user=user)

    def destroy(self, request: Request, pk: str | None = None) -> Response:
        """End one; 204. To end one of somebody else takes the permission to change logins."""
        row = self.get_object()
        self._check(request, row.user)
        services.console_session_end(session_id=row.pk, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=WhoseSerializer, responses=EndedSerializer)
    @action(detail=False, methods=["post"])
    def end(self, request: Request) -> Response:
        """Sign a person out everywhere, this login too; answers with how many logins ended."""
        body = WhoseSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        user = body.validated_data.get("user") or person_of(request)
        self._check(request, user)
        return Response({"ended": services.console_sessions_end(user=user, now=timezone.now())})

    def _check(self, request: Request, user: User) -> None:
        """Let people end their own logins, and with the permission those of others; a superuser's, only a superuser."""
        asker = person_of(request)
        may_end = asker.has_perm("accounts.change_consolesession") and (asker.is_superuser or not user.is_superuser)
        if user.pk != asker.pk and not may_end:
            self.permission_denied(request)
