"""The use case of RFC 7662: ask a provider whether a token is still good, and keep a no."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus, urlencode
from uuid import UUID

from django.conf import settings

from accounts import outbound, vault
from accounts.exceptions import MasterKeysUnusable
from accounts.introspection import Standing, standing_of
from accounts.models import IdentityProvider, Lock, RevokedToken

from .locks import LONGEST_TOKEN, token_revoke
from .providers import introspection_secret

_ANSWER_BYTES = 64 * 1024
_LATE = timedelta(seconds=120)


def token_introspect(*, provider_id: UUID, raw: bytes, expires_at: int, now: datetime) -> Standing:
    """Return what the provider says of the token `raw`; what it calls inactive is revoked by its digest.

    Whatever goes wrong is `UNAVAILABLE`, and whoever asked decides how long that is bearable.

    Args:
        provider_id: whose endpoint and credentials are used.
        raw: the token; it goes to the provider that issued it and nowhere else.
        expires_at: of the token, in seconds since 1970.
        now: the moment of the request.
    """
    provider = IdentityProvider.objects.filter(pk=provider_id).exclude(introspection_url="").first()
    if provider is None:
        return Standing.UNAVAILABLE
    try:
        answer = outbound.request(
            "POST",
            provider.introspection_url,
            allowed_networks=provider.allowed_networks,
            headers={
                "Accept": "application/json",
                "Content-Type": "application/x-www-form-urlencoded",
                **_credentials(provider),
            },
            body=urlencode({"token": raw.decode("ascii"), "token_type_hint": "access_token"}).encode(),
            limit=_ANSWER_BYTES,
            seconds=settings.WARDGATE_INTROSPECTION_SECONDS,
        )
    except (outbound.OutboundFailed, MasterKeysUnusable, vault.CannotOpen, UnicodeDecodeError):
        return Standing.UNAVAILABLE
    standing = standing_of(answer.status, answer.body)
    if standing is Standing.INACTIVE:
        token_revoke(
            kind=RevokedToken.Kind.DIGEST,
            issuer="",
            value=hashlib.sha256(raw).hexdigest(),
            source=Lock.Source.INTROSPECTION,
            reason=f"{provider.name} says that the token is not active."[:500],
            expires_at=min(datetime.fromtimestamp(expires_at, UTC) + _LATE, now + LONGEST_TOKEN),
            now=now,
        )
    return standing


def _credentials(provider: IdentityProvider) -> dict[str, str]:
    """Return the client's credentials as RFC 6749 section 2.3.1 writes them; none when the provider wants none."""
    secret = introspection_secret(provider)
    if not provider.introspection_client_id or secret is None:
        return {}
    pair = f"{quote_plus(provider.introspection_client_id)}:{quote_plus(secret.reveal().decode())}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
