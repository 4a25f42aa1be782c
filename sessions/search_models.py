"""What the record is searched by: one narrow row for each call, filled from its events afterwards, and saved views."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils import timezone


class CallIndex(models.Model):
    """One call, as it is looked for. Made from its events by `sessions.search_index`, and made again when it is lost.

    It is no evidence: what a page shows of a call comes from the record. `values` are keyed digests of the scalar
    arguments (`sessions.search_values`); nobody reads a value from them. `document` has the words of the messages as
    they were recorded, masked.
    """

    call_id = models.UUIDField(primary_key=True)
    session = models.ForeignKey(
        "gateway_sessions.Session",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    principal = models.ForeignKey(
        "accounts.Principal",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    connection = models.ForeignKey(
        "connections.Connection",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    position = models.BigIntegerField(default=0, help_text="Where the call begins in its session, as `Event.id`.")
    at = models.DateTimeField()
    method = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=512, blank=True)
    verdict = models.CharField(max_length=8, blank=True)
    rule = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=20, default="open")
    hits = models.IntegerField(default=0, help_text="How many values were masked.")
    total_us = models.BigIntegerField(null=True)
    values = ArrayField(models.BigIntegerField(), default=list)
    document = SearchVectorField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["-at", "call_id"], name="call_recent"),
            models.Index(fields=["session", "position"], name="call_of_session"),
            models.Index(fields=["principal", "-at"], name="call_of_principal"),
            models.Index(fields=["connection", "-at"], name="call_on_connection"),
            models.Index(
                fields=["name", "-at"], name="call_by_name", opclasses=["varchar_pattern_ops", "timestamptz_ops"]
            ),
            models.Index(fields=["rule", "-at"], name="call_by_rule"),
            models.Index(fields=["verdict", "-at"], name="call_by_verdict"),
            models.Index(fields=["state", "-at"], name="call_by_state"),
            GinIndex(fields=["values"], name="call_by_value"),
            GinIndex(fields=["document"], name="call_by_word"),
        ]

    def __str__(self) -> str:
        return self.name or self.method or str(self.call_id)


class IndexCursor(models.Model):
    """How far the events of one gateway process are in the index. `is_done`: it has ended and no more will come."""

    instance = models.OneToOneField(
        "gateway_sessions.GatewayInstance", primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    seq = models.BigIntegerField(default=0, help_text="The last event that is in the index.")
    is_done = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.instance_id} up to {self.seq}"


class SavedView(models.Model):
    """A search that a person keeps, and may share with everybody who may search. It gives nobody more to see."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="saved_views", editable=False)
    name = models.CharField(max_length=100)
    query = models.CharField(max_length=1000, blank=True, help_text="As it is typed into the search.")
    is_shared = models.BooleanField("shared", default=False, help_text="Others who may search see it and use it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="saved_view_once_per_owner")]

    def __str__(self) -> str:
        return self.name
