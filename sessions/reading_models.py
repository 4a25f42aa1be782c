"""Who reads the record and who may: readings, access to the sessions of a connection, and sessions that were ended."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class ReadEvent(models.Model):
    """Somebody looked at the record, or ended a session: appended and chained in one log, before anything is shown.

    The database refuses to change or to delete a row. `hash` is what `sessions.reading_chain.link` gives for it. People
    and tokens are named by their names as they were, with no foreign key: an account that goes takes nothing along.
    """

    class Kind(models.TextChoices):
        """What was looked at, or done."""

        SESSION = "session", "Replay of a session"
        CALL = "call", "A call with its messages"
        TAIL = "tail", "Session, live"
        EVENT = "event", "Events"
        SEARCH = "search", "Search"
        EXPORT = "export", "Export"
        REPORT = "report", "Report"
        END = "end", "Session ended"

    seq = models.BigIntegerField(primary_key=True, help_text="Gap-free, from 1.")
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=Kind)
    user_id = models.BigIntegerField(null=True, help_text="Id of the account; it may be gone by now.")
    username = models.CharField(max_length=150, blank=True)
    via = models.CharField(max_length=100, help_text="console, or the API token by its id.")
    address = models.CharField(max_length=64, blank=True)
    session = models.ForeignKey(
        "gateway_sessions.Session",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    call_id = models.UUIDField(null=True)
    detail = models.CharField(max_length=2000, blank=True, help_text="What was searched for, exported, or why.")
    prev_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ["-seq"]
        indexes = [
            models.Index(fields=["user_id", "-seq"], name="reading_by_user"),
            models.Index(fields=["kind", "-seq"], name="reading_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.username}: {self.get_kind_display()}"


class RecordAccess(models.Model):
    """A person sees the sessions of one connection: a team's own, for those who do not see all."""

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="record_access")
    connection = models.ForeignKey("connections.Connection", on_delete=models.CASCADE, related_name="record_access")
    sees_contents = models.BooleanField(
        default=False, help_text="Also what was asked and answered, masked as it was recorded."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["connection__name", "user__username"]
        verbose_name_plural = "record access"
        constraints = [models.UniqueConstraint(fields=["user", "connection"], name="record_access_once")]

    def __str__(self) -> str:
        return f"{self.user} on {self.connection}"


class SessionStop(models.Model):
    """A session that a person ended. Every gateway process refuses it and cuts its calls for as long as the row lives.

    The row is the evidence and is never changed: a session that was ended stays ended, and its client opens a new one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.OneToOneField(
        "gateway_sessions.Session", on_delete=models.DO_NOTHING, db_constraint=False, related_name="stop"
    )
    reason = models.CharField(max_length=500)
    user_id = models.BigIntegerField(null=True, help_text="Id of the account that ended it; it may be gone by now.")
    username = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.session}: {self.reason}"
