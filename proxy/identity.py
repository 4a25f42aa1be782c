"""Who calls: the bearer token of every request, verified against the configured providers. There is no other way in.

A verified token is remembered for seconds, bound to the versions of policy and of locks: a change of policy verifies it
again, and a lock or revocation is looked up again, before the next request passes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from accounts import issuing, tokens
from accounts.directory_groups import Directory, groups_of
from accounts.introspection import Introspector
from accounts.jwks import KeySource, KeysUnavailable
from accounts.revocations import LOCKED, Revocations, Stopped

_CACHE_ENTRIES = 10_000


class Unauthenticated(Exception):
    """The request carries no acceptable token. `code` is stable; `detail` is a sentence without secrets.

    `identity` is whose token it is, when that is proven: a genuine token that was revoked.
    """

    def __init__(self, code: str, detail: str, identity: tokens.Identity | None = None) -> None:
        super().__init__(code)
        self.code, self.detail, self.identity = code, detail, identity


class Failures(Protocol):
    """What is counted of tokens that fail."""

    def check_failures(self, address: str) -> None:
        """Raise when too many of `address` have failed."""

    def fail(self, address: str, code: str) -> None:
        """Note one that failed."""


class Locked(Exception):
    """The token is good, and who it speaks for is locked: a new login would not help."""

    def __init__(self, stopped: Stopped, identity: tokens.Identity) -> None:
        super().__init__(stopped.code)
        self.stopped, self.identity = stopped, identity


class Providers(Protocol):
    """What authentication needs of the policy snapshot."""

    @property
    def version(self) -> int:
        """The policy version; a remembered token is of one version only."""

    @property
    def providers(self) -> Mapping[str, tokens.Provider]:
        """Providers by issuer."""

    @property
    def revocations(self) -> Revocations:
        """Locks and revocations, with their own version."""

    @property
    def directory(self) -> Directory:
        """Groups that were provisioned."""

    def signer(self, identity: tokens.Identity) -> str:
        """Who signed the identity's token."""


@dataclass(frozen=True, slots=True)
class _Cached:
    """A verified token. `proven` is what it says, `identity` that with the directory's groups.

    `passed` is the version of locks at which it was found free of them, None when it was not.
    """

    proven: tokens.Identity
    identity: tokens.Identity
    version: int
    passed: int | None
    until: float


class Authenticator:
    """Verifies bearer tokens; a verified one is remembered by the SHA-256 of the whole token.

    Args:
        keys: where signing keys come from.
        cache_seconds: how long a verified token is remembered, never past its `exp`.
        token_bytes: longest accepted token.
        failures: limits failed authentications by address.
        introspector: asks the issuers that want to be asked.
    """

    def __init__(
        self, keys: KeySource, *, cache_seconds: int, token_bytes: int, introspector: Introspector, failures: Failures
    ) -> None:
        self._failures = failures
        self._keys, self._cache_seconds, self._token_bytes = keys, cache_seconds, token_bytes
        self._introspector = introspector
        self._cache: dict[tuple[bytes, str], _Cached] = {}

    async def authenticate(
        self, headers: Mapping[bytes, bytes], resource: str, snapshot: Providers, address: str
    ) -> tokens.Identity:
        """Return who sent `headers` from `address`, for a request to `resource` (the connection's URL, RFC 8707).

        Raises:
            Unauthenticated: with the reason's code.
            Locked: the caller is locked.
            TooMany: too many tokens from this address have failed, and this one was never verified.
        """
        known: _Cached | None = None
        try:
            raw = _bearer(headers)
            if len(raw) > self._token_bytes:
                raise Unauthenticated("token_too_long", "The token is too long.")
            key = (sha256(raw).digest(), resource)
            now = time.time()
            known = self._cache.get(key)
            if known is None:
                self._failures.check_failures(address)
            elif known.version == snapshot.version and now < known.until:
                # Locks only ever end by themselves: who was free of them at this version is free of them now.
                if known.passed == snapshot.revocations.version:
                    return known.identity
                return self._admitted(key, known.proven, snapshot, known.until, now)
            proven = await self._verify(raw, resource, snapshot, now)
            until = min(proven.expires_at, now + self._cache_seconds)
            return self._admitted(key, proven, snapshot, until, now)
        except Unauthenticated as error:
            if known is None and error.code != "keys_unavailable":
                self._failures.check_failures(address)
                self._failures.fail(address, error.code)
            raise

    def _admitted(
        self, key: tuple[bytes, str], proven: tokens.Identity, snapshot: Providers, until: float, now: float
    ) -> tokens.Identity:
        """Return the identity with the groups that the directory knows, unless a lock or revocation stops it."""
        identity = with_directory(proven, snapshot)
        stopped = snapshot.revocations.refusal(identity, None, now, signed_by=snapshot.signer(identity))
        if self._cache_seconds:
            if len(self._cache) >= _CACHE_ENTRIES and key not in self._cache:
                del self._cache[next(iter(self._cache))]
            passed = snapshot.revocations.version if stopped is None else None
            self._cache[key] = _Cached(proven, identity, snapshot.version, passed, until)
        if stopped is None:
            return identity
        if stopped.code == LOCKED:
            raise Locked(stopped, identity)
        raise Unauthenticated(stopped.code, stopped.detail, identity)

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
        if isinstance(verdict, tokens.Identity) and provider.id == issuing.PROVIDER_ID:
            verdict = issuing.as_original(verdict, raw, snapshot.providers)
        if isinstance(verdict, tokens.Identity) and provider.introspects:
            verdict = await self._introspector.refusal(verdict, raw) or verdict
        if isinstance(verdict, tokens.Rejected):
            raise Unauthenticated(verdict.code, verdict.detail)
        return verdict


class DirectoryGroups(frozenset[str]):
    """Groups that the directory told, not the token: they may change while the token lives."""

    __slots__ = ()


def with_directory(identity: tokens.Identity, snapshot: Providers) -> tokens.Identity:
    """Return `identity` with the provisioned groups of now, when its token does not tell them."""
    known = identity.groups
    if known is not None and not isinstance(known, DirectoryGroups):
        return identity
    unknown = identity if known is None else replace(identity, groups=None)
    groups = groups_of(snapshot.directory, unknown)
    return unknown if groups is None else replace(unknown, groups=DirectoryGroups(groups))


def _bearer(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the token of an `Authorization: Bearer` header (RFC 6750, section 2.1)."""
    value = headers.get(b"authorization")
    if value is None:
        raise Unauthenticated("token_missing", "Send an access token in the Authorization header.")
    scheme, _, raw = value.partition(b" ")
    if scheme.lower() != b"bearer" or not raw or b" " in raw:
        raise Unauthenticated("token_malformed", "The Authorization header must be: Bearer, a space, one token.")
    return raw
