"""What the data path keeps of clients that wait: runs, continued calls, and for how long kinds of clients are held."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone


class ApprovalRun(models.Model):
    """Where the answer of a claimed call is recorded, for those who wait for the same call.

    `is_owed` tells that the client had left before the answer came: the next same call gets it, and does not run.
    """

    call_id = models.UUIDField(primary_key=True, editable=False)
    request = models.ForeignKey("policies.ApprovalRequest", on_delete=models.CASCADE, related_name="runs")
    session_id = models.UUIDField(help_text="The session under which its events are recorded.")
    is_owed = models.BooleanField(default=False)
    started_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["request", "-started_at"]
        indexes = [models.Index(fields=["request", "-started_at"], name="approval_run_newest")]

    def __str__(self) -> str:
        return f"{self.request}: {self.call_id}"


class ApprovalLegs(models.Model):
    """A client that comes back to its held call again and again: the leg that it may begin next, each only once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey("policies.ApprovalRequest", on_delete=models.CASCADE, related_name="legs")
    leg = models.PositiveSmallIntegerField(default=2)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["request", "id"]

    def __str__(self) -> str:
        return f"{self.request}: leg {self.leg}"


class ClientBudget(models.Model):
    """How long a kind of client is held, in the place of what Wardgate would do: everywhere, or on one connection."""

    class Kind(models.TextChoices):
        """The kinds of clients that are told apart (`proxy.vehicles`)."""

        CLAUDE_CODE = "claude_code", "Claude Code"
        VS_CODE = "vs_code", "VS Code"
        CODEX = "codex", "Codex"
        GEMINI = "gemini", "Gemini CLI"
        MCP_REMOTE = "mcp_remote", "mcp-remote"
        FASTMCP = "fastmcp", "FastMCP and PydanticAI"
        PYTHON = "python", "Python SDK"
        AI_SDK = "ai_sdk", "AI SDK"
        TYPESCRIPT = "typescript", "TypeScript SDK"
        OTHER = "other", "Other clients"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16, choices=Kind)
    connection = models.ForeignKey(
        "connections.Connection",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="client_budgets",
        help_text="Empty: on every connection that has no number of its own.",
    )
    seconds = models.PositiveIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(30 * 86_400)],
        help_text="How long a held call of such a client waits for a decision, 1 to 2592000.",
    )
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["kind", "connection"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "connection"],
                name="client_budget_once",
                nulls_distinct=False,
                violation_error_message="There is a number for this kind of client here already.",
            ),
            models.CheckConstraint(condition=Q(seconds__gte=1), name="client_budget_positive"),
        ]

    def __str__(self) -> str:
        where = self.connection if self.connection is not None else "every connection"
        return f"{self.get_kind_display()} on {where}"
