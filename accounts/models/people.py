"""People of the console: who they are, how they log in, and what they may do."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone


class User(AbstractUser):
    """A person of the console.

    `principal` is who the same person is on the data path, so that nobody approves a call made with their own token.
    """

    principal = models.OneToOneField(
        "accounts.Principal", null=True, blank=True, on_delete=models.SET_NULL, related_name="user"
    )
    is_break_glass = models.BooleanField(
        "local emergency account",
        default=False,
        help_text="May log in with a password and a second factor when the identity provider is away.",
    )
    role_names = models.JSONField(
        default=list, blank=True, editable=False, help_text="Roles from the groups of the last login."
    )
    group_ids = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="Provider groups of the last login. They say who is told of something, and decide nothing.",
    )
    signed_out_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Console sessions that began before this moment are over."
    )


class LoginClient(models.Model):
    """The console as a client of one OpenID provider. The secret is sealed and nobody reads it back."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.OneToOneField("accounts.IdentityProvider", on_delete=models.CASCADE, related_name="login_client")
    client_id = models.CharField(max_length=255)
    scopes = models.JSONField(default=list, blank=True, help_text="Scopes besides openid, such as profile and groups.")
    is_active = models.BooleanField(default=True)
    key_id = models.CharField(max_length=64, blank=True, editable=False)
    wrapped_key = models.BinaryField(null=True, editable=False)
    ciphertext = models.BinaryField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["provider__name"]

    def __str__(self) -> str:
        return f"Console at {self.provider}"


class RoleGrant(models.Model):
    """Members of a provider's group have a role in the console."""

    class Role(models.TextChoices):
        """What a person does here; `accounts.roles` has the permissions of each."""

        VIEWER = "viewer"
        AUDITOR = "auditor"
        APPROVER = "approver"
        OPERATOR = "operator"
        OWNER = "owner"

    group = models.ForeignKey("accounts.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="roles")
    user = models.ForeignKey("accounts.User", null=True, blank=True, on_delete=models.CASCADE, related_name="roles")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["role", "id"]
        constraints = [
            models.UniqueConstraint(fields=["group", "role"], name="role_once_per_group"),
            models.UniqueConstraint(fields=["user", "role"], name="role_once_per_user"),
            models.CheckConstraint(
                condition=models.Q(group__isnull=True) ^ models.Q(user__isnull=True), name="role_of_group_or_user"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.group or self.user}: {self.role}"


class ConsoleSession(models.Model):
    """A login to the console that can be ended from elsewhere: by its person, an administrator, or the provider.

    `session_digest` is the SHA-256 of Django's session key: a read of this table opens no session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="console_sessions")
    session_digest = models.CharField(max_length=64, unique=True)
    issuer = models.CharField(max_length=500, blank=True)
    subject = models.CharField(max_length=255, blank=True)
    provider_session = models.CharField(max_length=255, blank=True, help_text="`sid` of the provider, or SessionIndex.")
    method = models.CharField(max_length=40, help_text="How the person proved who they are: oidc, saml, password+totp.")
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=400, blank=True)
    began_at = models.DateTimeField(default=timezone.now)
    authenticated_at = models.DateTimeField(default=timezone.now, help_text="The last proof, for dangerous actions.")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-began_at"]

    def __str__(self) -> str:
        return f"{self.user} since {self.began_at:%Y-%m-%d %H:%M}"
