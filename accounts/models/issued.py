"""What the gateway itself gives out: tokens for its REST API, short-lived tokens for calls, and the keys that sign."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class ApiToken(models.Model):
    """A token for the REST API and the receivers beside it (SCIM, security events). Shown once.

    Only its hash is kept.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    user = models.ForeignKey(
        "accounts.User",
        on_delete=models.CASCADE,
        related_name="api_tokens",
        help_text="Whose permissions bound what the token may do.",
    )
    provider = models.ForeignKey(
        "accounts.IdentityProvider",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="api_tokens",
        help_text="For the scopes scim and events: the provider on whose behalf the bearer speaks.",
    )
    scopes = models.JSONField(default=list, help_text="What the token may do.")
    prefix = models.CharField(max_length=16, unique=True, editable=False, help_text="Its first characters.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_address = models.CharField(max_length=64, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class SigningKey(models.Model):
    """A key that signs the gateway's own tokens: published before it signs, and after it has stopped."""

    kid = models.CharField(max_length=64, primary_key=True, editable=False)
    algorithm = models.CharField(max_length=8, default="ES256", editable=False)
    public_jwk = models.JSONField(editable=False)
    key_id = models.CharField(max_length=64, editable=False)
    wrapped_key = models.BinaryField(editable=False)
    ciphertext = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    signs_from = models.DateTimeField(editable=False)
    signs_until = models.DateTimeField(editable=False)
    published_until = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-signs_from"]

    def __str__(self) -> str:
        return self.kid


class ExchangedToken(models.Model):
    """Evidence of one token that the gateway gave out: to whom, for what, until when. Never the token."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, help_text="The token's `jti`.")
    principal = models.ForeignKey("accounts.Principal", on_delete=models.PROTECT, related_name="exchanged_tokens")
    grant_type = models.CharField(max_length=80)
    connection_slug = models.CharField(max_length=63)
    tools = models.JSONField(default=list)
    subject_digest = models.CharField(max_length=64, help_text="SHA-256 of the token or assertion that was exchanged.")
    actors = models.JSONField(default=list)
    address = models.CharField(max_length=64, blank=True)
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-issued_at"]

    def __str__(self) -> str:
        return f"{self.principal} to {self.connection_slug}"
