"""Who calls: people of the console, principals of the gateway, and the providers that vouch for them."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric only: a shared secret would let whoever verifies a token also make one."""


def default_algorithms() -> list[str]:
    """Return the algorithms that every large provider signs with."""
    return ["RS256", "ES256"]


class User(AbstractUser):
    """A person of the console.

    `principal` is who the same person is on the data path, so that nobody approves a call made with their own token.
    """

    principal = models.OneToOneField(
        "accounts.Principal", null=True, blank=True, on_delete=models.SET_NULL, related_name="user"
    )


class IdentityProvider(models.Model):
    """An issuer whose signed tokens the gateway accepts, and how its claims are read.

    A token is accepted only when every named check passes; there is no anonymous fallback.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    issuer = models.CharField(max_length=500, unique=True, help_text="Must equal the token's `iss` to the letter.")
    jwks_url = models.CharField(
        max_length=500, blank=True, help_text="Where the signing keys are. Empty: found through OpenID discovery."
    )
    pinned_jwks = models.JSONField(
        null=True, blank=True, help_text="A JSON Web Key Set to use instead of fetching one."
    )
    audiences = models.JSONField(
        default=list,
        blank=True,
        help_text="Accepted `aud` values, besides the URL of the connection that is called.",
    )
    algorithms = models.JSONField(default=default_algorithms, help_text="Accepted signature algorithms.")
    token_types = models.JSONField(
        default=list, blank=True, help_text="Accepted `typ` header values, such as at+jwt. Empty: at+jwt, JWT or none."
    )
    groups_claim = models.CharField(
        max_length=200, default="groups", help_text="Dotted path of the claim that lists groups."
    )
    max_token_seconds = models.PositiveIntegerField(
        default=3600,
        validators=[MinValueValidator(60), MaxValueValidator(86_400)],
        help_text="Longest accepted lifetime (`exp` minus `iat`), in seconds.",
    )
    leeway_seconds = models.PositiveSmallIntegerField(
        default=30, validators=[MaxValueValidator(120)], help_text="Accepted clock difference, in seconds."
    )
    requires_nbf = models.BooleanField(
        "require nbf",
        default=True,
        help_text="Refuse a token without `nbf`. Some providers never send it; switch this off for those only.",
    )
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        help_text="Private networks (CIDR) in which this issuer's keys may be fetched. Empty: public addresses only.",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Group(models.Model):
    """A group as one provider names it. The same name from another provider is another group."""

    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=255)
    description = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["provider__name", "name"]
        constraints = [models.UniqueConstraint(fields=["provider", "name"], name="group_name_once_per_provider")]

    def __str__(self) -> str:
        return f"{self.name} ({self.provider.name})"


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
    display_name = models.CharField(max_length=255, blank=True)
    email = models.CharField(max_length=320, blank=True, help_text="Display only; never used to recognise anybody.")
    first_seen = models.DateTimeField(default=timezone.now, editable=False)
    last_seen = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["issuer", "subject"]
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="principal_once_per_issuer")]

    def __str__(self) -> str:
        return self.display_name or self.subject
