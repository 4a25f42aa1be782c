"""WHERE TO: upstream MCP servers and their credentials."""

from __future__ import annotations

from django.apps import AppConfig


class ConnectionsConfig(AppConfig):
    """WHERE TO: upstream MCP servers and their credentials."""

    name = "connections"
    label = "connections"
    verbose_name = "Where to"
