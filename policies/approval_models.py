"""What waits for a human: rules of who decides, requests, decisions, and the uses of what was approved."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

_DAY = 86_400


def one_stage() -> list[dict[str, object]]:
    """Return the stages of a rule that anybody with the permission may decide."""
    return [{"name": "Approvers", "needed": 1}]


class ApprovalRule(models.Model):
    """Who decides about a held call, how many of them, in which order, and what an approval is good for.

    A guardrail that holds names one. `stages` come one after the other; each has the members `name`, `needed`, and who
    may decide: `groups` and `users` (ids) and `owners` (of the connection). A stage that names nobody is for everybody
    who has the permission to decide. A request keeps the stages that it was opened with.
    """

    class Risk(models.TextChoices):
        """How much an approver has to prove."""

        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    stages = models.JSONField(default=one_stage)
    risk = models.CharField(
        max_length=8, choices=Risk, default=Risk.MEDIUM, help_text="High: deciding asks for a recent proof of identity."
    )
    expires_seconds = models.PositiveIntegerField(
        default=8 * 3600, validators=[MinValueValidator(30), MaxValueValidator(30 * _DAY)],
        help_text="How long a request waits for a decision.",
    )  # fmt: skip
    run_within_seconds = models.PositiveIntegerField(
        default=900, validators=[MinValueValidator(30), MaxValueValidator(_DAY)],
        help_text="How long after the approval the call may begin.",
    )  # fmt: skip
    max_uses = models.PositiveIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="How many runs of the same call one approval may allow at most.",
    )  # fmt: skip
    max_window_seconds = models.PositiveIntegerField(
        default=0, validators=[MaxValueValidator(7 * _DAY)],
        help_text="How long an approval may allow the same call again; 0: once.",
    )  # fmt: skip
    needs_reason = models.BooleanField(default=False, help_text="Approving needs a reason, as denying always does.")
    needs_poller = models.BooleanField(
        default=False, help_text="An approved task runs only while its client still asks for it (within 60 seconds)."
    )
    escalate_seconds = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(30), MaxValueValidator(30 * _DAY)],
        help_text="After so long without a decision the people of the escalation may decide, too.",
    )  # fmt: skip
    escalate_to = models.JSONField(default=dict, blank=True, help_text="Groups and users (ids), as in a stage.")
    access_to = models.ManyToManyField(
        "connections.Connection",
        blank=True,
        related_name="access_rules",
        help_text="Connections to which people may ask for access for a time; this rule decides, its window bounds it.",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ApprovalRequest(models.Model):
    """A held call, or a request for access, from its opening to its end.

    What runs is `sealed`: the very bytes that were held. `binding` is the SHA-256 over everything that an approval is
    bound to (`policies.engine.binding`); a call with another one is another request.
    """

    class Kind(models.TextChoices):
        """What is asked for."""

        CALL = "call"
        ACCESS = "access"

    class State(models.TextChoices):
        """Where it stands. A request that is held or approved is open; the others are its end."""

        HELD = "held"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        CANCELLED = "cancelled"
        USED = "used"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.CharField(max_length=16, unique=True, help_text="How people and agents call it, such as APR-7F3KQ2.")
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.CALL)
    state = models.CharField(max_length=10, choices=State, default=State.HELD)
    principal = models.ForeignKey("accounts.Principal", on_delete=models.PROTECT, related_name="approval_requests")
    client_id = models.CharField(max_length=255, blank=True)
    client_name = models.CharField(max_length=200, blank=True)
    client_version = models.CharField(max_length=100, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    address = models.CharField(max_length=64, blank=True)
    connection = models.ForeignKey("connections.Connection", on_delete=models.PROTECT, related_name="approval_requests")
    session = models.ForeignKey(
        "gateway_sessions.Session", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    call_id = models.UUIDField(null=True, help_text="The call that opened it.")
    method = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=512, blank=True, help_text="The tool, prompt or resource.")
    arguments = models.JSONField(null=True, help_text="Canonical, masked as the record masks them.")
    masked_count = models.PositiveIntegerField(default=0)
    binding = models.BinaryField(max_length=32)
    arguments_sha256 = models.BinaryField(max_length=32, null=True)
    key_id = models.CharField(max_length=64, blank=True, editable=False)
    wrapped_key = models.BinaryField(null=True, editable=False)
    ciphertext = models.BinaryField(null=True, editable=False)
    rule_name = models.CharField(max_length=100, blank=True, help_text="The guardrail that held the call.")
    why = models.CharField(max_length=500, blank=True)
    attributes = models.JSONField(default=list)
    policy_version = models.BigIntegerField(default=0)
    approval_rule = models.ForeignKey(ApprovalRule, null=True, on_delete=models.SET_NULL, related_name="requests")
    stages = models.JSONField(default=list, help_text="As the rule had them when the request was opened.")
    terms = models.JSONField(default=dict, help_text="What else the rule said then.")
    stage = models.PositiveSmallIntegerField(default=0, help_text="The stage whose approvals are awaited.")
    justification = models.CharField(max_length=1000, blank=True, help_text="Of whoever asks.")
    changed_from = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="changed_to")
    vehicle = models.CharField(max_length=16, blank=True, help_text="How the client waits.")
    wanted = models.JSONField(default=dict, help_text="Of a request for access: what, and for how long.")
    grant = models.ForeignKey(
        "policies.AccessGrant", null=True, on_delete=models.SET_NULL, related_name="approval_requests"
    )
    opened_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    escalated_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    usable_until = models.DateTimeField(null=True, help_text="When an approval ends by itself.")
    uses_allowed = models.PositiveIntegerField(default=1)
    waiting_at = models.DateTimeField(null=True, help_text="When a client was last seen waiting.")
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=200, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-opened_at"]
        indexes = [
            models.Index(fields=["state", "expires_at"], name="approval_open"),
            models.Index(fields=["changed_at"], name="approval_changed"),
            models.Index(fields=["principal", "-opened_at"], name="approval_of_principal"),
            models.Index(fields=["-opened_at"], name="approval_recent"),
            models.Index(fields=["opened_at", "id"], name="approval_held", condition=Q(state="held")),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["binding"], condition=Q(state__in=["held", "approved"]), name="approval_open_once_per_binding"
            ),
        ]
        permissions = [
            ("decide_approvalrequest", "Can decide approval requests"),
            ("break_glass_approvalrequest", "Can approve alone in an emergency"),
            ("see_all_approvalrequest", "Can see everybody's approval requests"),
            ("request_access_approvalrequest", "Can ask for access for a time"),
        ]

    def __str__(self) -> str:
        return self.code


class ApprovalDecision(models.Model):
    """What one person decided, from where, how they had proved who they are, and the exact view they had. Immutable."""

    class Verdict(models.TextChoices):
        """What was decided."""

        APPROVE = "approve"
        DENY = "deny"
        WITHDRAW = "withdraw"
        BREAK_GLASS = "break_glass"
        HAND_OVER = "hand_over"
        REVIEW = "review"
        ESCALATE = "escalate"

    class Finding(models.TextChoices):
        """What a review of an approval in an emergency found."""

        JUSTIFIED = "justified"
        NOT_JUSTIFIED = "not_justified", "Not justified"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    principal = models.ForeignKey("accounts.Principal", null=True, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=12, choices=Verdict)
    stage = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=1000, blank=True)
    uses = models.PositiveIntegerField(default=1)
    window_seconds = models.PositiveIntegerField(default=0)
    to_user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    behalf_of = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+",
        help_text="The person whose delegate decided.",
    )  # fmt: skip
    finding = models.CharField(max_length=14, choices=Finding, blank=True, help_text="Of a review.")
    channel = models.CharField(max_length=16, default="console", help_text="console, api, slack and so on.")
    address = models.CharField(max_length=64, blank=True)
    authentication = models.CharField(max_length=80, blank=True, help_text="How, and when it was last proved.")
    view = models.TextField(blank=True, help_text="What the person saw, as JSON.")
    view_sha256 = models.BinaryField(max_length=32, null=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["at"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "user", "stage"], condition=Q(verdict="approve"), name="approval_once_per_person"
            ),
            models.UniqueConstraint(fields=["request"], condition=Q(verdict="review"), name="approval_reviewed_once"),
        ]

    def __str__(self) -> str:
        return f"{self.request}: {self.verdict} by {self.user or self.principal}"


class ApprovalUse(models.Model):
    """One run of an approved call. Made when a gateway process claims it, and consumed with the durable intent.

    Between the two nothing has left. A claim whose process died without an intent is given back, because then nothing
    ever left; a consumed use never comes back.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="uses")
    number = models.PositiveIntegerField()
    call_id = models.UUIDField(unique=True)
    instance_id = models.UUIDField(help_text="The gateway process that claimed it.")
    claimed_at = models.DateTimeField()
    consumed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["request", "number"]
        constraints = [models.UniqueConstraint(fields=["request", "number"], name="approval_use_once")]
        indexes = [
            models.Index(fields=["instance_id"], name="approval_use_claimed", condition=Q(consumed_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.request} #{self.number}"


class ApprovalView(models.Model):
    """Who looked at a request, and when first; kept to the minute."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="views")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.user} saw {self.request}"


class ClientPatience(models.Model):
    """How long a kind of client waits, learned from where it gave up (twice within a tenth), or set by a person."""

    id = models.BigAutoField(primary_key=True)
    principal = models.ForeignKey("accounts.Principal", on_delete=models.CASCADE, related_name="+")
    connection = models.ForeignKey("connections.Connection", on_delete=models.CASCADE, related_name="patience")
    client_name = models.CharField(max_length=200, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    gave_up_seconds = models.FloatField(null=True, blank=True, help_text="When it last gave up.")
    budget_seconds = models.FloatField(
        null=True, blank=True, help_text="How long to hold it from now on, in seconds; empty: as long as was learned."
    )
    is_fixed = models.BooleanField(default=False, help_text="Set by a person; no longer learned.")
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["connection", "client_name"]
        constraints = [
            models.UniqueConstraint(
                fields=["principal", "connection", "client_name", "user_agent"], name="patience_once_per_client"
            ),
            models.CheckConstraint(
                condition=Q(budget_seconds=None) | Q(budget_seconds__gt=0),
                name="patience_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.client_name or self.user_agent} on {self.connection}"
