"""Where the record is streamed to, and how far each place has it."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone


class ExportSink(models.Model):
    """A system that gets the record as it grows: every event at least once, in the order of each process's chain."""

    class Kind(models.TextChoices):
        """What it speaks."""

        SYSLOG_OCSF = "syslog_ocsf", "Syslog over TLS, OCSF"
        SYSLOG_CEF = "syslog_cef", "Syslog over TLS, CEF"
        SPLUNK = "splunk", "Splunk HTTP Event Collector"
        ELASTIC = "elastic", "Elasticsearch or OpenSearch, bulk"
        DATADOG = "datadog", "Datadog logs"
        WEBHOOK = "webhook", "Webhook (Standard Webhooks)"
        OTLP = "otlp", "OpenTelemetry logs (OTLP over HTTP, JSON)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=16, choices=Kind)
    target = models.CharField(
        max_length=500, help_text="Syslog: host:port. Others: URL of the service, with its path, such as .../v1/logs."
    )
    dataset = models.CharField(
        max_length=100, blank=True, help_text="Splunk: index. Elasticsearch: index or data stream. Datadog: service."
    )
    user = models.CharField(
        max_length=200, blank=True, help_text="Elasticsearch: name for Basic. Empty: the secret is an API key."
    )
    includes_contents = models.BooleanField(
        default=False, help_text="Also what was asked and answered, masked as it was recorded."
    )
    includes_every_event = models.BooleanField(
        default=False,
        help_text="Also the steps of a call. Without: decisions, outcomes, approvals and what was withheld.",
    )
    has_tls = models.BooleanField("TLS", default=True, help_text="Syslog: without, only into allowed networks.")
    ca_certificate = models.TextField(
        "CA certificate", blank=True, help_text="Syslog: PEM of the authority to trust instead of the system's."
    )
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        help_text='CIDR blocks that may be reached besides public addresses: ["10.20.0.0/16"].',
    )
    batch = models.PositiveIntegerField(
        default=500,
        validators=[MinValueValidator(1), MaxValueValidator(5000)],
        help_text="Most events of one delivery; fewer are sent for a while after the service called one too large.",
    )
    key_id = models.CharField(max_length=64, blank=True, editable=False)
    wrapped_key = models.BinaryField(default=b"", editable=False)
    ciphertext = models.BinaryField(default=b"", editable=False)
    is_active = models.BooleanField(default=True)
    batch_now = models.PositiveIntegerField(default=0, editable=False, help_text="0: as many as `batch` says.")
    delivered = models.BigIntegerField(default=0, editable=False, help_text="Events that it took.")
    refused = models.BigIntegerField(default=0, editable=False, help_text="Events that it will never take.")
    delivered_at = models.DateTimeField(null=True, blank=True, editable=False)
    failures = models.IntegerField(default=0, editable=False, help_text="In a row.")
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ExportCursor(models.Model):
    """How far one sink has the chain of one gateway process. `is_done`: the process has ended, and it has all of it."""

    sink = models.ForeignKey(ExportSink, on_delete=models.CASCADE, related_name="cursors")
    instance = models.ForeignKey(
        "gateway_sessions.GatewayInstance", on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    seq = models.BigIntegerField(default=0)
    is_done = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sink", "instance"], name="export_cursor_once")]

    def __str__(self) -> str:
        return f"{self.sink}: {self.instance} #{self.seq}"
