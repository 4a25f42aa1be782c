"""Caps that are looked at before anything is allocated: for each address, principal and connection, and for sessions.

Counts are of this process alone. Memory is bounded: of more than `_KEYS` addresses or principals, the one that has been
quiet for longest is forgotten.

Failed authentications are limited by address, in a way that keeps honest callers behind the same address going: a token
that was verified before passes without a look at the failures of its neighbours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from accounts.tokens import Identity
from proxy.ports import Call, Route

BURST_SECONDS: Final = 2.0
"""A bucket holds what comes in so many seconds."""
SIGNATURE_COST: Final = 4
"""A signature that does not verify costs us as much as so many tokens that fail before."""
SESSION_COUNTS_SECONDS: Final = 300.0
"""A session that was not used for so long is open still, and counts no more until it is used."""
_KEYS: Final = 10_000
_SWEEP_SECONDS: Final = 1.0

PrincipalKey = tuple[str, str]


class TooMany(Exception):
    """A cap is reached. `code` is stable; the client may come again after `retry_seconds`."""

    def __init__(self, code: str, retry_seconds: float, status: int = 429) -> None:
        super().__init__(code)
        self.code, self.status = code, status
        self.retry_seconds = max(1, int(retry_seconds + 0.999))


@dataclass(frozen=True, slots=True)
class Caps:
    """The configured caps; a rate of 0 is none. Rates are of requests a second."""

    address_failures: float
    address_requests: float
    principal_requests: float
    principal_calls: int
    connection_calls: int
    sessions: int
    principal_sessions: int


class Buckets:
    """Token buckets by key: `rate` a second, and `BURST_SECONDS` of them at once. A key that is not there is full.

    Args:
        rate: tokens that come in each second; 0 never limits.
        clock: monotonic seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate, self._most, self._clock = rate, max(1.0, rate * BURST_SECONDS), clock
        self._levels: dict[object, tuple[float, float]] = {}

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._levels)

    def wait(self, key: object) -> float:
        """Return how many seconds `key` has to wait for its next token; 0 when there is one."""
        level = self._level(key, self._clock()) if key in self._levels else self._most
        return 0.0 if level >= 1 or not self._rate else (1 - level) / self._rate

    def take(self, key: object, cost: float = 1.0) -> float:
        """Take `cost` tokens and return 0, or return the seconds to wait when there is not even one."""
        if not self._rate:
            return 0.0
        now = self._clock()
        level = self._level(key, now)
        if level < 1:
            return (1 - level) / self._rate
        # In order of use, so that whoever has been quiet for longest is forgotten first.
        if self._levels.pop(key, None) is None and len(self._levels) >= _KEYS:
            del self._levels[next(iter(self._levels))]
        self._levels[key] = (level - cost, now)
        return 0.0

    def _level(self, key: object, now: float) -> float:
        known = self._levels.get(key)
        return self._most if known is None else min(self._most, known[0] + (now - known[1]) * self._rate)


