"""Brings the database up to date for this start: migrations, the first administrator, the demo's rows."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway_project.local.state import LocalError

ADMIN = "admin"
APPLICATION_ROLE, RETENTION_ROLE = "wardgate_app", "wardgate_retention"


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo's rows need to know."""

    issuer: str
    upstream_url: str
    credential: str = field(repr=False)
    is_new_credential: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done; the password is None when there already was an administrator."""

    new_password: str | None = field(repr=False)


def prepare(*, demo: Demo | None, has_roles: bool = False) -> Prepared:
    """Load Django with the environment as it is now, and bring its database up to date.

    Args:
        demo: what the demo's rows need, None without the demo.
        has_roles: make the database roles under which nobody can change the record.

    Raises:
        LocalError: the database or Redis does not answer, or the configuration is unsafe.
    """
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management.base import SystemCheckError
    from django.db import DatabaseError, connection

    # The terminal is for the person; the processes log to their files.
    logging.disable(logging.WARNING)
    try:
        django.setup()
        from gateway_project.checks import refuse_unsafe

        _require_redis()
        refuse_unsafe()
        _migrate()
        if has_roles:
            from sessions.database_roles import roles_prepare

            roles_prepare(application=APPLICATION_ROLE, retention=RETENTION_ROLE)
        password = _first_administrator()
        if demo is not None:
            from gateway_project.demo.seed import seed

            seed(
                issuer=demo.issuer,
                upstream_url=demo.upstream_url,
                credential=demo.credential,
                is_new_credential=demo.is_new_credential,
                now=datetime.now(UTC),
            )
    except (ImproperlyConfigured, SystemCheckError) as error:
        raise LocalError(str(error)) from error
    except DatabaseError as error:
        # The driver's text may repeat the URL with its password.
        raise LocalError(f"The database of DATABASE_URL refuses: {type(error).__name__}.") from error
    finally:
        connection.close()
    return Prepared(password)


def _migrate() -> None:
    """Apply what is missing; asking first is six times quicker than a migration without work."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)


def _first_administrator() -> str | None:
    """Make the first administrator and return the password, None when there is one already."""
    from accounts.models import User

    if User.objects.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(15)
    User.objects.create_superuser(ADMIN, password=password, is_break_glass=True)
    return password


def _require_redis() -> None:
    from django.conf import settings
    from redis import Redis, RedisError

    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5) as redis:
            redis.ping()
    except (RedisError, ValueError, OSError) as error:
        raise LocalError(f"The server of REDIS_URL does not answer: {type(error).__name__}.") from error
