"""Reads of connections: who may see which."""

from __future__ import annotations

from django.conf import settings
from django.db.models import QuerySet

from accounts.models import User

from .models import Connection, Credential, Tool


def client_url(connection: Connection) -> str:
    """Return the URL that MCP clients use for `connection`."""
    return f"{settings.WARDGATE_PUBLIC_URL}/mcp/{connection.slug}"


def connections_visible_to(*, user: User) -> QuerySet[Connection]:
    """Return the connections that `user` may see: all with the permission, none without."""
    if not user.has_perm("connections.view_connection"):
        return Connection.objects.none()
    return Connection.objects.select_related("credential").prefetch_related("owners")


def credentials_visible_to(*, user: User) -> QuerySet[Credential]:
    """Return the credentials of which `user` may see that they exist; their secrets are seen by nobody."""
    if not user.has_perm("connections.view_credential"):
        return Credential.objects.none()
    return Credential.objects.select_related("connection")


def connections_without_credential() -> QuerySet[Connection]:
    """Return the active connections whose upstream is called without a credential."""
    return Connection.objects.filter(is_active=True, credential=None)


def tools_visible_to(*, user: User) -> QuerySet[Tool]:
    """Return the tools that `user` may see: all with the permission, none without."""
    if not user.has_perm("connections.view_tool"):
        return Tool.objects.none()
    return Tool.objects.select_related("connection", "reviewed_by")


def tools_to_review() -> QuerySet[Tool]:
    """Return the tools that wait for a reviewer, of active connections that pin their tools."""
    return Tool.objects.filter(
        state=Tool.State.QUARANTINED, connection__is_active=True, connection__pins_tools=True
    ).select_related("connection")
