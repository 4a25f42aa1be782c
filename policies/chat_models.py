"""What is known of chats that carry decisions, and of the key with which browsers are sent messages."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class SlackIdentity(models.Model):
    """A person of the console is this user of a Slack workspace: proved with a code of the console, for a time.

    Nothing that Slack says of its users (a name, an e-mail address) makes somebody a person of the console.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="slack_identities")
    team = models.CharField(max_length=32, help_text="Id of the workspace.")
    slack_user = models.CharField(max_length=32, help_text="Id of the user there.")
    slack_name = models.CharField(max_length=100, blank=True, help_text="As Slack called them when it was linked.")
    linked_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-linked_at"]
        verbose_name = "Slack link"
        constraints = [
            models.UniqueConstraint(
                fields=["team", "slack_user"], condition=Q(ended_at=None), name="slack_identity_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.slack_user} of {self.team}"


class SlackCode(models.Model):
    """A code that a person got at the console, to be entered in Slack once. Only its SHA-256 is kept."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="+")
    digest = models.BinaryField(max_length=32, unique=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Slack code of {self.user}"


class SlackMessage(models.Model):
    """A message with buttons: which request it is about, as it was then, and exactly what it shows.

    Its id is what the buttons carry back. It decides about nothing but this request, from this channel, as long as the
    request is what it was (`seen_at`); so it is good for one decision.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey("policies.ApprovalRequest", on_delete=models.CASCADE, related_name="slack_messages")
    channel = models.ForeignKey("policies.NoticeChannel", on_delete=models.CASCADE, related_name="+")
    team = models.CharField(max_length=32)
    slack_channel = models.CharField(max_length=32)
    ts = models.CharField(max_length=32, blank=True, help_text="By which Slack knows it in its channel.")
    seen_at = models.DateTimeField(help_text="`changed_at` of the request that is shown.")
    may_approve = models.BooleanField(default=False, help_text="It shows everything, and has the button.")
    may_deny = models.BooleanField(default=False)
    shown = models.TextField(help_text="Blocks and text, as JSON.")
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-made_at"]

    def __str__(self) -> str:
        return f"{self.request} in {self.slack_channel}"


class SlackSeen(models.Model):
    """A signed request of Slack that was taken; the same one is not taken again while its signature is good."""

    digest = models.BinaryField(max_length=32, primary_key=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"taken at {self.at:%Y-%m-%d %H:%M:%S}"


class PushKey(models.Model):
    """The key pair that push services know this gateway by (RFC 8292). The private half is sealed. There is one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    public = models.CharField(max_length=100, editable=False)
    key_id = models.CharField(max_length=64, editable=False)
    wrapped_key = models.BinaryField(editable=False)
    ciphertext = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"Push key since {self.created_at:%Y-%m-%d}"
