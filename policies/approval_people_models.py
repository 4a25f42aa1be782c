"""What people say to each other about a request, and who decides while somebody is away."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .approval_models import ApprovalRequest


class ApprovalMessage(models.Model):
    """A question of somebody who may decide, or an answer of the requester or its human. Immutable.

    The text is somebody's and is never trusted: it is kept as printable text, and shown with every character that
    cannot be seen marked. A question does not stop the clock of the request.
    """

    class Kind(models.TextChoices):
        """Who speaks."""

        QUESTION = "question"
        ANSWER = "answer"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="messages")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    text = models.CharField(max_length=1000)
    channel = models.CharField(max_length=16, default="console")
    address = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["at"]

    def __str__(self) -> str:
        return f"{self.request}: {self.kind} by {self.user}"


class ApprovalDelegation(models.Model):
    """For a time, `delegate` may decide what `delegator` could. It ends at `ends_at`, or when it is ended before.

    Nobody gains a permission by it: both have to have the one to decide, at the moment of the decision.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    delegator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approval_delegations"
    )
    delegate = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approval_delegations_held"
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-starts_at"]
        indexes = [models.Index(fields=["delegate", "ends_at"], name="delegation_held")]
        constraints = [
            models.CheckConstraint(
                name="delegation_to_somebody_else",
                condition=~Q(delegator=F("delegate")),
                violation_error_message="Name somebody else.",
            ),
            models.CheckConstraint(
                name="delegation_starts_before_it_ends",
                condition=Q(starts_at__lt=F("ends_at")),
                violation_error_message="It has to start before it ends.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.delegate} for {self.delegator}"
