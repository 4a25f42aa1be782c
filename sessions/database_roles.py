"""The roles under which the application uses the database: one that can only add to the record, one that releases it.

The owner of the tables migrates. The application's role reads and writes everything else, and of evidence it may only
read and add rows: no UPDATE, no DELETE, no TRUNCATE. The role for retention may do nothing but ask for the release of
a month of events that a signed tombstone names.
"""

from __future__ import annotations

import re

from django.db import connection, transaction

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_GUARDS = ("wardgate_refuse_change", "wardgate_row_is_final")
"""Functions of the triggers that refuse changes; a table that has one is evidence."""
_EVIDENCE = """
SELECT DISTINCT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE p.proname = ANY(%s) AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
"""
_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'gateway_sessions_event'::regclass ORDER BY 1
"""


def role_statements(*, application: str, retention: str) -> list[str]:
    """Return the SQL that makes the roles and gives them what they need; for the owner, again after each migration.

    Args:
        application: name of the application's role.
        retention: name of the role that releases months of events.

    Raises:
        ValueError: a name is not one of lower-case letters, digits and underscores.
    """
    for name in (application, retention):
        if _NAME.fullmatch(name) is None:
            raise ValueError("a role is named with lower-case letters, digits and underscores")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema(), current_database()")
        schema, database = (f'"{name}"' for name in cursor.fetchone())
        cursor.execute(_EVIDENCE, [list(_GUARDS)])
        evidence = [name for (name,) in cursor.fetchall()]
        cursor.execute(_PARTITIONS)
        partitions = [name for (name,) in cursor.fetchall()]
    both = f"{application}, {retention}"
    return [
        *(_made(name) for name in (application, retention)),
        f"GRANT CONNECT ON DATABASE {database} TO {both}",
        f"GRANT USAGE ON SCHEMA {schema} TO {both}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {application}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {application}",
        f"REVOKE UPDATE, DELETE, TRUNCATE ON {', '.join(evidence)} FROM {application}",
        f"REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {application}",
        *(f"REVOKE ALL ON {name} FROM {application}" for name in partitions),
        # To see what came while its month had no partition.
        f"GRANT SELECT ON gateway_sessions_event_default TO {application}",
        f"GRANT EXECUTE ON FUNCTION wardgate_event_partition_make(date) TO {application}",
        f"GRANT EXECUTE ON FUNCTION wardgate_event_partition_release(text) TO {retention}",
    ]


@transaction.atomic
def roles_prepare(*, application: str, retention: str) -> None:
    """Make the roles and give them what they need. Idempotent; whoever asks must own the tables.

    Raises:
        ValueError: as `role_statements`.
        ProgrammingError: this role may not.
    """
    statements = role_statements(application=application, retention=retention)
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def may_change_the_record() -> bool:
    """Tell whether the role in use could change or delete events, as the owner of the table and a superuser can."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('gateway_sessions_event', 'UPDATE, DELETE, TRUNCATE')")
        (may,) = cursor.fetchone()
    return bool(may)


def _made(name: str) -> str:
    make = f"CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    is_there = f"EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{name}')"  # noqa: S608  (the name was checked)
    return f"DO $$ BEGIN IF NOT {is_there} THEN {make}; END IF; END $$"
