"""WHO: users, principals, identity providers and groups."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """WHO: users, principals, identity providers and groups."""

    name = "accounts"
    label = "accounts"
    verbose_name = "Who"
