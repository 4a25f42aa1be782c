"""Token verification outside the data path: the token endpoint, logout and event receivers, "test a token".

The same checks as on the data path (`accounts.tokens`) and the same key cache (`accounts.jwks`), which lives in one
thread of its own here, so that synchronous code shares it and one fetch serves everybody who waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings

from accounts import outbound, token_report, tokens
from accounts.jwks import KeySource, KeysUnavailable
from accounts.models import IdentityProvider
from accounts.values import provider_value

T = TypeVar("T")
_GRACE_SECONDS = 5


def keys_for(provider: tokens.Provider, key_id: str | None) -> tokens.KeySet:
    """Return the keys of `provider`, fetched when none are fresh or `key_id` is not among them.

    Raises:
        KeysUnavailable: they cannot be had.
    """
    return _KeyThread.shared().keys_for(provider, key_id)


def verified(raw: bytes, *, audience: str, now: float) -> tokens.Identity | tokens.Rejected:
    """Return who the access token `raw` speaks for, of whichever active provider issued it.

    Args:
        raw: the token.
        audience: accepted as `aud` besides the provider's own audiences.
        now: seconds since 1970.
    """
    peeked = tokens.peek(raw)
    if isinstance(peeked, tokens.Rejected):
        return peeked
    row = IdentityProvider.objects.filter(issuer=peeked.issuer, is_active=True).first()
    if row is None:
        return tokens.Rejected("token_issuer", "The token's issuer is not an identity provider of this gateway.")
    provider = provider_value(row)
    try:
        keys = keys_for(provider, peeked.key_id)
    except KeysUnavailable:
        return tokens.Rejected("keys_unavailable", "The issuer's signing keys cannot be read.")
    return tokens.verify(raw, provider=provider, keys=keys, now=now, audience=audience, unverified=peeked)


def explained(raw: bytes, *, row: IdentityProvider, audience: str, now: float) -> token_report.Report:
    """Return why the provider `row` accepts or refuses `raw`; nothing of the token is kept or logged.

    Args:
        raw: the token.
        row: an identity provider, which need not be active.
        audience: accepted as `aud` besides the provider's own audiences; may be empty.
        now: seconds since 1970.
    """
    provider = provider_value(row)
    peeked = tokens.peek(raw)
    keys = None
    if not isinstance(peeked, tokens.Rejected):
        # A token of another issuer causes no fetch.
        key_id = peeked.key_id if peeked.issuer == provider.issuer else None
        with suppress(KeysUnavailable):
            keys = keys_for(provider, key_id)
    return token_report.explain(raw, provider=provider, keys=keys, now=now, audience=audience)


def flush_keys(provider_id: str) -> None:
    """Forget the cached keys of a provider; the next token fetches them anew."""
    _KeyThread.shared().flush(provider_id)


class _KeyThread:
    """A key cache with an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="wardgate-keys", daemon=True).start()
        self._keys = KeySource(
            self._fetch,
            time.monotonic,
            fresh_seconds=settings.WARDGATE_JWKS_FRESH_SECONDS,
            outage_seconds=settings.WARDGATE_JWKS_OUTAGE_SECONDS,
            retry_seconds=settings.WARDGATE_JWKS_RETRY_SECONDS,
        )

    @staticmethod
    @lru_cache(maxsize=1)
    def shared() -> _KeyThread:
        """Return the process's one."""
        return _KeyThread()

    def keys_for(self, provider: tokens.Provider, key_id: str | None) -> tokens.KeySet:
        return self._run(self._keys.keys_for(provider, key_id))

    def flush(self, provider_id: str) -> None:
        self._loop.call_soon_threadsafe(self._keys.flush, provider_id)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(2 * settings.WARDGATE_JWKS_FETCH_SECONDS + _GRACE_SECONDS)

    async def _fetch(self, url: str, allowed_networks: tuple[str, ...]) -> bytes:
        answer = await asyncio.to_thread(
            outbound.request,
            "GET",
            url,
            allowed_networks=allowed_networks,
            headers={"Accept": "application/json"},
            limit=settings.WARDGATE_JWKS_BYTES,
            seconds=settings.WARDGATE_JWKS_FETCH_SECONDS,
        )
        if answer.status != 200:
            raise outbound.OutboundFailed("status", "The server did not answer with 200.")
        return answer.body
