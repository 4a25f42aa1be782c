"""Who is told what, in which way: channels, people's own choices, the outbox, and the log of what was sent."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from policies.notices.message import Event

_CHOICES = [(event.value, event.value.replace("_", " ").capitalize()) for event in Event]


class NoticeChannel(models.Model):
    """A place that is told: a mailbox, a Slack channel, a Teams channel, or a webhook.

    What is sealed is JSON: `secret`, for a webhook `previous` as long as both sign, and for Slack `signing`, with which
    the service signs what it sends to the gateway. Nobody reads them back.
    """

    class Kind(models.TextChoices):
        """How it is told."""

        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"
        TEAMS = "teams", "Microsoft Teams"
        WEBHOOK = "webhook", "Webhook (Standard Webhooks)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=16, choices=Kind)
    target = models.CharField(
        max_length=500,
        blank=True,
        help_text="E-mail: addresses, comma-separated. Slack: id of the channel. Webhook: URL. Teams: leave empty.",
    )
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        help_text='CIDR blocks that may be reached besides public addresses: ["10.20.0.0/16"].',
    )
    events = models.JSONField(default=list, blank=True, help_text="Which events; empty: all of them.")
    approval_rules = models.ManyToManyField(
        "policies.ApprovalRule", blank=True, related_name="+", help_text="Only of these rules; empty: of all."
    )
    connections = models.ManyToManyField(
        "connections.Connection", blank=True, related_name="+", help_text="Only of these connections; empty: of all."
    )
    risks = models.JSONField(default=list, blank=True, help_text="Only of these risks (low, medium, high); empty: all.")
    includes_arguments = models.BooleanField(
        default=False, help_text="Also the arguments of the call, masked as they were recorded."
    )
    most_per_minute = models.PositiveIntegerField(
        default=20, validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="Messages in a minute; what is beyond is told in one message.",
    )  # fmt: skip
    is_active = models.BooleanField(default=True)
    key_id = models.CharField(max_length=64, blank=True, editable=False)
    wrapped_key = models.BinaryField(default=b"", editable=False)
    ciphertext = models.BinaryField(default=b"", editable=False)
    sent = models.BigIntegerField(default=0, editable=False, help_text="Messages that it took.")
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    failures = models.IntegerField(default=0, editable=False, help_text="In a row.")
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "notification channel"

    def __str__(self) -> str:
        return self.name


class NoticePreference(models.Model):
    """What one person wants to be told, and in which way; without a row everything, by e-mail and web push."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="notice_preference"
    )
    email_events = models.JSONField(default=list, blank=True)
    push_events = models.JSONField(default=list, blank=True)
    quiet_from = models.TimeField(null=True, blank=True, help_text="Nothing is sent from then on,")
    quiet_until = models.TimeField(null=True, blank=True, help_text="until then, in this time zone:")
    time_zone = models.CharField(max_length=64, default="UTC")
    changed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Notifications of {self.user}"


class PushSubscription(models.Model):
    """A browser that a person lets the gateway send messages to. Its keys are sealed: JSON with p256dh and auth."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="push_subscriptions")
    endpoint = models.CharField(max_length=1000, editable=False)
    endpoint_sha256 = models.BinaryField(max_length=32, unique=True, editable=False)
    browser = models.CharField(max_length=200, blank=True, help_text="As the browser calls itself.")
    key_id = models.CharField(max_length=64, blank=True, editable=False)
    wrapped_key = models.BinaryField(default=b"", editable=False)
    ciphertext = models.BinaryField(default=b"", editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.browser or 'A browser'} of {self.user}"


class NoticeOutbox(models.Model):
    """That something happened about which people are to be told; written in the transaction in which it happened."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey("policies.ApprovalRequest", on_delete=models.CASCADE, related_name="notices")
    event = models.CharField(max_length=16, choices=_CHOICES)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    to = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    text = models.CharField(max_length=1000, blank=True, help_text="What a person wrote.")
    stage = models.PositiveSmallIntegerField(default=0)
    at = models.DateTimeField(default=timezone.now)
    spread_at = models.DateTimeField(null=True, help_text="When it was known who is told.")

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["id"], name="notice_outbox_new", condition=Q(spread_at=None))]
        constraints = [
            models.UniqueConstraint(fields=["request"], condition=Q(event="reminder"), name="notice_reminder_once")
        ]

    def __str__(self) -> str:
        return f"{self.event} of {self.request}"


class NoticeDelivery(models.Model):
    """One message to one place, from its making to its end."""

    class State(models.TextChoices):
        """Where it stands."""

        WAITING = "waiting"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"
        DROPPED = "dropped", "No longer needed"
        MERGED = "merged", "Told in a summary"

    class Way(models.TextChoices):
        """How it goes."""

        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"
        TEAMS = "teams", "Microsoft Teams"
        WEBHOOK = "webhook", "Webhook"
        WEB_PUSH = "web_push", "Web push"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    outbox = models.ForeignKey(NoticeOutbox, null=True, on_delete=models.CASCADE, related_name="deliveries")
    request = models.ForeignKey(
        "policies.ApprovalRequest", null=True, on_delete=models.CASCADE, related_name="notice_deliveries"
    )
    event = models.CharField(max_length=16, choices=_CHOICES)
    way = models.CharField(max_length=16, choices=Way)
    channel = models.ForeignKey(NoticeChannel, null=True, on_delete=models.SET_NULL, related_name="deliveries")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    principal = models.ForeignKey(
        "accounts.Principal", null=True, on_delete=models.CASCADE, related_name="+",
        help_text="Who asked, when they are nobody of the console.",
    )  # fmt: skip
    subscription = models.ForeignKey(PushSubscription, null=True, on_delete=models.SET_NULL, related_name="deliveries")
    told = models.CharField(max_length=200, blank=True, help_text="The channel's name then, or the person's.")
    updates = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="updated_by")
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, help_text="Not before; of one being sent: not again before.")
    error = models.CharField(max_length=300, blank=True)
    reference = models.CharField(max_length=200, blank=True, help_text="By which the service knows the message.")
    count = models.PositiveIntegerField(default=0, help_text="Of a summary: how many are told by it.")
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "notification"
        indexes = [
            models.Index(fields=["next_at"], name="notice_due", condition=Q(state__in=["waiting", "sending"])),
            models.Index(fields=["-created_at"], name="notice_recent"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "user", "principal", "subscription", "way"],
                nulls_distinct=False,
                condition=Q(event="summary", state="waiting"),
                name="notice_one_summary",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.told}"
