"""What happened: gateway processes, sessions, and the append-only, chained events of both."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from .checkpoint_models import Checkpoint, CheckpointHead, CheckpointKey, CheckpointSink, EventRelease
from .export_models import ExportCursor, ExportSink
from .reading_models import ReadEvent, RecordAccess, SessionStop
from .recording_models import LegalHold, Recording, RetentionRule, Tombstone
from .search_models import CallIndex, IndexCursor, SavedView

__all__ = [
    "Activity",
    "CallIndex",
    "Checkpoint",
    "CheckpointHead",
    "CheckpointKey",
    "CheckpointSink",
    "Event",
    "EventRelease",
    "ExportCursor",
    "ExportSink",
    "GatewayInstance",
    "IndexCursor",
    "LegalHold",
    "ReadEvent",
    "RecordAccess",
    "Recording",
    "RetentionRule",
    "SavedView",
    "Session",
    "SessionStop",
    "Tombstone",
]


class GatewayInstance(models.Model):
    """One gateway process, from start to end: the owner of one hash chain and of its open intents.

    It is alive while it holds its PostgreSQL advisory lock or its heartbeat is fresh. Whoever ends a dead one first
    closes its open intents as `outcome_unknown`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    lock_key = models.BigIntegerField(unique=True, help_text="Key of the advisory lock that the process holds.")
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    process_started = models.CharField(
        max_length=64, help_text="Start time of the process, as its host's kernel counts."
    )
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    open_from_seq = models.BigIntegerField(
        default=1, help_text="Every intent with a smaller sequence number has its outcome."
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=32, blank=True)

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["heartbeat_at"], name="instance_open", condition=models.Q(ended_at=None))]

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}"


class Session(models.Model):
    """A span of one principal's activity on one connection. Not `Mcp-Session-Id`, and not Django's session."""

    class Era(models.TextChoices):
        """Which of the two protocol eras the client speaks."""

        LEGACY = "legacy", "2024-11-05 to 2025-11-25"
        MODERN = "modern", "2026-07-28"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    principal = models.ForeignKey("accounts.Principal", on_delete=models.PROTECT, related_name="sessions")
    connection = models.ForeignKey("connections.Connection", on_delete=models.PROTECT, related_name="sessions")
    era = models.CharField(max_length=8, choices=Era)
    protocol_version = models.CharField(max_length=16, blank=True)
    client_name = models.CharField(max_length=200, blank=True, help_text="As the client says; never used to decide.")
    client_version = models.CharField(max_length=100, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    remote_address = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=32, blank=True)

    class Meta:
        ordering = ["-started_at"]
        permissions = [
            ("see_all_sessions", "Can see every session, not only their own and their connections'"),
            ("unmask_session", "Can see what is recorded unmasked, where anything is"),
            ("end_session", "Can end a session that is under way"),
        ]
        indexes = [
            models.Index(fields=["-started_at"], name="session_recent"),
            models.Index(fields=["principal", "-started_at"], name="session_of_principal"),
            models.Index(fields=["started_at"], name="session_open", condition=models.Q(ended_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.principal} on {self.connection}, {self.started_at:%Y-%m-%d %H:%M}"


class Event(models.Model):
    """One entry of the record: appended, chained, never changed.

    `hash` is the SHA-256 that `sessions.chain.link` gives for this row and the previous one of the same instance.
    `session` and `instance` carry no foreign key constraint in the database: its check takes a row lock on the parent
    for every event, and the hot path writes thousands a second for one session.

    The table is partitioned by month of `at` (`sessions.partitions`), which is why the database's keys end in it, and
    triggers refuse every UPDATE, DELETE and TRUNCATE.
    """

    id = models.BigAutoField(primary_key=True)
    instance = models.ForeignKey(
        GatewayInstance, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="events"
    )
    seq = models.BigIntegerField(help_text="Gap-free position in the instance's chain, from 1.")
    at = models.DateTimeField(help_text="Wall clock of the gateway, to the microsecond; `seq` decides order.")
    session = models.ForeignKey(
        Session, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="events"
    )
    call_id = models.UUIDField(null=True, help_text="The call that the event belongs to.")
    name = models.CharField(max_length=64, help_text="source:subject:action")
    body = models.TextField(help_text="JSON object, as hashed.")
    payload = models.BinaryField(
        null=True, help_text="A masked message as recorded; zstd when it starts with that magic number."
    )
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["instance", "seq", "at"], name="event_seq_once_per_instance")]
        indexes = [models.Index(fields=["session", "id"], name="event_of_session")]

    def __str__(self) -> str:
        return f"{self.name} #{self.seq}"


class Activity(models.Model):
    """One call of a caller, as rules about what happened before see it; written only while such rules exist.

    `caller` is the SHA-256 of issuer, subject and client. `values` has digests of scalar arguments, never a value.
    """

    id = models.BigAutoField(primary_key=True)
    caller = models.BinaryField(max_length=32)
    call_id = models.UUIDField(unique=True)
    connection_slug = models.CharField(max_length=63)
    name = models.CharField(max_length=512)
    labels = models.JSONField(default=list)
    values = models.JSONField(default=dict)
    bytes = models.BigIntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["caller", "id"], name="activity_by_caller"),
            models.Index(fields=["at"], name="activity_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.connection_slug}/{self.name}"
