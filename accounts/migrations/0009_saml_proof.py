from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_provider_keys_flushed")]

    operations = [
        migrations.AddField(
            model_name="samlrequest",
            name="is_proof",
            field=models.BooleanField(default=False, help_text="The person has to prove anew who they are."),
        ),
    ]
