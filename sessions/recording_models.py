"""Sealed recordings, how long they are kept, what must not be deleted, and the proof of what was deleted."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Recording(models.Model):
    """One sealed file: the events of a session, or of a later part of it, or those of a month that have no session.

    A row is `writing` before its file exists, and `sealed` only when the file was read back and proved. The data key of
    an encrypted recording is sealed in the vault, bound to the row; when it is gone, nobody reads the file again.
    """

    class State(models.TextChoices):
        """Where the file is in its life."""

        WRITING = "writing"
        SEALED = "sealed"
        DELETING = "deleting"
        DELETED = "deleted"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(
        "gateway_sessions.Session", null=True, on_delete=models.PROTECT, related_name="recordings"
    )
    month = models.DateField(null=True, help_text="Of events that have no session.")
    part = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=8, choices=State, default=State.WRITING)
    storage = models.CharField(max_length=8, help_text="local or s3")
    name = models.CharField(max_length=300, unique=True, help_text="Of the file, in its storage.")
    events = models.BigIntegerField(default=0)
    calls = models.BigIntegerField(default=0)
    suspect = models.BigIntegerField(
        default=0, help_text="Events whose hash did not verify when they were sealed: the record had been changed."
    )
    months = models.JSONField(default=dict, help_text="How many of its events are of which month, as 2026-11.")
    chains = models.JSONField(
        default=dict, help_text="By gateway process: first and last seq, how many of them, and the last hash."
    )
    first_event_id = models.BigIntegerField(null=True)
    last_event_id = models.BigIntegerField(null=True)
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    raw_bytes = models.BigIntegerField(default=0, help_text="Before compression.")
    size = models.BigIntegerField("bytes", default=0)
    content_sha256 = models.CharField(max_length=64, blank=True)
    chain = models.CharField(max_length=64, blank=True, help_text="The last chain value, which is signed.")
    kid = models.CharField(max_length=64, blank=True, help_text="The key that signed it.")
    is_encrypted = models.BooleanField(default=False)
    key_id = models.CharField(max_length=64, blank=True)
    wrapped_key = models.BinaryField(default=b"")
    ciphertext = models.BinaryField(default=b"")
    created_at = models.DateTimeField(default=timezone.now)
    sealed_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    tombstone = models.ForeignKey(
        "gateway_sessions.Tombstone", null=True, on_delete=models.PROTECT, related_name="recordings"
    )

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="recording_of_session_or_month",
                condition=Q(session__isnull=False, month__isnull=True) | Q(session__isnull=True, month__isnull=False),
            ),
            models.UniqueConstraint(fields=["session", "part"], name="recording_part_once"),
            models.UniqueConstraint(fields=["month", "part"], name="recording_month_part_once"),
            models.CheckConstraint(
                name="recording_deleted_with_tombstone",
                condition=Q(state__in=["writing", "sealed"], tombstone__isnull=True)
                | Q(state__in=["deleting", "deleted"], tombstone__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["state", "sealed_at"], name="recording_by_state"),
            models.Index(fields=["-created_at", "id"], name="recording_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.session_id or f'{self.month:%Y-%m}'}, part {self.part}"


class RetentionRule(models.Model):
    """How long the recordings of a connection are kept. The rule without a connection is for all that have none.

    Without any rule nothing is ever deleted.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.OneToOneField(
        "connections.Connection",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="retention",
        help_text="Empty: every connection that has no rule of its own.",
    )
    days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(36_500)],
        help_text="Days after the end of a session. Empty: for ever.",
    )
    is_encrypted = models.BooleanField(
        "encrypts recordings", default=False, help_text="Each under a key of its own, which is sealed in the vault."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["connection__name"]
        constraints = [models.UniqueConstraint(fields=["connection"], name="retention_rule_once", nulls_distinct=False)]

    def __str__(self) -> str:
        kept = "for ever" if self.days is None else f"{self.days} days"
        return f"{self.connection or 'every other connection'}: {kept}"


class LegalHold(models.Model):
    """Nothing of what it names is deleted, from its creation until it is lifted or `ends_at`."""

    class Kind(models.TextChoices):
        """What is held."""

        SESSION = "session"
        PRINCIPAL = "principal"
        CONNECTION = "connection"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    session = models.ForeignKey(
        "gateway_sessions.Session", null=True, blank=True, on_delete=models.PROTECT, related_name="holds"
    )
    principal = models.ForeignKey(
        "accounts.Principal", null=True, blank=True, on_delete=models.PROTECT, related_name="holds"
    )
    connection = models.ForeignKey(
        "connections.Connection", null=True, blank=True, on_delete=models.PROTECT, related_name="holds"
    )
    reason = models.CharField(max_length=500, help_text="Such as the number of the case.")
    actor = models.ForeignKey(
        "accounts.User", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted.")
    lifted_at = models.DateTimeField(null=True, blank=True, editable=False)
    lifted_by = models.ForeignKey(
        "accounts.User", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["lifted_at", "ends_at"], name="hold_in_force")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.session or self.principal or self.connection}"


class Tombstone(models.Model):
    """The signed proof of one deletion: what is gone, by which rule, and where its chains go on. Never changed.

    `body` is the JSON that is hashed and signed; it names the hash of the tombstone before, so none can be taken away.
    """

    number = models.BigIntegerField(primary_key=True, help_text="Gap-free, from 1.")
    at = models.DateTimeField(db_index=True)
    session = models.ForeignKey(
        "gateway_sessions.Session",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="tombstones",
    )
    connection_slug = models.CharField(max_length=63, blank=True)
    events = models.BigIntegerField(help_text="How many events are gone.")
    rule = models.CharField(max_length=200, help_text="Why.")
    body = models.TextField(help_text="JSON, exactly as signed.")
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    kid = models.CharField(max_length=64, help_text="The key that signed it.")
    signature = models.BinaryField(max_length=64, help_text="Ed25519 (RFC 8032).")

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"tombstone {self.number}"
