"""ENFORCES: the data path; no models."""

from __future__ import annotations

from django.apps import AppConfig


class ProxyConfig(AppConfig):
    """ENFORCES: the data path; no models."""

    name = "proxy"
    label = "proxy"
