"""WHERE TO, over REST: connections, and credentials that are written and never read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from accounts.proof_pages import ProofViewSet
from accounts.rest import ServiceViewSet, StrictModelSerializer, Texts
from connections import selectors, services
from connections.models import Connection, Credential


class ConnectionSerializer(StrictModelSerializer):
    """An upstream MCP server."""

    allowed_networks = Texts(required=False)
    labels = Texts(required=False)
    taints = Texts(required=False)
    client_url = serializers.SerializerMethodField(help_text="The URL that MCP clients use.")
    has_credential = serializers.SerializerMethodField()

    class Meta:
        model = Connection
        fields = [
            "id",
            "slug",
            "name",
            "upstream_url",
            "client_url",
            "has_credential",
            "allowed_networks",
            "timeout_seconds",
            "labels",
            "taints",
            "pins_tools",
            "owners",
            "allows_sampling",
            "allows_elicitation",
            "allows_roots",
            "is_active",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["created_at", "updated_at"]

    def get_client_url(self, connection: Connection) -> str:
        """Return the URL that MCP clients use."""
        return selectors.client_url(connection)

    def get_has_credential(self, connection: Connection) -> bool:
        """Tell whether the upstream is called with a credential."""
        return getattr(connection, "credential", None) is not None


class ConnectionViewSet(ServiceViewSet):
    """Upstream MCP servers that clients reach at /mcp/<slug>."""

    queryset = Connection.objects.none()
    serializer_class = ConnectionSerializer
    filterset_fields = ["slug", "is_active"]
    page_ordering = ("slug",)

    def visible(self, user: Any) -> QuerySet[Connection]:
        """Return the connections that `user` may see."""
        return selectors.connections_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> Connection:
        """Save the connection."""
        return services.connection_save(connection_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the connection."""
        services.connection_delete(connection_id=row_id)


class CredentialSerializer(StrictModelSerializer):
    """What is known of a credential. The secret goes in and never comes out."""

    secret = serializers.CharField(write_only=True, trim_whitespace=False, max_length=8192)

    class Meta:
        model = Credential
        fields = ["id", "connection", "kind", "header_name", "secret", "version", "key_id", "created_at", "rotated_at"]
        read_only_fields = ["version", "key_id", "created_at", "rotated_at"]

    def validate_connection(self, connection: Connection) -> Connection:
        """Keep a credential with its connection: the seal is bound to it."""
        if self.instance is not None and connection.pk != self.instance.connection_id:
            raise serializers.ValidationError("A credential stays with its connection.", code="connection_fixed")
        return connection


class CredentialViewSet(ProofViewSet, ServiceViewSet):
    """Secrets of connections: POST sets one, PUT replaces it under the next version, nothing returns it."""

    queryset = Credential.objects.none()
    serializer_class = CredentialSerializer
    filterset_fields = ["connection"]
    page_ordering = ("created_at", "id")
    http_method_names = ["get", "head", "options", "post", "put", "delete"]

    def visible(self, user: Any) -> QuerySet[Credential]:
        """Return the credentials of which `user` may know."""
        return selectors.credentials_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> Credential:
        """Seal the secret."""
        return services.credential_set(**values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the credential."""
        services.credential_delete(credential_id=row_id)
