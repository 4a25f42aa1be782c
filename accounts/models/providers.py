"""The issuers that vouch for callers, their groups, and who tells us that a caller is no longer one."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric only: a shared secret would let whoever verifies a token also make one."""


def default_algorithms() -> list[str]:
    """Return the algorithms that every large provider signs with."""
    return ["RS256", "ES256"]


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
    preset = models.CharField(
        max_length=40, blank=True, help_text="The ready-made profile that the values were taken from; display only."
    )
    subject_claim = models.CharField(
        max_length=200,
        default="sub",
        help_text="Dotted path of the claim that is the principal's key: sub, or oid for Microsoft Entra ID.",
    )
    roles_claim = models.CharField(
        max_length=200, blank=True, help_text="Dotted path of the claim that lists roles; each counts as a group."
    )
    name_claim = models.CharField(
        max_length=200, blank=True, help_text="Dotted path of the display name. Empty: name, preferred_username or upn."
    )
    authorized_parties = models.JSONField(
        default=list,
        blank=True,
        help_text="Accepted clients (`azp`, `client_id`, `appid` or `cid`). Empty: any client of this issuer.",
    )
    tenant_claim = models.CharField(max_length=200, default="tid", help_text="The claim that names the tenant.")
    tenants = models.JSONField(
        default=list, blank=True, help_text="Accepted tenants. Empty: the issuer has none, or all are yours."
    )
    required_claims = models.JSONField(
        default=dict,
        blank=True,
        help_text='Claims that must be there with one of these texts, such as {"repository_owner": ["acme"]}.',
    )
    condition_claims = models.JSONField(
        default=list,
        blank=True,
        help_text="Dotted paths of claims that conditions of policy may look at, as identity.claims.",
    )
    principal_kind = models.CharField(
        max_length=16,
        choices=[("human", "human"), ("machine", "machine"), ("agent", "agent"), ("unknown", "unknown")],
        default="unknown",
        help_text="What this issuer's tokens stand for when the token itself does not tell.",
    )
    missing_groups_are_unknown = models.BooleanField(
        default=False,
        help_text="A token without the groups claim says nothing of groups (Google): then rules for groups deny.",
    )
    uses_directory = models.BooleanField(
        "look groups up in the directory",
        default=False,
        help_text="When a token's groups are unknown, take those that were provisioned over SCIM.",
    )
    scim_subject = models.CharField(
        max_length=16,
        choices=[("external_id", "externalId"), ("user_name", "userName"), ("id", "id")],
        default="external_id",
        help_text="The attribute of a provisioned user that equals the token's subject.",
    )
    scim_group_name = models.CharField(
        max_length=16,
        choices=[("display_name", "displayName"), ("external_id", "externalId")],
        default="display_name",
        help_text="The attribute of a provisioned group that tokens carry: externalId where they carry object ids.",
    )
    introspection_url = models.CharField(
        max_length=500, blank=True, help_text="RFC 7662 endpoint to ask about tokens of long sessions. Empty: never."
    )
    introspection_client_id = models.CharField(max_length=255, blank=True)
    introspection_key_id = models.CharField(max_length=64, blank=True, editable=False)
    introspection_wrapped_key = models.BinaryField(null=True, editable=False)
    introspection_ciphertext = models.BinaryField(null=True, editable=False)
    dormant_days = models.PositiveIntegerField(
        default=0, help_text="Lock principals of this issuer after so many days unseen. 0: never."
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
    keys_flushed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Every gateway process forgets keys that it fetched earlier."
    )
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
    scim_id = models.UUIDField(null=True, blank=True, unique=True, editable=False)
    scim_external_id = models.CharField(max_length=255, blank=True, editable=False)
    scim_display_name = models.CharField(max_length=255, blank=True, editable=False)
    scim_changed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["provider__name", "name"]
        constraints = [models.UniqueConstraint(fields=["provider", "name"], name="group_name_once_per_provider")]

    def __str__(self) -> str:
        return f"{self.name} ({self.provider.name})"


class EventTransmitter(models.Model):
    """Who may push security events (RFC 8935; CAEP, RISC) about principals of one provider.

    A transmitter signs with keys of its own, which are not the provider's unless they are named here as such.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="transmitters")
    name = models.CharField(max_length=100, unique=True)
    issuer = models.CharField(max_length=500, help_text="Must equal the `iss` of its security event tokens.")
    audience = models.CharField(max_length=500, help_text="The `aud` by which the transmitter addresses this gateway.")
    jwks_url = models.CharField(
        max_length=500, blank=True, help_text="Where its keys are. Empty: the provider's own keys."
    )
    pinned_jwks = models.JSONField(
        null=True, blank=True, help_text="A JSON Web Key Set to use instead of fetching one."
    )
    algorithms = models.JSONField(default=default_algorithms, help_text="Accepted signature algorithms.")
    is_active = models.BooleanField(default=True)
    last_event_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
