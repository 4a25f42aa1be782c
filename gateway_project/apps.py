"""The process."""

from __future__ import annotations

from django.apps import AppConfig


class GatewayProjectConfig(AppConfig):
    """The process."""

    name = "gateway_project"
    label = "gateway_project"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401  (registering is the import)
