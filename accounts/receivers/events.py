"""`POST /events/push`: security event tokens, pushed over HTTP (RFC 8935; CAEP and RISC events of Shared Signals).

Whoever pushes brings an API token with the scope `events`, which is bound to one identity provider, and signs the event
with the keys of a transmitter of that provider: neither alone is enough.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts import api_tokens, event_tokens, services, tokens, verifying
from accounts.client_address import address_of
from accounts.jwks import KeysUnavailable
from accounts.models import EventTransmitter, SamlProvider
from accounts.values import provider_value

from .bodies import BodyRefused, read_body

logger = logging.getLogger(__name__)

_NO_STORE = {"Cache-Control": "no-store"}
_UNAVAILABLE: Final = "keys_unavailable"
_ERRORS: Final = {
    "token_issuer": "invalid_issuer",
    "token_audience": "invalid_audience",
    "token_algorithm": "invalid_key",
    "token_key_unknown": "invalid_key",
    "token_signature": "invalid_key",
}
"""Codes of RFC 8935 section 2.4; every other refusal is an invalid_request."""


@csrf_exempt
@require_POST
def push(request: HttpRequest) -> HttpResponse:
    """Receive one security event token; 202 when it has its effect, or had it before."""
    now = timezone.now()
    header = request.headers.get("Authorization", "")
    try:
        api_token = api_tokens.authenticate(header, scope="events", now=now, address=address_of(request))
    except api_tokens.ScopeMissing as refused:
        return _error(403, "access_denied", str(refused))
    except api_tokens.ApiTokenRefused as refused:
        return _error(401, "authentication_failed", str(refused))
    if api_token.provider_id is None:
        return _error(403, "access_denied", "The API token is not bound to an identity provider.")
    try:
        raw = read_body(request, "application/secevent+jwt")
    except BodyRefused as refused:
        return _error(400, "invalid_request", str(refused))
    return _received(raw, api_token.provider_id, now)


def _received(raw: bytes, provider_id: UUID, now: datetime) -> HttpResponse:
    peeked = tokens.peek(raw)
    if isinstance(peeked, tokens.Rejected):
        return _rejected(peeked)
    senders = EventTransmitter.objects.select_related("provider").filter(is_active=True, provider_id=provider_id)
    transmitter = senders.filter(issuer=peeked.issuer).first()
    if transmitter is None:
        return _rejected(tokens.Rejected("token_issuer", "No transmitter of this provider has the token's issuer."))
    try:
        keys = verifying.keys_for(_key_source(transmitter), peeked.key_id)
    except KeysUnavailable:
        return _rejected(tokens.Rejected(_UNAVAILABLE, "The transmitter's keys cannot be read now."))
    found = event_tokens.security_events(raw, expected=_expected(transmitter), keys=keys, now=now.timestamp())
    if isinstance(found, tokens.Rejected):
        return _rejected(found)
    services.events_receive(transmitter=transmitter, received=found, now=now)
    return HttpResponse(status=202, headers=_NO_STORE)


def _expected(transmitter: EventTransmitter) -> event_tokens.Expected:
    provider = transmitter.provider
    entities = SamlProvider.objects.filter(provider=provider, is_active=True).values_list("entity_id", flat=True)
    return event_tokens.Expected(
        issuer=transmitter.issuer,
        audiences=frozenset({transmitter.audience}),
        algorithms=frozenset(transmitter.algorithms),
        leeway_seconds=provider.leeway_seconds,
        subject_issuers=(provider.issuer, *entities),
    )


def _key_source(transmitter: EventTransmitter) -> tokens.Provider:
    """Return where the transmitter's keys are: its own, or without any the provider's."""
    provider = provider_value(transmitter.provider)
    if transmitter.pinned_jwks is None and not transmitter.jwks_url:
        return provider
    return replace(
        provider,
        id=f"transmitter {transmitter.pk}",
        issuer=transmitter.issuer,
        jwks_url=transmitter.jwks_url,
        pinned_jwks=transmitter.pinned_jwks,
        algorithms=frozenset(transmitter.algorithms),
    )


def _rejected(rejected: tokens.Rejected) -> HttpResponse:
    logger.warning("security event refused", extra={"code": rejected.code})
    if rejected.code == _UNAVAILABLE:
        # Not an error of the token: the transmitter is to try again (RFC 8935 section 2.3, other status codes).
        return HttpResponse(status=503, headers={**_NO_STORE, "Retry-After": "30"})
    return _error(400, _ERRORS.get(rejected.code, "invalid_request"), rejected.detail)


def _error(status: int, code: str, sentence: str) -> HttpResponse:
    """Return an error as RFC 8935 section 2.3 writes it."""
    headers = {**_NO_STORE, "Content-Language": "en"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="wardgate"'
    return JsonResponse({"err": code, "description": sentence}, status=status, headers=headers)
