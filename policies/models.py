"""What is allowed: grants, guardrails and masking patterns. The engine compiles these rows; nothing here decides."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .approval_models import (
    ApprovalDecision,
    ApprovalRequest,
    ApprovalRule,
    ApprovalUse,
    ApprovalView,
    ClientPatience,
)
from .approval_people_models import ApprovalDelegation, ApprovalMessage
from .chat_models import PushKey, SlackCode, SlackIdentity, SlackMessage, SlackSeen
from .holding_models import ApprovalLegs, ApprovalRun, ClientBudget
from .inbox_models import InboxFilter
from .notice_models import NoticeChannel, NoticeDelivery, NoticeOutbox, NoticePreference, PushSubscription

__all__ = [
    "AccessGrant",
    "ApprovalDecision",
    "ApprovalDelegation",
    "ApprovalLegs",
    "ApprovalMessage",
    "ApprovalRequest",
    "ApprovalRule",
    "ApprovalRun",
    "ApprovalUse",
    "ApprovalView",
    "BackTest",
    "ClientBudget",
    "ClientPatience",
    "Guardrail",
    "InboxFilter",
    "MaskingPattern",
    "NoticeChannel",
    "NoticeDelivery",
    "NoticeOutbox",
    "NoticePreference",
    "PolicyDraft",
    "PolicyState",
    "PolicyTest",
    "PolicyVersion",
    "PushKey",
    "PushSubscription",
    "SlackCode",
    "SlackIdentity",
    "SlackMessage",
    "SlackSeen",
    "any_name",
]


def any_name() -> list[str]:
    """Return the glob list that matches every name."""
    return ["*"]


class AccessGrant(models.Model):
    """Somebody may use a connection, with these tools, prompts and resources, at certain times and from certain places.

    Somebody is a principal, a group, or whoever meets the condition. Without a grant the connection does not exist for
    the caller. Names are globs (`*`, `?`), matched to the letter.
    """

    class Kind(models.TextChoices):
        """How the grant came to be."""

        STANDING = "standing", "Standing"
        JUST_IN_TIME = "just_in_time", "Just in time"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.ForeignKey(
        "connections.Connection", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    labels = models.JSONField(
        default=list, blank=True, help_text="Instead of one connection: all that have one of these labels."
    )
    principal = models.ForeignKey(
        "accounts.Principal", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    group = models.ForeignKey("accounts.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    tools = models.JSONField(default=list, blank=True, help_text='Globs of tool names, such as ["get_*"].')
    prompts = models.JSONField(default=list, blank=True, help_text="Globs of prompt names.")
    resources = models.JSONField(default=list, blank=True, help_text="Globs of resource URIs.")
    condition = models.TextField(
        blank=True,
        max_length=4096,
        help_text='CEL over identity, client, connection and request, such as identity.kind == "machine".',
    )
    windows = models.JSONField(
        default=list,
        blank=True,
        help_text='Weekly windows, such as {"days": ["mon"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"}.',
    )
    networks = models.JSONField(
        default=list, blank=True, help_text="Networks (CIDR) in which the client has to be. Empty: anywhere."
    )
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.STANDING, editable=False)
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
                name="grant_to_somebody",
                condition=Q(principal__isnull=False, group__isnull=True)
                | Q(principal__isnull=True, group__isnull=False)
                | Q(principal__isnull=True, group__isnull=True) & ~Q(condition=""),
                violation_error_message="Name either a principal or a group; or neither, and a condition.",
            ),
            models.CheckConstraint(
                name="grant_for_connection_or_labels",
                condition=Q(connection__isnull=False, labels=[]) | Q(connection__isnull=True) & ~Q(labels=[]),
                violation_error_message="Name either a connection or labels of connections.",
            ),
            models.CheckConstraint(
                name="grant_starts_before_it_ends",
                condition=Q(valid_from=None) | Q(valid_until=None) | Q(valid_from__lt=F("valid_until")),
                violation_error_message="The grant must start before it ends.",
            ),
        ]

    def __str__(self) -> str:
        who = self.principal or self.group or "whoever meets the condition"
        return f"{who} may use {self.connection or ', '.join(self.labels)}"


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
    labels = models.JSONField(
        default=list, blank=True, help_text="Without a connection: only those that have one of these labels."
    )
    principals = models.ManyToManyField("accounts.Principal", blank=True, related_name="guardrails")
    groups = models.ManyToManyField(
        "accounts.Group", blank=True, related_name="guardrails", help_text="No principals and no groups: everybody."
    )
    annotations = models.JSONField(
        default=dict,
        blank=True,
        help_text='What the tool must say of itself, such as {"destructiveHint": true}. '
        "A tool that says nothing meets what denies or holds.",
    )
    condition = models.TextField(
        blank=True,
        max_length=4096,
        help_text="CEL over identity, client, connection, tool, args, request and session. Empty: always.",
    )
    is_observed = models.BooleanField(
        "observe only", default=False, help_text="Decide nothing; record what the rule would have done."
    )
    pack = models.CharField(max_length=64, blank=True, editable=False)
    approval_rule = models.ForeignKey(
        ApprovalRule,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="guardrails",
        help_text="Of a rule that holds: who decides. Empty: anybody who may decide approvals.",
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


class PolicyVersion(models.Model):
    """All policy as it was after one change: who made it, why, and the whole of it. Never changed, never deleted."""

    class Source(models.TextChoices):
        """By which way the change came."""

        CONSOLE = "console"
        API = "api"
        FILE = "file"
        ROLLBACK = "rollback"
        SYSTEM = "system"

    number = models.BigIntegerField(primary_key=True, help_text="The policy version that calls are recorded with.")
    document = models.JSONField(help_text="Grants, guardrails, masking patterns and tests, in canonical order.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the canonical document.")
    source = models.CharField(max_length=16, choices=Source)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    author_name = models.CharField(max_length=150, blank=True)
    comment = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-number"]
        permissions = [("publish_policyversion", "Can bring drafts and earlier versions of policy into force")]

    def __str__(self) -> str:
        return f"Policy version {self.number}"


class PolicyDraft(models.Model):
    """Policy that is not in force yet: written, rehearsed against recorded calls, tested, and then published."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    document = models.JSONField(default=dict)
    base_number = models.BigIntegerField(default=0, editable=False, help_text="The version that it was made from.")
    comment = models.CharField(max_length=500, blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    published_number = models.BigIntegerField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-changed_at"]

    def __str__(self) -> str:
        return self.name


class PolicyTest(models.Model):
    """A call and the verdict that policy must give it; run before any policy comes into force."""

    name = models.CharField(max_length=100, unique=True)
    given = models.JSONField(help_text="Who calls what: identity, connection, method, name, arguments, time, address.")
    expected = models.CharField(max_length=8, choices=Guardrail.Effect)
    rule = models.CharField(max_length=100, blank=True, help_text="The rule that has to decide. Empty: any.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class BackTest(models.Model):
    """Policy that is not in force run against recorded calls: what would have been decided otherwise.

    `document` is a copy, so that a draft which is changed meanwhile changes no result. `lease` and `beat_at` tell which
    worker is at it and when it last wrote, `position` is the last event that it has counted.
    """

    class State(models.TextChoices):
        """How far it is."""

        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=150, blank=True, editable=False)
    draft = models.ForeignKey(PolicyDraft, null=True, blank=True, on_delete=models.CASCADE, related_name="back_tests")
    version_number = models.BigIntegerField("version", null=True, blank=True)
    document = models.JSONField(default=dict, blank=True)
    since = models.DateTimeField()
    until = models.DateTimeField()
    state = models.CharField(max_length=12, choices=State, default=State.WAITING)
    calls_total = models.PositiveIntegerField(default=0)
    calls_done = models.PositiveIntegerField(default=0)
    differences_total = models.PositiveIntegerField(default=0)
    differences = models.JSONField(default=list, blank=True, help_text="The first ones, grouped by what would change.")
    not_replayable = models.PositiveIntegerField(default=0, help_text="Calls that the record does not say enough of.")
    summary = models.JSONField(
        default=dict, blank=True, help_text="Counts by verdict, and why calls could not be judged."
    )
    failure = models.CharField(max_length=255, blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    position = models.BigIntegerField(default=0, editable=False)
    lease = models.UUIDField(null=True, editable=False)
    beat_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.title or self.draft}: {self.state}"
