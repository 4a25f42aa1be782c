"""Who acts on the data path."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class Principal(models.Model):
    """Who acts on the data path: an (issuer, subject) pair, and nothing else, is the key. E-mail is display only."""

    class Kind(models.TextChoices):
        """What is behind the principal."""

        HUMAN = "human"
        MACHINE = "machine"
        AGENT = "agent"
        UNKNOWN = "unknown"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.UNKNOWN)
    is_kind_fixed = models.BooleanField(
        default=False, help_text="The kind was set by a person; tokens no longer change it."
    )
    owner = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="owned",
        help_text="The human who answers for this machine or agent.",
    )
    display_name = models.CharField(max_length=255, blank=True)
    email = models.CharField(max_length=320, blank=True, help_text="Display only; never used to recognise anybody.")
    notes = models.CharField(max_length=500, blank=True)
    first_seen = models.DateTimeField(default=timezone.now, editable=False)
    last_seen = models.DateTimeField(null=True, blank=True, editable=False)
    last_address = models.CharField(max_length=64, blank=True, editable=False)
    last_client = models.CharField(max_length=255, blank=True, editable=False)

    class Meta:
        ordering = ["issuer", "subject"]
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="principal_once_per_issuer")]

    def __str__(self) -> str:
        return self.display_name or self.subject
