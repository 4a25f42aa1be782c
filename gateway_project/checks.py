"""Unsafe configuration is an error with an id and a sentence that says what to do.

`manage.py` runs the checks by itself. A server that imports the ASGI application does not, so it calls
`refuse_unsafe`. No message repeats a value: a setting may hold a secret.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from accounts import vault
from sessions.database_roles import may_change_the_record

SECRET_KEY_CHARACTERS = 50
SECRET_KEY_DISTINCT_CHARACTERS = 5
PLACEHOLDERS = ("django-insecure-", "changeme", "change-me", "change_me", "secret", "example", "default", "insecure")
DURABLE = ("synchronous_commit", "fsync", "full_page_writes")


@register(Tags.security)
def unsafe_settings(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Return what makes the settings unsafe to serve with."""
    return [*_secret_key(), *_exposure(), *_master_keys(), *_public_url(), *_console_login(), *_mail()]


@register(Tags.database)
def durable_database(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Return what lets PostgreSQL lose a record that it has acknowledged (PostgreSQL manual, section 30.1)."""
    if not settings.WARDGATE_REQUIRE_DURABLE_DATABASE:
        return []
    found: list[CheckMessage] = []
    for alias in databases or []:
        if connections[alias].vendor != "postgresql":
            found.append(Error("The database must be PostgreSQL: set DATABASE_URL.", id="wardgate.E020"))
            continue
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting = 'off'", [list(DURABLE)])
                names = [name for (name,) in cursor.fetchall()]
        except DatabaseError:
            # Whether the database can be reached is not a matter of configuration; calls are refused until it can.
            continue
        found.extend(
            Error(
                f"PostgreSQL runs with {name} off and may lose acknowledged records: set {name} = on "
                "in postgresql.conf and for this role and database.",
                id=f"wardgate.E02{DURABLE.index(name) + 1}",
            )
            for name in names
        )
    return found


@register(Tags.database)
def append_only_role(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn where the role in use could change what was recorded; triggers refuse it all the same."""
    if "default" not in (databases or []):
        return []
    try:
        may = may_change_the_record()
    except DatabaseError:
        # Away, or not migrated yet.
        return []
    if not may:
        return []
    return [
        Warning(
            "The database role of DATABASE_URL owns the record and could change it: make a role with "
            "`manage.py record_roles`, and use that one for everything but migrations.",
            id="wardgate.W040",
        )
    ]


def refuse_unsafe() -> None:
    """Refuse to start a server with unsafe settings; for the ASGI entry point, which no system check reaches.

    The database is asked in a thread of its own: the entry point is imported inside a running event loop, where
    Django's ORM refuses to work. A database that is away is no reason to refuse; calls are, until it is back.

    Raises:
        ImproperlyConfigured: a line for each thing that has to be put right.
    """
    errors = unsafe_settings()
    if not errors:
        with ThreadPoolExecutor(max_workers=1) as pool:
            errors = pool.submit(_durable_database_once).result()
    if errors:
        raise ImproperlyConfigured(
            "Wardgate does not start like this:\n" + "\n".join(f"  {error.id}: {error.msg}" for error in errors)
        )


def _durable_database_once() -> list[CheckMessage]:
    try:
        return durable_database(databases=list(connections))
    finally:
        connections.close_all()


def _secret_key_or_empty() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's own answer to an empty one, which would end the checks here.
        return ""


def _secret_key() -> Iterator[CheckMessage]:
    key = _secret_key_or_empty()
    if not key:
        yield Error(f"SECRET_KEY is not set: set it to {SECRET_KEY_CHARACTERS} random characters.", id="wardgate.E001")
        return
    if len(key) < SECRET_KEY_CHARACTERS or len(set(key)) < SECRET_KEY_DISTINCT_CHARACTERS:
        yield Error(
            f"SECRET_KEY is too weak: set it to at least {SECRET_KEY_CHARACTERS} random characters.", id="wardgate.E002"
        )
    if any(word in key.lower() for word in PLACEHOLDERS):
        yield Error("SECRET_KEY is a placeholder: set it to random characters of your own.", id="wardgate.E003")


def _exposure() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Error("DEBUG is on and would show settings and data in error pages: set DEBUG=false.", id="wardgate.E004")
    if "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS accepts every host name: list the names under which the gateway is reached.",
            id="wardgate.E005",
        )
    if not settings.ALLOWED_HOSTS:
        yield Error("ALLOWED_HOSTS is empty: list the names under which the gateway is reached.", id="wardgate.E006")


def _master_keys() -> Iterator[CheckMessage]:
    try:
        vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    except vault.VaultSealed as error:
        yield Error(
            f"{error} Each entry of WARDGATE_MASTER_KEYS is `id:base64`, for example from `openssl rand -base64 32`.",
            id="wardgate.E010",
        )
        return
    secret_key = _secret_key_or_empty()
    for place, entry in enumerate(settings.WARDGATE_MASTER_KEYS.split(","), start=1):
        encoded = entry.partition(":")[2].strip()
        if secret_key and (encoded in secret_key or base64.b64decode(encoded) in secret_key.encode()):
            yield Error(
                f"Master key {place} is the SECRET_KEY or a part of it: whoever learns one must not learn the other, "
                "so take a key of its own.",
                id="wardgate.E011",
            )


def _public_url() -> Iterator[CheckMessage]:
    try:
        parts = urlsplit(settings.WARDGATE_PUBLIC_URL)
        is_origin = (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        is_origin = False
    if not is_origin or parts.path or parts.query or parts.fragment or parts.username is not None:
        yield Error(
            "WARDGATE_PUBLIC_URL is not an origin: set it to https:// and the name under which clients reach the "
            "gateway, without a path.",
            id="wardgate.E012",
        )


def _console_login() -> Iterator[CheckMessage]:
    if not settings.WARDGATE_REQUIRE_SECOND_FACTOR and not _is_loopback(settings.WARDGATE_PUBLIC_URL):
        yield Error(
            "WARDGATE_REQUIRE_SECOND_FACTOR is off, and the console is reached from elsewhere: leave it on. It may be "
            "off only where WARDGATE_PUBLIC_URL is a loopback address.",
            id="wardgate.E030",
        )
    try:
        for network in settings.WARDGATE_TRUSTED_PROXIES:
            ipaddress.ip_network(network)
    except ValueError:
        yield Error(
            "WARDGATE_TRUSTED_PROXIES is not a list of networks: write each as 10.20.0.0/16.", id="wardgate.E031"
        )


def _mail() -> Iterator[CheckMessage]:
    if settings.EMAIL_USE_TLS and settings.EMAIL_USE_SSL:
        yield Error("EMAIL_USE_TLS and EMAIL_USE_SSL are both on: leave on the one of the port.", id="wardgate.E040")
    is_clear = not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL)
    is_elsewhere = bool(settings.EMAIL_HOST) and not _is_loopback(f"http://{settings.EMAIL_HOST}")
    if is_clear and is_elsewhere and settings.EMAIL_HOST_PASSWORD:
        yield Error(
            "EMAIL_HOST_PASSWORD would go over the network as it is: switch EMAIL_USE_TLS or EMAIL_USE_SSL on.",
            id="wardgate.E041",
        )


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
