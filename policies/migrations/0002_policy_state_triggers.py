"""Move the policy version in the transaction of every change, whoever writes, and ring the bell on commit."""

from django.db import migrations

WATCHED = [
    "accounts_identityprovider",
    "accounts_group",
    "connections_connection",
    "connections_credential",
    "policies_accessgrant",
    "policies_guardrail",
    "policies_maskingpattern",
]

FUNCTION = """
CREATE FUNCTION wardgate_policy_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO policies_policystate (id, version, changed_at) VALUES (1, 1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET version = policies_policystate.version + 1, changed_at = clock_timestamp();
    PERFORM pg_notify('wardgate_policy', '');
    RETURN NULL;
END
$$;
INSERT INTO policies_policystate (id, version, changed_at) VALUES (1, 1, clock_timestamp());
"""


def trigger(table: str) -> migrations.RunSQL:
    """Return the operation that watches `table`; a statement of any kind, TRUNCATE included, counts."""
    return migrations.RunSQL(
        f"CREATE TRIGGER wardgate_policy_moved AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION wardgate_policy_moved();",
        f"DROP TRIGGER wardgate_policy_moved ON {table};",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("policies", "0001_initial"),
        ("accounts", "0001_initial"),
        ("connections", "0001_initial"),
    ]
    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION wardgate_policy_moved(); DELETE FROM policies_policystate;"),
        *[trigger(table) for table in WATCHED],
    ]
