"""Typed readers for environment variables.

Every reader names the variable in its error, says what was expected and never repeats the value: a variable may hold a
secret.
"""

from __future__ import annotations

import os
from urllib.parse import unquote

import environ
from django.core.exceptions import ImproperlyConfigured

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def text(name: str, default: str = "") -> str:
    """Return the variable, stripped; `default` when it is unset."""
    return os.environ.get(name, default).strip()


def integer(name: str, default: int, *, at_least: int = 0, at_most: int | None = None) -> int:
    """Return a whole number of at least `at_least`, and of at most `at_most` where that is given.

    Raises:
        ImproperlyConfigured: it is not a whole number, or too small or large.
    """
    raw = os.environ.get(name)
    if raw is None:
        return default
    try:
        value = int(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number.") from None
    if value < at_least:
        raise ImproperlyConfigured(f"{name} must be at least {at_least}.")
    if at_most is not None and value > at_most:
        raise ImproperlyConfigured(f"{name} must be at most {at_most}.")
    return value


def boolean(name: str, default: bool) -> bool:
    """Return a yes or no.

    Raises:
        ImproperlyConfigured: it is neither; a mistyped switch must not fall back to its default.
    """
    raw = os.environ.get(name)
    if raw is None:
        return default
    folded = raw.strip().lower()
    if folded in _TRUE:
        return True
    if folded in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of true, false, yes, no, on, off, 1, 0.")


def listing(name: str, default: list[str] | None = None) -> list[str]:
    """Return the comma-separated parts of the variable, without empty ones."""
    raw = os.environ.get(name)
    if raw is None:
        return list(default or [])
    return [part.strip() for part in raw.split(",") if part.strip()]


def database(name: str) -> dict[str, object]:
    """Return Django's database settings for a `postgres://` URL.

    django-environ leaves a percent-encoded socket directory quoted in the host, so it is decoded here.

    Raises:
        ImproperlyConfigured: it is unset, or not a PostgreSQL URL.
    """
    raw = os.environ.get(name, "")
    if not raw.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured(
            f"{name} must be a postgres:// URL. `python3 run.py up` starts a PostgreSQL of its own when it is unset."
        )
    config = dict(environ.Env.db_url_config(raw))
    config["HOST"] = unquote(str(config["HOST"]))
    return config
