"""WHAT HAPPENED: sessions and their events."""

from __future__ import annotations

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """WHAT HAPPENED: sessions and their events."""

    # "sessions" is the label of Django's own session app, so ours has to differ from the first migration on.
    name = "sessions"
    label = "gateway_sessions"
    verbose_name = "What happened"
