"""The bell of approval requests rings for a new request, too, and for whatever moves one without changing its state."""

from __future__ import annotations

from django.db import migrations

BELL = """
DROP TRIGGER wardgate_approval_moved ON policies_approvalrequest;
CREATE TRIGGER wardgate_approval_opened AFTER INSERT ON policies_approvalrequest
    FOR EACH ROW EXECUTE FUNCTION wardgate_approval_moved();
CREATE TRIGGER wardgate_approval_moved AFTER UPDATE OF state, changed_at ON policies_approvalrequest
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.changed_at IS DISTINCT FROM NEW.changed_at)
    EXECUTE FUNCTION wardgate_approval_moved();
"""
BACK = """
DROP TRIGGER wardgate_approval_opened ON policies_approvalrequest;
DROP TRIGGER wardgate_approval_moved ON policies_approvalrequest;
CREATE TRIGGER wardgate_approval_moved AFTER UPDATE OF state ON policies_approvalrequest
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION wardgate_approval_moved();
"""


class Migration(migrations.Migration):
    dependencies = [("policies", "0013_notices")]

    operations = [migrations.RunSQL(BELL, BACK)]
