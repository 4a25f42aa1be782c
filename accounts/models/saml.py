"""SAML 2.0: the identity providers, the logins that are under way, and the assertions that were used."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class SamlProvider(models.Model):
    """A SAML identity provider, for logins to the console and for assertions at the token endpoint.

    Whom it vouches for are principals of `provider`, the same organisation's identity provider: its issuer, its groups.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    provider = models.OneToOneField(
        "accounts.IdentityProvider",
        on_delete=models.CASCADE,
        related_name="saml",
        help_text="Whose groups the assertions name, and whose issuer its principals have.",
    )
    entity_id = models.CharField(max_length=500, unique=True)
    sso_url = models.CharField(max_length=500)
    slo_url = models.CharField(max_length=500, blank=True)
    certificates = models.JSONField(default=list, help_text="Signing certificates in PEM; old and new during a change.")
    subject_attribute = models.CharField(
        max_length=255, blank=True, help_text="Attribute that is the principal's key. Empty: the NameID."
    )
    groups_attribute = models.CharField(max_length=255, default="groups")
    name_attribute = models.CharField(max_length=255, blank=True)
    email_attribute = models.CharField(max_length=255, blank=True)
    allows_console_login = models.BooleanField(default=True)
    allows_token_exchange = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SamlRequest(models.Model):
    """An AuthnRequest that waits for its answer; bound to one browser, answered once and used once.

    The answer arrives in a POST from another site, to which a browser attaches no SameSite=Lax cookie. What it proved
    is kept here until the same browser fetches it with its cookie.
    """

    request_id = models.CharField(max_length=64, primary_key=True)
    saml_provider = models.ForeignKey(SamlProvider, on_delete=models.CASCADE, related_name="+")
    browser_digest = models.CharField(max_length=64)
    next_path = models.CharField(max_length=500, blank=True)
    is_proof = models.BooleanField(default=False, help_text="The person has to prove anew who they are.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    answer = models.JSONField(null=True, blank=True, help_text="What the answer proved; gone once it was used.")
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.request_id


class SamlAssertion(models.Model):
    """An assertion that was accepted once and never will be again."""

    saml_provider = models.ForeignKey(SamlProvider, on_delete=models.CASCADE, related_name="+")
    assertion_id = models.CharField(max_length=255)
    used_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["saml_provider", "assertion_id"], name="assertion_used_once")]

    def __str__(self) -> str:
        return self.assertion_id
