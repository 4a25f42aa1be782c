"""Who calls: the bearer token of every request, verified against the configured providers. There is no other way in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from accounts import tokens
from accounts.jwks import KeySource, KeysUnavailable

_CACHE_ENTRIES = 10_000


class Unauthenticated(Exception):
    """The request carries no acceptable token. `code` is stable; `detail` is a sentence without secrets."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class Providers(Protocol):
    """What authentication needs of the policy snapshot."""

    @property
    def version(self) -> int:
        """The policy version; a remembered token is of one version only."""

    @property
    def providers(self) -> Mapping[str, tokens.Provider]:
        """Providers by issuer."""


@dataclass(frozen=True, slots=True)
class _Cached:
    identity: tokens.Identity
    version: int
    until: float


class Authenticator:
    """Verifies bearer tokens; a verified one is remembered by the SHA-256 of the whole token.

    Args:
        keys: where signing keys come from.
        cache_seconds: how long a verified token is remembered, never past its `exp`.
        token_bytes: longest accepted token.
    """

    def __init__(self, keys: KeySource, *, cache_seconds: int, token_bytes: int) -> None:
        self._keys, self._cache_seconds, self._token_bytes = keys, cache_seconds, token_bytes
        self._cache: dict[tuple[bytes, str], _Cached] = {}

    async def authenticate(self, headers: Mapping[bytes, bytes], resource: str, snapshot: Providers) -> tokens.Identity:
        """Return who sent `headers`, for a request to `resource` (the connection's URL, RFC 8707).

        Raises:
            Unauthenticated: with the reason's code.
        """
        raw = _bearer(headers)
        if len(raw) > self._token_bytes:
            raise Unauthenticated("token_too_long", "The token is too long.")
        key = (sha256(raw).digest(), resource)
        now = time.time()
        cached = self._cache.get(key)
        if cached is not None and cached.version == snapshot.version and now < cached.until:
            return cached.identity
        identity = await self._verify(raw, resource, snapshot, now)
        if self._cache_seconds:
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            until = min(identity.expires_at, now + self._cache_seconds)
            self._cache[key] = _Cached(identity, snapshot.version, until)
        return identity

    async def _verify(self, raw: bytes, resource: str, snapshot: Providers, now: float) -> tokens.Identity:
        peeked = tokens.peek(raw, limit=self._token_bytes)
        if isinstance(peeked, tokens.Rejected):
            raise Unauthenticated(peeked.code, peeked.detail)
        provider = snapshot.providers.get(peeked.issuer)
        if provider is None:
            raise Unauthenticated("token_issuer", "The token's issuer is not an identity provider of this gateway.")
        try:
            keys = self._keys.fresh(provider, peeked.key_id) or await self._keys.keys_for(provider, peeked.key_id)
        except KeysUnavailable:
            raise Unauthenticated("keys_unavailable", "The issuer's signing keys cannot be read.") from None
        verdict = tokens.verify(raw, provider=provider, keys=keys, now=now, audience=resource, unverified=peeked)
        if isinstance(verdict, tokens.Rejected):
            raise Unauthenticated(verdict.code, verdict.detail)
        return verdict


def _bearer(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the token of an `Authorization: Bearer` header (RFC 6750, section 2.1)."""
    value = headers.get(b"authorization")
    if value is None:
        raise Unauthenticated("token_missing", "Send an access token in the Authorization header.")
    scheme, _, raw = value.partition(b" ")
    if scheme.lower() != b"bearer" or not raw or b" " in raw:
        raise Unauthenticated("token_malformed", "The Authorization header must be: Bearer, a space, one token.")
    return raw
