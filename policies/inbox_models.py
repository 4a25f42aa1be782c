"""What a person keeps of the inbox for themselves."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone


class InboxFilter(models.Model):
    """A filter of the inbox under a name, of one person. It gives nobody more to see."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="inbox_filters")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, help_text="As it stands in the address of the page.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="inbox_filter_once")]

    def __str__(self) -> str:
        return self.name
