"""An identity provider's metadata, as an administrator pastes it. It is never fetched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .checks import DS, MESSAGE_BYTES, METADATA, AssertionRefused, document
from .messages import REDIRECT


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """What a provider says of itself; `certificates` are bare base64, as metadata has them."""

    entity_id: str
    sso_url: str
    slo_url: str
    certificates: tuple[str, ...]


def their_metadata(text: str, *, now: datetime) -> ProviderMetadata:
    """Return what the EntityDescriptor `text` says.

    Raises:
        AssertionRefused: it passes none of the checks that messages have to pass, it is not the metadata of one
            identity provider that can be reached by redirect and that signs, or its time is over.
    """
    message = text.strip().encode()
    if len(message) > MESSAGE_BYTES:
        raise AssertionRefused("saml_too_large", "The metadata is larger than the gateway accepts.")
    root = document(message)
    descriptors = root.findall(f"{{{METADATA}}}IDPSSODescriptor")
    if root.tag != f"{{{METADATA}}}EntityDescriptor" or len(descriptors) != 1:
        raise AssertionRefused("saml_metadata", "This is not the metadata of one SAML identity provider.")
    _check_end(root.get("validUntil"), now)
    descriptor = descriptors[0]
    entity_id, sso_url = root.get("entityID", ""), _location(descriptor, "SingleSignOnService")
    certificates = dict.fromkeys(
        "".join((certificate.text or "").split())
        for key in descriptor.findall(f"{{{METADATA}}}KeyDescriptor")
        if key.get("use", "signing") == "signing"
        for certificate in key.iterfind(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate")
    )
    if not entity_id or not sso_url or not certificates:
        raise AssertionRefused(
            "saml_metadata",
            "The metadata has no entity id, no login URL for HTTP-Redirect, or no signing certificate.",
        )
    return ProviderMetadata(entity_id, sso_url, _location(descriptor, "SingleLogoutService"), tuple(certificates))


def _location(descriptor: Any, service: str) -> str:
    """Return where `service` is reached by redirect; the first that is named, or empty."""
    for endpoint in descriptor.findall(f"{{{METADATA}}}{service}"):
        if endpoint.get("Binding") == REDIRECT:
            return str(endpoint.get("Location", ""))
    return ""


def _check_end(text: str | None, now: datetime) -> None:
    if text is None:
        return
    try:
        ends_at = datetime.fromisoformat(text)
    except ValueError:
        raise AssertionRefused("saml_metadata", "The metadata's end of validity is not a time.") from None
    if ends_at.replace(tzinfo=ends_at.tzinfo or UTC) <= now:
        raise AssertionRefused("saml_metadata", "The metadata is no longer valid: get it anew.")
