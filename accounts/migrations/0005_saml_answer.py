from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_revocation_triggers")]

    operations = [
        migrations.AddField(
            model_name="samlrequest",
            name="answer",
            field=models.JSONField(blank=True, help_text="What the answer proved; gone once it was used.", null=True),
        ),
        migrations.AddField(
            model_name="samlrequest",
            name="answered_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
