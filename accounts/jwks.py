"""Where an issuer's keys come from: a cache for each provider, one fetch at a time, never more than a few a minute.

Ages are counted from the start of the last fetch that succeeded, with the default limits:

- up to 240 s (four fifths of `fresh_seconds`) the keys serve;
- up to 300 s they serve, and one fetch runs in the background;
- beyond, callers wait for that fetch, so that a key which its issuer removed is refused within 300 s, also after a
  quiet hour;
- while the issuer cannot be reached the old keys serve for 3600 s (`outage_seconds`), with a new try every 30 s
  (`retry_seconds`); then nothing is accepted from it.

A token that names an unknown key may cause a fetch, because issuers rotate keys; at most one in 30 s, and at most two
fetches of any cause in 60 s, whatever is sent. The discovery document adds one request an hour.

The network is behind `fetch`, which has to check the address, cap the body and follow no redirects. Nothing here knows
Django.

Source: OpenID Connect Discovery 1.0 section 4, RFC 7517 section 5.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .keys import KeySet, key_set, load_object
from .tokens import Provider

Fetch = Callable[[str, tuple[str, ...]], Awaitable[bytes]]
"""(URL, allowed networks) to the body of a 200 answer; raises whatever it likes when there is none."""

FETCHES_PER_WINDOW: Final = 2
MAX_PROVIDERS: Final = 1024
MAX_WAITERS: Final = 256
"""Most tokens of unknown keys that wait for one fetch; the others are answered from the keys that are known."""
FETCH_SECONDS: Final = 10.0
"""Longest time for discovery and keys together, in case `fetch` does not bound itself."""

_REFRESH_AT: Final = 0.8

logger = logging.getLogger(__name__)


class KeysUnavailable(Exception):
    """The provider's keys cannot be had, or are too old to be trusted: nothing is accepted from it."""

    code = "keys_unavailable"

    def __init__(self, provider_id: str) -> None:
        super().__init__("The signing keys of the identity provider are not available.")
        self.provider_id = provider_id


