"""Where calls go: upstream MCP servers, and the secrets that open them."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Connection(models.Model):
    """An upstream MCP server, reachable by clients at `/mcp/<slug>`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(
        max_length=63,
        unique=True,
        validators=[RegexValidator(r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z", "Use a-z, 0-9 and inner hyphens.")],
        help_text="The last part of the URL that clients use: /mcp/<slug>.",
    )
    name = models.CharField(max_length=100)
    upstream_url = models.CharField(max_length=500, help_text="The MCP endpoint of the upstream (Streamable HTTP).")
    is_active = models.BooleanField(default=True)
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        help_text="Private networks (CIDR) in which the upstream may be. Empty: public addresses only.",
    )
    timeout_seconds = models.PositiveIntegerField(
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(86_400)],
        help_text="Longest silence of the upstream within one call, in seconds.",
    )
    labels = models.JSONField(
        default=list, blank=True, help_text="What rules and grants may call it by, such as production or email."
    )
    taints = models.JSONField(
        default=list,
        blank=True,
        help_text="Labels that a call leaves on the caller's session, such as untrusted or sensitive.",
    )
    pins_tools = models.BooleanField(
        "pin tool definitions",
        default=True,
        help_text="Hide and deny tools whose definition is new or has changed, until somebody has reviewed it.",
    )
    allows_sampling = models.BooleanField(
        default=False, help_text="The upstream may ask the client's model (sampling/createMessage)."
    )
    allows_elicitation = models.BooleanField(
        default=False, help_text="The upstream may ask the client's user (elicitation/create)."
    )
    allows_roots = models.BooleanField(
        default=False, help_text="The upstream may ask for the client's file roots (roots/list)."
    )
    owners = models.ManyToManyField(
        "accounts.User",
        blank=True,
        related_name="owned_connections",
        help_text="People who answer for it; approval rules may ask them.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """The secret of one connection, sealed. Nobody reads it back; a new one replaces it under the next version.

    `ciphertext` is AES-256-GCM under a data key of its own; `wrapped_key` is that data key under the master key
    `key_id`. Both are bound to this row's id and connection, so a swapped ciphertext does not open.
    """

    class Kind(models.TextChoices):
        """How the secret is presented to the upstream."""

        BEARER = "bearer", "Authorization: Bearer"
        BASIC = "basic", "Authorization: Basic (user:password)"
        HEADER = "header", "A header of its own"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.OneToOneField(Connection, on_delete=models.CASCADE, related_name="credential")
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.BEARER)
    header_name = models.CharField(
        max_length=64,
        blank=True,
        validators=[RegexValidator(r"\A[A-Za-z0-9-]+\Z", "Use letters, digits and hyphens.")],
        help_text="Only for a header of its own, such as X-API-Key.",
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    key_id = models.CharField(max_length=64, editable=False)
    wrapped_key = models.BinaryField(editable=False)
    ciphertext = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    rotated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["connection__name"]
        constraints = [
            models.CheckConstraint(
                name="credential_header_name_iff_header",
                condition=(Q(kind="header") & ~Q(header_name="")) | (~Q(kind="header") & Q(header_name="")),
            ),
        ]

    def __str__(self) -> str:
        return f"Credential of {self.connection.name}, version {self.version}"


class Tool(models.Model):
    """A tool of a connection as it was reviewed, and, when its definition has changed since, as it wants to be.

    The first listing of a connection is pinned as it is. Afterwards what is new or changed is hidden and its calls are
    denied until somebody accepts it.
    """

    class State(models.TextChoices):
        """Whether it may be called."""

        ACCEPTED = "accepted"
        QUARANTINED = "quarantined"
        REJECTED = "rejected"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(max_length=128)
    state = models.CharField(max_length=12, choices=State, default=State.QUARANTINED, editable=False)
    definition = models.JSONField(null=True, editable=False, help_text="What was accepted.")
    digest = models.CharField(max_length=64, blank=True, editable=False, help_text="SHA-256 of its canonical form.")
    seen_definition = models.JSONField(null=True, editable=False, help_text="What the upstream says now.")
    seen_digest = models.CharField(max_length=64, blank=True, editable=False)
    flags = models.JSONField(default=list, editable=False, help_text="What a reviewer has to look at.")
    labels = models.JSONField(default=list, blank=True, help_text="What rules may call it by.")
    taints = models.JSONField(default=list, blank=True, help_text="Labels that a call leaves on the caller's session.")
    first_seen = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    reviewed_at = models.DateTimeField(null=True, editable=False)
    reviewed_by = models.ForeignKey(
        "accounts.User", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )

    class Meta:
        ordering = ["connection__name", "name"]
        constraints = [models.UniqueConstraint(fields=["connection", "name"], name="tool_once_per_connection")]

    def __str__(self) -> str:
        return self.name
