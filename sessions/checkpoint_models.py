"""What proves that the record is as it was written: signed checkpoints, their keys, where they go, what left."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class Checkpoint(models.Model):
    """A signed statement of how far every chain of events had come at one moment; appended, never changed.

    `body` is the JSON that is hashed and signed (`sessions.merkle` says how); it names the checkpoint before.
    """

    number = models.BigIntegerField(primary_key=True, help_text="Gap-free, from 1.")
    at = models.DateTimeField(db_index=True)
    body = models.TextField(help_text="JSON, exactly as signed.")
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    kid = models.CharField(max_length=64, help_text="The key that signed it.")
    signature = models.BinaryField(max_length=64, help_text="Ed25519 (RFC 8032).")
    events = models.BigIntegerField(help_text="Events that it covers, from the first one of the record.")

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"checkpoint {self.number}"


class CheckpointHead(models.Model):
    """How far the newest checkpoint covers one chain: what the next one builds on.

    A convenience and no evidence: the same follows from the checkpoints, and whoever signs compares the two first.
    """

    instance = models.UUIDField(primary_key=True)
    leaf = models.IntegerField(unique=True, help_text="Its place in the Merkle tree, from 0.")
    seq = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"{self.instance} #{self.seq}"


class CheckpointKey(models.Model):
    """A key that signs checkpoints, sealed recordings and releases. The private half is sealed in the vault."""

    kid = models.CharField(
        max_length=64, primary_key=True, editable=False, help_text="SHA-256 of the public key, the first 32 digits."
    )
    public_key = models.BinaryField(max_length=32, editable=False)
    key_id = models.CharField(max_length=64, editable=False)
    wrapped_key = models.BinaryField(editable=False)
    ciphertext = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    signs_until = models.DateTimeField(null=True, blank=True, editable=False)
    endorsed_by = models.CharField(
        max_length=64, blank=True, editable=False, help_text="The key before, if it vouches."
    )
    endorsement = models.BinaryField(max_length=64, blank=True, editable=False, help_text="Its signature of this key.")

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.kid


class CheckpointSink(models.Model):
    """A place outside this machine to which every checkpoint is sent, in order and at least once."""

    class Kind(models.TextChoices):
        """How checkpoints get there."""

        FILE = "file", "File"
        S3 = "s3", "S3-compatible bucket"
        WEBHOOK = "webhook", "Webhook"
        SYSLOG = "syslog", "Syslog (RFC 5424)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=8, choices=Kind)
    target = models.CharField(
        max_length=500,
        help_text="File: a folder below WARDGATE_CHECKPOINT_FOLDER. S3: URL of the service, such as "
        "https://s3.eu-central-1.amazonaws.com. Webhook: URL. Syslog: host:port.",
    )
    bucket = models.CharField(max_length=63, blank=True, help_text="S3 only.")
    prefix = models.CharField(max_length=200, blank=True, help_text="S3 only: what the names of objects begin with.")
    region = models.CharField(max_length=50, blank=True, help_text="S3 only; us-east-1 when empty.")
    access_key = models.CharField(max_length=128, blank=True, help_text="S3 only: the access key id.")
    has_tls = models.BooleanField("TLS", default=True, help_text="Syslog only: without, only into allowed networks.")
    ca_certificate = models.TextField(
        "CA certificate", blank=True, help_text="Syslog only: PEM of the authority to trust instead of the system's."
    )
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        help_text='CIDR blocks that may be reached besides public addresses: ["10.20.0.0/16"].',
    )
    key_id = models.CharField(max_length=64, blank=True, editable=False)
    wrapped_key = models.BinaryField(default=b"", editable=False)
    ciphertext = models.BinaryField(default=b"", editable=False)
    is_active = models.BooleanField(default=True)
    delivered = models.BigIntegerField(default=0, editable=False, help_text="Number of the last checkpoint it has.")
    delivered_at = models.DateTimeField(null=True, blank=True, editable=False)
    failures = models.IntegerField(default=0, editable=False, help_text="In a row.")
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class EventRelease(models.Model):
    """The signed tombstone of a partition of events that left the database; appended, never changed.

    `body` says for every chain which numbers left, what its first one built on and what its last one hashes to.
    """

    number = models.BigIntegerField(primary_key=True, help_text="Gap-free, from 1.")
    at = models.DateTimeField()
    partition = models.CharField(max_length=63, unique=True)
    body = models.TextField(help_text="JSON, exactly as signed.")
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    kid = models.CharField(max_length=64)
    signature = models.BinaryField(max_length=64)
    events = models.BigIntegerField(help_text="How many events left.")

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.partition}"
