"""What is allowed: grants, guardrails and masking patterns. The engine compiles these rows; nothing here decides."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


def any_name() -> list[str]:
    """Return the glob list that matches every name."""
    return ["*"]


class AccessGrant(models.Model):
    """A principal or a group may use a connection, with these tools, prompts and resources, until a time.

    Without a grant the connection does not exist for the caller. Names are globs (`*`, `?`), matched to the letter.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.ForeignKey("connections.Connection", on_delete=models.CASCADE, related_name="grants")
    principal = models.ForeignKey(
        "accounts.Principal", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    group = models.ForeignKey("accounts.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    tools = models.JSONField(default=list, blank=True, help_text='Globs of tool names, such as ["get_*"].')
    prompts = models.JSONField(default=list, blank=True, help_text="Globs of prompt names.")
    resources = models.JSONField(default=list, blank=True, help_text="Globs of resource URIs.")
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_until = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=255, blank=True)
    is_active = models.BooleanField(default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["connection__name", "created_at"]
        constraints = [
            models.CheckConstraint(
                name="grant_to_principal_or_group",
                condition=Q(principal__isnull=False, group__isnull=True)
                | Q(principal__isnull=True, group__isnull=False),
                violation_error_message="Name either a principal or a group.",
            ),
            models.CheckConstraint(
                name="grant_starts_before_it_ends",
                condition=Q(valid_from=None) | Q(valid_until=None) | Q(valid_from__lt=F("valid_until")),
                violation_error_message="The grant must start before it ends.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.principal or self.group} may use {self.connection}"


class Guardrail(models.Model):
    """A rule over calls. The strictest matching effect wins, whatever the order: deny, then hold, then allow."""

    class Effect(models.TextChoices):
        """What a matching call meets."""

        DENY = "deny"
        HOLD = "hold"
        ALLOW = "allow"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    effect = models.CharField(max_length=8, choices=Effect)
    connection = models.ForeignKey(
        "connections.Connection",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="guardrails",
        help_text="Empty: every connection.",
    )
    methods = models.JSONField(default=any_name, help_text='Globs of JSON-RPC methods, such as ["tools/call"].')
    names = models.JSONField(
        default=any_name, help_text="Globs of what is called: a tool or prompt name, or a resource URI."
    )
    reason = models.CharField(max_length=255, blank=True, help_text="Told to the caller of a denied call.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.effect})"


class MaskingPattern(models.Model):
    """What to redact from every message that goes to a client. RE2 syntax; only counts of hits are kept."""

    class Check(models.TextChoices):
        """What a match has to pass besides the expression."""

        NONE = "none"
        LUHN = "luhn", "Luhn checksum (payment cards)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(
        max_length=64, unique=True, validators=[RegexValidator(r"\A[a-z0-9][a-z0-9_-]*\Z", "Use a-z, 0-9, _ and -.")]
    )
    pattern = models.CharField(max_length=1024, help_text="RE2 regular expression; no look-around, no back-references.")
    check_kind = models.CharField("check", max_length=8, choices=Check, default=Check.NONE)
    replacement = models.CharField(max_length=64, blank=True, help_text="Empty: [MASKED:name].")
    connection = models.ForeignKey(
        "connections.Connection",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="masking_patterns",
        help_text="Empty: every connection.",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class PolicyState(models.Model):
    """The number of the policy in force: one row, moved by database triggers in the transaction of every change.

    The triggers watch every table that the snapshot is compiled from, so no writer can forget to move it.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    version = models.BigIntegerField(default=1)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(name="policy_state_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"Policy version {self.version}"
