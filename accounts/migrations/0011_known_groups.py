from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_condition_claims"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="group_ids",
            field=models.JSONField(
                blank=True,
                default=list,
                editable=False,
                help_text="Provider groups of the last login. They say who is told of something, and decide nothing.",
            ),
        ),
    ]
