"""What an identity provider provisions over SCIM 2.0 (RFC 7643): users, who is in which group, and how that goes."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class ScimUser(models.Model):
    """A provisioned user. Deactivated or deleted, its principal is locked at once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey("accounts.IdentityProvider", on_delete=models.CASCADE, related_name="scim_users")
    user_name = models.CharField(max_length=255)
    user_name_folded = models.CharField(max_length=255, editable=False, help_text="For comparison: SCIM ignores case.")
    external_id = models.CharField(max_length=255, blank=True)
    is_active = models.BooleanField(default=True)
    display_name = models.CharField(max_length=255, blank=True)
    email = models.CharField(max_length=320, blank=True)
    attributes = models.JSONField(default=dict, help_text="The resource as the provider wrote it.")
    principal = models.ForeignKey(
        "accounts.Principal", null=True, blank=True, on_delete=models.SET_NULL, related_name="scim_users"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["user_name_folded"]
        verbose_name = "SCIM user"
        constraints = [
            models.UniqueConstraint(fields=["provider", "user_name_folded"], name="scim_user_name_once"),
            models.UniqueConstraint(
                fields=["provider", "external_id"], condition=~models.Q(external_id=""), name="scim_external_id_once"
            ),
        ]

    def __str__(self) -> str:
        return self.user_name


class ScimSync(models.Model):
    """When a provider last provisioned, and what was last refused: the first place to look when it reports errors."""

    provider = models.OneToOneField(
        "accounts.IdentityProvider", primary_key=True, on_delete=models.CASCADE, related_name="scim_sync"
    )
    last_request_at = models.DateTimeField(help_text="Kept to the minute.")
    last_change_at = models.DateTimeField(null=True, blank=True, help_text="When a user or group was last written.")
    last_refusal_at = models.DateTimeField(null=True, blank=True)
    last_refusal = models.CharField(max_length=500, blank=True, help_text="What was asked for, and why it was refused.")

    class Meta:
        ordering = ["provider__name"]
        verbose_name = "SCIM provisioning"
        verbose_name_plural = "SCIM provisioning"

    def __str__(self) -> str:
        return f"SCIM of {self.provider}"


class ScimMember(models.Model):
    """A provisioned user is in a group."""

    group = models.ForeignKey("accounts.Group", on_delete=models.CASCADE, related_name="scim_members")
    user = models.ForeignKey(ScimUser, on_delete=models.CASCADE, related_name="memberships")

    class Meta:
        verbose_name = "SCIM member"
        constraints = [models.UniqueConstraint(fields=["group", "user"], name="scim_member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.group}"
