"""What stops a caller at once: locks with a reason and an end, and tokens that are no longer good."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Lock(models.Model):
    """An instant stop. In force from its creation until it is lifted or `ends_at`, on every gateway process."""

    class Kind(models.TextChoices):
        """What is stopped."""

        PRINCIPAL = "principal"
        GROUP = "group"
        PROVIDER = "provider"
        CONNECTION = "connection"
        TOKEN = "token"  # noqa: S105 - a kind, not a secret
        AGENT = "agent"

    class Source(models.TextChoices):
        """Who or what placed it."""

        CONSOLE = "console"
        API = "api"
        SCIM = "scim"
        EVENT = "event"
        LOGOUT = "logout"
        REVOCATION = "revocation"
        INTROSPECTION = "introspection"
        DORMANT = "dormant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    principal = models.ForeignKey(
        "accounts.Principal", null=True, blank=True, on_delete=models.CASCADE, related_name="locks"
    )
    group = models.ForeignKey("accounts.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="locks")
    provider = models.ForeignKey(
        "accounts.IdentityProvider", null=True, blank=True, on_delete=models.CASCADE, related_name="locks"
    )
    connection = models.ForeignKey(
        "connections.Connection", null=True, blank=True, on_delete=models.CASCADE, related_name="locks"
    )
    token = models.CharField(
        max_length=255, blank=True, help_text="SHA-256 of the token in hex, or its `jti` together with its provider."
    )
    agent = models.CharField(
        max_length=255, blank=True, help_text="Client id of the software that acts, or its subject in an act chain."
    )
    reason = models.CharField(max_length=500)
    source = models.CharField(max_length=16, choices=Source, default=Source.CONSOLE, editable=False)
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
        indexes = [models.Index(fields=["lifted_at", "ends_at"], name="lock_in_force")]

    def __str__(self) -> str:
        target = self.principal or self.group or self.provider or self.connection or self.agent or "a token"
        return f"{self.kind}: {target}"


def in_force(now: datetime) -> Q:
    """Return the condition under which a lock stops its target at `now`."""
    return Q(lifted_at=None) & (Q(ends_at=None) | Q(ends_at__gt=now))


def is_in_force(lock: Lock, now: datetime) -> bool:
    """Return whether `lock` stops its target at `now`."""
    return lock.lifted_at is None and (lock.ends_at is None or lock.ends_at > now)


class RevokedToken(models.Model):
    """Tokens that are refused although they verify. A row is needed only until the last of them has expired.

    `sessionless` are those tokens of a subject that name no session: when a session of the subject ends they are
    refused with it, because nothing tells to which session they belong.
    """

    class Kind(models.TextChoices):
        """What `value` is."""

        DIGEST = "digest"
        TOKEN_ID = "token_id"  # noqa: S105 - a kind, not a secret
        SESSION = "session"
        SUBJECT = "subject"
        SESSIONLESS = "sessionless"

    SUBJECT_KINDS = (Kind.SUBJECT, Kind.SESSIONLESS)

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16, choices=Kind)
    issuer = models.CharField(max_length=500, help_text="Empty for a digest.", blank=True)
    value = models.CharField(max_length=255, help_text="SHA-256 in hex, `jti`, `sid`, or `sub`.")
    issued_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="For a subject or sessionless: tokens issued (`iat`) up to this moment are refused.",
    )
    source = models.CharField(max_length=16, choices=Lock.Source)
    reason = models.CharField(max_length=500, blank=True)
    revoked_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True, help_text="When every such token has expired by itself.")

    class Meta:
        ordering = ["-revoked_at"]
        constraints = [models.UniqueConstraint(fields=["kind", "issuer", "value"], name="revoked_once")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.issuer or 'any issuer'}"


class RevocationState(models.Model):
    """The version of locks and revocations: one row, moved by database triggers in the transaction of every change."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    version = models.BigIntegerField(default=0)
    changed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"version {self.version}"


class SeenToken(models.Model):
    """A logout or security event token that had its effect, and must not have it again."""

    id = models.BigAutoField(primary_key=True)
    issuer = models.CharField(max_length=500)
    jti = models.CharField(max_length=255)
    seen_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True, help_text="When the token would be refused for its age anyway.")

    class Meta:
        ordering = ["-seen_at"]
        constraints = [models.UniqueConstraint(fields=["issuer", "jti"], name="token_seen_once")]

    def __str__(self) -> str:
        return f"{self.jti} of {self.issuer}"
