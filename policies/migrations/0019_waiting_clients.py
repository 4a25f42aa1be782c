"""Runs and legs of calls that wait, and how long kinds of clients are held."""

from __future__ import annotations

import uuid

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("connections", "0003_approvals"),
        ("policies", "0018_chats"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApprovalRun",
            fields=[
                ("call_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("session_id", models.UUIDField(help_text="The session under which its events are recorded.")),
                ("is_owed", models.BooleanField(default=False)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="runs", to="policies.approvalrequest"
                    ),
                ),
            ],
            options={
                "ordering": ["request", "-started_at"],
                "indexes": [models.Index(fields=["request", "-started_at"], name="approval_run_newest")],
            },
        ),
        migrations.CreateModel(
            name="ApprovalLegs",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("leg", models.PositiveSmallIntegerField(default=2)),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="legs", to="policies.approvalrequest"
                    ),
                ),
            ],
            options={"ordering": ["request", "id"]},
        ),
        migrations.CreateModel(
            name="ClientBudget",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("claude_code", "Claude Code"),
                            ("vs_code", "VS Code"),
                            ("codex", "Codex"),
                            ("gemini", "Gemini CLI"),
                            ("mcp_remote", "mcp-remote"),
                            ("fastmcp", "FastMCP and PydanticAI"),
                            ("python", "Python SDK"),
                            ("ai_sdk", "AI SDK"),
                            ("typescript", "TypeScript SDK"),
                            ("other", "Other clients"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "seconds",
                    models.PositiveIntegerField(
                        help_text="How long a held call of such a client waits for a decision, 1 to 2592000.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(2592000),
                        ],
                    ),
                ),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "connection",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: on every connection that has no number of its own.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="client_budgets",
                        to="connections.connection",
                    ),
                ),
            ],
            options={
                "ordering": ["kind", "connection"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("kind", "connection"),
                        name="client_budget_once",
                        nulls_distinct=False,
                        violation_error_message="There is a number for this kind of client here already.",
                    ),
                    models.CheckConstraint(condition=models.Q(("seconds__gte", 1)), name="client_budget_positive"),
                ],
            },
        ),
    ]