class Limits:
    """The caps of one process.

    Args:
        caps: as configured.
        clock: monotonic seconds.
    """

    def __init__(self, caps: Caps, clock: Callable[[], float]) -> None:
        self._caps, self._clock = caps, clock
        self._failures = Buckets(caps.address_failures, clock)
        self._addresses = Buckets(caps.address_requests, clock)
        self._principals = Buckets(caps.principal_requests, clock)
        self._calls: dict[object, int] = {}
        self._sessions: dict[bytes, list[object]] = {}
        self._sessions_of: dict[PrincipalKey, int] = {}
        self._swept_at = float("-inf")

    # Before anybody is known.

    def arrive(self, address: str) -> None:
        """Count a request of `address`.

        Raises:
            TooMany: it sends more than its rate.
        """
        if self._caps.address_requests and (wait := self._addresses.take(place_of(address))):
            raise TooMany("rate_limited", wait)

    def check_failures(self, address: str) -> None:
        """Refuse a token that was never verified, from an address of which too many have failed.

        Raises:
            TooMany: the token is not worth a look now.
        """
        if len(self._failures) and (wait := self._failures.wait(place_of(address))):
            raise TooMany("too_many_failures", wait)

    def fail(self, address: str, code: str) -> None:
        """Note that a token of `address` was refused for `code`."""
        self._failures.take(place_of(address), SIGNATURE_COST if code == "token_signature" else 1)

    # Calls.

    def enter(self, identity: Identity) -> None:
        """Count a request of an admitted caller until `leave`.

        Raises:
            TooMany: the caller sends too fast, or has too many under way.
        """
        caps, who = self._caps, (identity.issuer, identity.subject)
        if caps.principal_requests and (wait := self._principals.take(who)):
            raise TooMany("rate_limited", wait)
        self._count(who, caps.principal_calls, "too_many_calls")

    def leave(self, identity: Identity) -> None:
        """The request is over."""
        self._discount((identity.issuer, identity.subject))

    def occupy(self, route: Route) -> None:
        """Count a request that is there as a whole at its connection, until `vacate`.

        Raises:
            TooMany: too many are under way there.
        """
        self._count(route.connection_key, self._caps.connection_calls, "connection_busy")

    def vacate(self, route: Route) -> None:
        """The request is over."""
        self._discount(route.connection_key)

    def _count(self, key: object, most: int, code: str) -> None:
        under_way = self._calls.get(key, 0)
        if under_way >= most:
            raise TooMany(code, 1)
        self._calls[key] = under_way + 1

    def _discount(self, key: object) -> None:
        left = self._calls[key] - 1
        if left:
            self._calls[key] = left
        else:
            del self._calls[key]

    def pause(self, call: Call) -> None:
        """A call waits for a human, and takes up no place meanwhile."""
        self.leave(call.identity)
        self.vacate(call.route)

    def resume(self, call: Call) -> None:
        """It goes on; it was admitted before, so that no cap refuses it now."""
        for key in ((call.identity.issuer, call.identity.subject), call.route.connection_key):
            self._calls[key] = self._calls.get(key, 0) + 1

    # Sessions.

    def open_session(self, session: bytes, identity: Identity) -> None:
        """Count a session that is about to be opened.

        Raises:
            TooMany: the principal has too many, or all have (503).
        """
        who = (identity.issuer, identity.subject)
        caps = self._caps
        if len(self._sessions) >= caps.sessions or self._sessions_of.get(who, 0) >= caps.principal_sessions:
            self._sweep()
        if self._sessions_of.get(who, 0) >= caps.principal_sessions:
            raise TooMany("too_many_sessions", SESSION_COUNTS_SECONDS / 10)
        if len(self._sessions) >= caps.sessions:
            raise TooMany("gateway_full", SESSION_COUNTS_SECONDS / 10, 503)
        self._sessions[session] = [who, self._clock()]
        self._sessions_of[who] = self._sessions_of.get(who, 0) + 1

    def use_session(self, session: bytes) -> None:
        """Note that a counted session is in use."""
        known = self._sessions.get(session)
        if known is not None:
            known[1] = self._clock()

    def close_session(self, session: bytes) -> None:
        """The session has ended, or could not be opened."""
        known = self._sessions.pop(session, None)
        if known is None:
            return
        who: PrincipalKey = known[0]  # type: ignore[assignment]
        left = self._sessions_of[who] - 1
        if left:
            self._sessions_of[who] = left
        else:
            del self._sessions_of[who]

    def _sweep(self) -> None:
        """Forget sessions that are not in use; at most once a second, however often it is asked for."""
        now = self._clock()
        if now - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = now
        for session, (_, used_at) in list(self._sessions.items()):
            if now - used_at > SESSION_COUNTS_SECONDS:  # type: ignore[operator]
                self.close_session(session)


@lru_cache(maxsize=_KEYS)
def place_of(address: str) -> str:
    """Return what counts as one place: an IPv4 address, or the /64 of an IPv6 address, which one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 4:
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
