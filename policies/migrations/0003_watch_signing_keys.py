"""The gateway's own signing keys are part of what the data path verifies by: watch them, too."""

import importlib

from django.db import migrations

trigger = importlib.import_module("policies.migrations.0002_policy_state_triggers").trigger


class Migration(migrations.Migration):
    dependencies = [("policies", "0002_policy_state_triggers"), ("accounts", "0004_revocation_triggers")]
    operations = [trigger("accounts_signingkey")]
