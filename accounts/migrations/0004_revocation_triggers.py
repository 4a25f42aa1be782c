"""Move the version of locks and revocations in the transaction of every change, and ring the bell on commit.

It is a version of its own, because a lock must not make every gateway process compile all policy again. The bell is the
one of policy: whoever hears it looks at both versions.
"""

from django.db import migrations

WATCHED = ["accounts_lock", "accounts_revokedtoken", "accounts_scimmember"]

FUNCTION = """
CREATE FUNCTION wardgate_revocation_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts_revocationstate (id, version, changed_at) VALUES (1, 1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET version = accounts_revocationstate.version + 1, changed_at = clock_timestamp();
    PERFORM pg_notify('wardgate_policy', '');
    RETURN NULL;
END
$$;
INSERT INTO accounts_revocationstate (id, version, changed_at) VALUES (1, 1, clock_timestamp());
"""


def trigger(table: str) -> migrations.RunSQL:
    """Return the operation that watches `table`; a statement of any kind, TRUNCATE included, counts."""
    return migrations.RunSQL(
        f"CREATE TRIGGER wardgate_revocation_moved AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION wardgate_revocation_moved();",
        f"DROP TRIGGER wardgate_revocation_moved ON {table};",
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_identity")]
    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION wardgate_revocation_moved(); DELETE FROM accounts_revocationstate;"),
        *[trigger(table) for table in WATCHED],
    ]
