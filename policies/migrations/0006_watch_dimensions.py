"""Watch the tables that policy is compiled from since it has more dimensions, and keep published versions as they are."""

import importlib

from django.db import migrations

trigger = importlib.import_module("policies.migrations.0002_policy_state_triggers").trigger

WATCHED = ["connections_tool", "policies_guardrail_principals", "policies_guardrail_groups"]

KEEP = """
CREATE FUNCTION wardgate_policy_version_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.author_id IS NULL AND OLD.author_id IS NOT NULL
       AND to_jsonb(NEW) - 'author_id' = to_jsonb(OLD) - 'author_id' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'A published policy version is never changed or deleted.' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER wardgate_policy_version_kept BEFORE UPDATE OR DELETE ON policies_policyversion
    FOR EACH ROW EXECUTE FUNCTION wardgate_policy_version_kept();
"""


class Migration(migrations.Migration):
    dependencies = [("policies", "0005_policy_dimensions"), ("connections", "0002_policy_dimensions")]
    operations = [
        *[trigger(table) for table in WATCHED],
        migrations.RunSQL(
            KEEP,
            "DROP TRIGGER wardgate_policy_version_kept ON policies_policyversion;"
            "DROP FUNCTION wardgate_policy_version_kept();",
        ),
    ]
