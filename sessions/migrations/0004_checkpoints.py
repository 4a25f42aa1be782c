"""Checkpoints, their keys, the sinks that get copies, and the tombstones of what was released."""

import uuid

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("gateway_sessions", "0003_search_and_reading"),
    ]

    operations = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("number", models.BigIntegerField(help_text="Gap-free, from 1.", primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_index=True)),
                ("body", models.TextField(help_text="JSON, exactly as signed.")),
                ("prev_hash", models.BinaryField(max_length=32)),
                ("hash", models.BinaryField(max_length=32)),
                ("kid", models.CharField(help_text="The key that signed it.", max_length=64)),
                ("signature", models.BinaryField(help_text="Ed25519 (RFC 8032).", max_length=64)),
                (
                    "events",
                    models.BigIntegerField(help_text="Events that it covers, from the first one of the record."),
                ),
            ],
            options={
                "ordering": ["-number"],
            },
        ),
        migrations.CreateModel(
            name="CheckpointHead",
            fields=[
                ("instance", models.UUIDField(primary_key=True, serialize=False)),
                ("leaf", models.IntegerField(help_text="Its place in the Merkle tree, from 0.", unique=True)),
                ("seq", models.BigIntegerField()),
                ("hash", models.BinaryField(max_length=32)),
            ],
        ),
        migrations.CreateModel(
            name="CheckpointKey",
            fields=[
                (
                    "kid",
                    models.CharField(
                        editable=False,
                        help_text="SHA-256 of the public key, the first 32 digits.",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("public_key", models.BinaryField(max_length=32)),
                ("key_id", models.CharField(editable=False, max_length=64)),
                ("wrapped_key", models.BinaryField()),
                ("ciphertext", models.BinaryField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("signs_until", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "endorsed_by",
                    models.CharField(
                        blank=True, editable=False, help_text="The key before, if it vouches.", max_length=64
                    ),
                ),
                ("endorsement", models.BinaryField(blank=True, help_text="Its signature of this key.", max_length=64)),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="CheckpointSink",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("file", "File"),
                            ("s3", "S3-compatible bucket"),
                            ("webhook", "Webhook"),
                            ("syslog", "Syslog (RFC 5424)"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "target",
                    models.CharField(
                        help_text="File: a folder below WARDGATE_CHECKPOINT_FOLDER. S3: URL of the service, such as https://s3.eu-central-1.amazonaws.com. Webhook: URL. Syslog: host:port.",
                        max_length=500,
                    ),
                ),
                ("bucket", models.CharField(blank=True, help_text="S3 only.", max_length=63)),
                (
                    "prefix",
                    models.CharField(
                        blank=True, help_text="S3 only: what the names of objects begin with.", max_length=200
                    ),
                ),
                ("region", models.CharField(blank=True, help_text="S3 only; us-east-1 when empty.", max_length=50)),
                ("access_key", models.CharField(blank=True, help_text="S3 only: the access key id.", max_length=128)),
                (
                    "has_tls",
                    models.BooleanField(
                        default=True, help_text="Syslog only: without, only into allowed networks.", verbose_name="TLS"
                    ),
                ),
                (
                    "ca_certificate",
                    models.TextField(
                        blank=True,
                        help_text="Syslog only: PEM of the authority to trust instead of the system's.",
                        verbose_name="CA certificate",
                    ),
                ),
                (
                    "allowed_networks",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='CIDR blocks that may be reached besides public addresses: ["10.20.0.0/16"].',
                    ),
                ),
                ("key_id", models.CharField(blank=True, editable=False, max_length=64)),
                ("wrapped_key", models.BinaryField(default=b"")),
                ("ciphertext", models.BinaryField(default=b"")),
                ("is_active", models.BooleanField(default=True)),
                (
                    "delivered",
                    models.BigIntegerField(
                        default=0, editable=False, help_text="Number of the last checkpoint it has."
                    ),
                ),
                ("delivered_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("failures", models.IntegerField(default=0, editable=False, help_text="In a row.")),
                ("last_error", models.CharField(blank=True, editable=False, max_length=300)),
                ("retry_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="EventRelease",
            fields=[
                ("number", models.BigIntegerField(help_text="Gap-free, from 1.", primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("partition", models.CharField(max_length=63, unique=True)),
                ("body", models.TextField(help_text="JSON, exactly as signed.")),
                ("prev_hash", models.BinaryField(max_length=32)),
                ("hash", models.BinaryField(max_length=32)),
                ("kid", models.CharField(max_length=64)),
                ("signature", models.BinaryField(max_length=64)),
                ("events", models.BigIntegerField(help_text="How many events left.")),
            ],
            options={
                "ordering": ["-number"],
            },
        ),
    ]