class DiscoveryRefused(ValueError):
    """The discovery document is not of the issuer it was fetched for, or names no acceptable key URL."""


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known of one provider. Times are of the monotonic clock."""

    provider: Provider
    keys: KeySet | None = None
    fetched_at: float = 0.0
    failed_at: float | None = None
    unknown_at: float | None = None
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=FETCHES_PER_WINDOW))
    keys_url: str = ""
    discovered_at: float = 0.0
    task: asyncio.Task[None] | None = None
    waiting: int = 0


class KeySource:
    """The keys of every provider, for one event loop.

    Args:
        fetch: how a URL is fetched.
        clock: monotonic seconds.
        fresh_seconds: oldest keys that serve while the issuer answers.
        outage_seconds: oldest keys that serve while it does not.
        retry_seconds: least time between two fetches caused by failures, or by unknown key ids.
    """

    def __init__(
        self,
        fetch: Fetch,
        clock: Callable[[], float],
        *,
        fresh_seconds: float = 300,
        outage_seconds: float = 3600,
        retry_seconds: float = 30,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._outage_seconds = outage_seconds
        self._retry_seconds = retry_seconds
        self._entries: dict[str, _Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def fresh(self, provider: Provider, key_id: str | None) -> KeySet | None:
        """Return the keys when they can be used without waiting, else None: then ask `keys_for`.

        They may lack `key_id`: when no fetch is due for it, the answer is that it is unknown. Starts the background
        fetch when one is due.
        """
        entry = self._entry(provider)
        if entry.keys is None or provider.pinned_jwks is not None:
            return entry.keys
        now = self._clock()
        age = now - entry.fetched_at
        if age >= self._outage_seconds or self._must_wait(entry, now):
            return None
        if self._is_missing(entry, key_id) and self._may_ask_for_unknown(entry, now):
            return None
        if age >= self._fresh_seconds * _REFRESH_AT and self._may_fetch(entry, now):
            self._refresh(entry, now)
        return entry.keys

    async def keys_for(self, provider: Provider, key_id: str | None) -> KeySet:
        """Return the provider's keys, fetched now if they are too old or lack `key_id` and a fetch is due.

        A caller that is cancelled does not stop the fetch, which the other callers wait for as well.

        Raises:
            KeysUnavailable: there are none, or none young enough.
        """
        for _ in range(2):
            keys = self.fresh(provider, key_id)
            if keys is not None:
                return keys
            entry = self._entry(provider)
            await self._wait(entry, key_id)
            if entry is self._entry(provider) and entry.keys is not None and not self._is_outdated(entry):
                return entry.keys
            # Flushed while the fetch ran: what it brought is from before the flush, so it is asked for once more.
        raise KeysUnavailable(provider.id)

    def flush(self, provider_id: str) -> None:
        """Forget everything of this provider, its limits too; the next token waits for a new fetch."""
        self._entries.pop(provider_id, None)

    async def aclose(self) -> None:
        """Stop the fetches that run."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, entry: _Entry, key_id: str | None) -> None:
        """Wait for the fetch that runs, or that is due for this token and is started here."""
        now = self._clock()
        if self._may_fetch(entry, now):
            if self._is_missing(entry, key_id):
                entry.unknown_at = now
            self._refresh(entry, now)
        if entry.task is not None:
            entry.waiting += 1
            try:
                await asyncio.shield(entry.task)
            finally:
                entry.waiting -= 1

    def _entry(self, provider: Provider) -> _Entry:
        """Return the entry of this provider as it is configured now; another configuration starts from nothing."""
        entry = self._entries.get(provider.id)
        if entry is not None:
            if entry.provider is provider:
                return entry
            if _source(entry.provider) == _source(provider):
                entry.provider = provider
                return entry
        entry = _Entry(provider)
        if provider.pinned_jwks is not None:
            try:
                entry.keys = key_set(provider.pinned_jwks, algorithms=provider.algorithms)
            except ValueError:
                logger.warning("the pinned key set cannot be read", extra={"provider_id": provider.id})
        self._entries.pop(provider.id, None)
        if len(self._entries) >= MAX_PROVIDERS:
            del self._entries[next(iter(self._entries))]
        self._entries[provider.id] = entry
        return entry

    @staticmethod
    def _is_missing(entry: _Entry, key_id: str | None) -> bool:
        return key_id is not None and entry.keys is not None and key_id not in entry.keys

    def _is_outdated(self, entry: _Entry) -> bool:
        return self._clock() - entry.fetched_at >= self._outage_seconds

    def _must_wait(self, entry: _Entry, now: float) -> bool:
        """Return whether old keys may only serve after a try to replace them.

        They serve at once when such a try has failed lately: during an outage the tries go on in the background.
        """
        if now - entry.fetched_at < self._fresh_seconds:
            return False
        return entry.failed_at is None or now - entry.failed_at >= 2 * self._retry_seconds

    def _may_fetch(self, entry: _Entry, now: float) -> bool:
        """Return whether another fetch may start now: none runs, none failed lately, and the minute is not used up."""
        if entry.task is not None or entry.provider.pinned_jwks is not None:
            return False
        if entry.failed_at is not None and now - entry.failed_at < self._retry_seconds:
            return False
        full = len(entry.starts) == FETCHES_PER_WINDOW
        return not full or now - entry.starts[0] >= FETCHES_PER_WINDOW * self._retry_seconds

    def _may_ask_for_unknown(self, entry: _Entry, now: float) -> bool:
        """Return whether a token of an unknown key is worth waiting: for the fetch that runs, or for a new one."""
        if entry.task is not None:
            return entry.waiting < MAX_WAITERS
        if entry.unknown_at is not None and now - entry.unknown_at < self._retry_seconds:
            return False
        return self._may_fetch(entry, now)

    def _refresh(self, entry: _Entry, now: float) -> None:
        """Start the one fetch of this entry."""
        entry.starts.append(now)
        entry.task = self._started(self._load(entry, now))

    def _started(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Not a task group: the fetch outlives the request that started it, which may be cancelled by its client.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _load(self, entry: _Entry, started_at: float) -> None:
        provider = entry.provider
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                url = provider.jwks_url or await self._discovered(entry, started_at)
                body = await self._fetch(url, provider.allowed_networks)
            keys = key_set(load_object(body), algorithms=provider.algorithms)
        except Exception as error:
            # Whatever the network or the issuer did, it means the same: no new keys. Only the kind of error is logged,
            # because a message may quote the other side.
            entry.failed_at = self._clock()
            logger.warning(
                "signing keys could not be fetched", extra={"provider_id": provider.id, "error": type(error).__name__}
            )
        else:
            entry.keys, entry.fetched_at, entry.failed_at = keys, started_at, None
        finally:
            entry.task = None

    async def _discovered(self, entry: _Entry, now: float) -> str:
        """Return the key URL of the issuer's discovery document, asked for once in `outage_seconds`.

        After a failure it is asked for again when it is older than `fresh_seconds`, in case the keys have moved.
        """
        longest = self._outage_seconds if entry.failed_at is None else self._fresh_seconds
        if entry.keys_url and now - entry.discovered_at < longest:
            return entry.keys_url
        provider = entry.provider
        body = await self._fetch(discovery_url(provider.issuer), provider.allowed_networks)
        entry.keys_url, entry.discovered_at = keys_url(load_object(body), provider.issuer), now
        return entry.keys_url


def discovery_url(issuer: str) -> str:
    """Return where the discovery document of `issuer` is (OpenID Connect Discovery 1.0, section 4)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def keys_url(document: Mapping[str, Any], issuer: str) -> str:
    """Return the key URL that the discovery document of `issuer` names.

    Raises:
        DiscoveryRefused: it is of another issuer, or names no acceptable URL.
    """
    if document.get("issuer") != issuer:
        raise DiscoveryRefused("the discovery document is of another issuer")
    url = document.get("jwks_uri")
    # Keys of an https issuer must not be fetched over http: whoever is on that way could replace them.
    schemes = ("https://",) if issuer.startswith("https://") else ("https://", "http://")
    if not isinstance(url, str) or not url.startswith(schemes):
        raise DiscoveryRefused("the discovery document names no acceptable key URL")
    return url


def _source(provider: Provider) -> tuple[object, ...]:
    """Return the part of a provider on which its keys depend."""
    return (
        provider.issuer,
        provider.jwks_url,
        provider.allowed_networks,
        provider.algorithms,
        provider.pinned_jwks,
        provider.keys_flushed_at,
    )
