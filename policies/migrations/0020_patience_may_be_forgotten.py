"""A client whose number was taken away is learned anew."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("policies", "0019_waiting_clients"),
    ]

    operations = [
        migrations.AlterField(
            model_name="clientpatience",
            name="budget_seconds",
            field=models.FloatField(
                blank=True,
                help_text="How long to hold it from now on, in seconds; empty: as long as was learned.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="clientpatience",
            name="gave_up_seconds",
            field=models.FloatField(blank=True, help_text="When it last gave up.", null=True),
        ),
    ]
