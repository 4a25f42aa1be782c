"""Writes of SAML identity providers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction

from accounts.models import IdentityProvider, SamlProvider
from accounts.saml import certificates as pem
from accounts.saml.checks import AssertionRefused
from accounts.saml.metadata import their_metadata
from accounts.saving import Refusals


@transaction.atomic
def saml_provider_save(
    *,
    saml_provider_id: UUID | None = None,
    name: str,
    provider: IdentityProvider,
    metadata: str = "",
    entity_id: str = "",
    sso_url: str = "",
    slo_url: str = "",
    certificates: Iterable[str] = (),
    subject_attribute: str = "",
    groups_attribute: str = "groups",
    name_attribute: str = "",
    email_attribute: str = "",
    allows_console_login: bool = True,
    allows_token_exchange: bool = False,
    is_active: bool = True,
    now: datetime,
) -> SamlProvider:
    """Create or change the SAML provider `saml_provider_id`; without an id, the one of that `name` if there is one.

    `metadata` is the identity provider's own, pasted; what it names (entity id, URLs, certificates) takes the place of
    what is given besides. It is read once and never fetched. `certificates` are PEM, one or more in each text.

    Raises:
        SamlProvider.DoesNotExist: there is no SAML provider `saml_provider_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    locked = SamlProvider.objects.select_for_update()
    if saml_provider_id is None:
        row = locked.filter(name=name).first() or SamlProvider(created_at=now)
    else:
        row = locked.get(pk=saml_provider_id)
    refusals = Refusals()
    if metadata.strip():
        try:
            found = their_metadata(metadata, now=now)
        except AssertionRefused as refusal:
            refusals.add("metadata", refusal.code, str(refusal))
        else:
            entity_id, sso_url, certificates = found.entity_id, found.sso_url, found.certificates
            slo_url = found.slo_url or slo_url
    row.name = name
    row.provider = provider
    row.entity_id = entity_id
    row.sso_url = sso_url
    row.slo_url = slo_url
    row.certificates = _usable(refusals.texts("certificates", certificates), refusals)
    row.subject_attribute = subject_attribute
    row.groups_attribute = groups_attribute
    row.name_attribute = name_attribute
    row.email_attribute = email_attribute
    row.allows_console_login = allows_console_login
    row.allows_token_exchange = allows_token_exchange
    row.is_active = is_active
    for field, url in (("sso_url", sso_url), ("slo_url", slo_url)):
        if url:
            _refuse_bad_url(field, url, provider, refusals)
    refusals.save(row)
    return row


@transaction.atomic
def saml_provider_delete(*, saml_provider_id: UUID) -> None:
    """Delete a SAML provider, its open logins and what is remembered of its assertions; its principals stay.

    Raises:
        SamlProvider.DoesNotExist: there is no such SAML provider.
    """
    SamlProvider.objects.get(pk=saml_provider_id).delete()


def _usable(texts: list[str], refusals: Refusals) -> list[str]:
    """Return the certificates in `texts` as normal PEM, each once."""
    found: list[str] = []
    for text in texts:
        try:
            found.extend(pem.split(text))
        except pem.CertificateRefused as refusal:
            refusals.add("certificates", refusal.code, str(refusal))
    found = list(dict.fromkeys(found))
    if len(found) > pem.MAX_CERTIFICATES:
        refusals.add("certificates", "too_many", f"Give at most {pem.MAX_CERTIFICATES} certificates.")
    return found


def _refuse_bad_url(field: str, url: str, provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse what a browser must not be sent to."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in {"http", "https"} or parts.username is not None or parts.fragment:
        refusals.add(field, "bad_url", "Write a URL such as https://login.example.com/saml/sso.")
    elif not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        refusals.add(field, "bad_url", "Write the URL percent-encoded, without spaces.")
    elif parts.scheme == "http" and not provider.allowed_networks:
        refusals.add(
            field,
            "plain_http",
            "Over plain http anyone on the way could log in as somebody else: use https, "
            "or name the private network of the provider under its allowed networks.",
        )
