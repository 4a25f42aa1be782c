"""A policy test is part of the policy document, so a change of one is a version, too."""

import importlib

from django.db import migrations

trigger = importlib.import_module("policies.migrations.0002_policy_state_triggers").trigger


class Migration(migrations.Migration):
    dependencies = [("policies", "0006_watch_dimensions")]
    operations = [trigger("policies_policytest")]
