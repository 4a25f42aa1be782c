"""Of a group, policy is made of its provider and name alone: note when it was last provisioned without compiling anew."""

from django.db import migrations

WATCH_ALL = (
    "CREATE TRIGGER wardgate_policy_moved AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON accounts_group "
    "FOR EACH STATEMENT EXECUTE FUNCTION wardgate_policy_moved();"
)
WATCH_NAMES = (
    "CREATE TRIGGER wardgate_policy_moved AFTER INSERT OR UPDATE OF provider_id, name OR DELETE OR TRUNCATE "
    "ON accounts_group FOR EACH STATEMENT EXECUTE FUNCTION wardgate_policy_moved();"
)
UNWATCH = "DROP TRIGGER wardgate_policy_moved ON accounts_group;"


class Migration(migrations.Migration):
    dependencies = [("policies", "0003_watch_signing_keys")]
    operations = [migrations.RunSQL([UNWATCH, WATCH_NAMES], [UNWATCH, WATCH_ALL])]
