"""Whether the issuer still stands by a token that has been good for a while: RFC 7662, asked where the token is used.

A signature says that a token was good when it was issued. For a token of an hour that is enough for most; a provider
with an introspection endpoint can say more, and a provider that is set up with one is asked:

- a token younger than `every_seconds` is not asked about: its issuer vouched for it just now;
- after that it is asked about when it is used, at most once in `every_seconds`, and the request waits for the answer;
- a stream that goes on is asked about just as often, without a request;
- what the issuer calls inactive is refused, and written down as a revocation, so that every process refuses it;
- while the issuer cannot be asked, its last word counts for `outage_seconds` more, and then the token is refused.

Nothing but the process that a client sent its token to can ask, because a token is kept nowhere else: neither in a
table nor in a task's arguments. Tokens of providers that are asked stay in this process's memory until they expire.

Nothing here knows Django; `services.token_introspect` does the asking.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from .keys import load_object
from .tokens import Identity, Rejected

logger = logging.getLogger(__name__)

MAX_ENTRIES: Final = 10_000
AT_ONCE: Final = 8
"""Most questions under way at the same time."""
TICK_SECONDS: Final = 5.0


class Standing(StrEnum):
    """What an issuer says of a token."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    UNAVAILABLE = "unavailable"


Ask = Callable[[Identity, bytes], Awaitable[Standing]]
"""(whose token, the token) to what its issuer says; never raises."""


def standing_of(status: int, body: bytes) -> Standing:
    """Return what an introspection response says (RFC 7662 section 2.2): only a literal `true` is active."""
    if status != 200:
        return Standing.UNAVAILABLE
    try:
        answer: Any = load_object(body)
    except ValueError:
        return Standing.UNAVAILABLE
    active = answer.get("active")
    if not isinstance(active, bool):
        return Standing.UNAVAILABLE
    return Standing.ACTIVE if active else Standing.INACTIVE


@dataclass(slots=True, eq=False)
class _Known:
    """A token, and when its issuer last stood by it. Times are seconds since 1970."""

    identity: Identity = field(repr=False)
    raw: bytes = field(repr=False)
    active_at: float
    asked_at: float = 0.0
    is_inactive: bool = False
    question: asyncio.Task[None] | None = None


class Introspector:
    """Asks issuers about tokens, for one event loop.

    Args:
        ask: how an issuer is asked.
        every_seconds: how often about one token.
        outage_seconds: how much longer a token counts while its issuer cannot be asked.
        retry_seconds: how long after such a try the next one comes.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        every_seconds: float,
        outage_seconds: float,
        retry_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ask, self._clock = ask, clock
        self._every_seconds, self._outage_seconds = every_seconds, outage_seconds
        self._retry_seconds = min(retry_seconds, every_seconds)
        self._known: dict[bytes, _Known] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    async def refusal(self, identity: Identity, raw: bytes) -> Rejected | None:
        """Return why the verified token `raw` is not good any more; None while its issuer stands by it."""
        known = self._entry(identity, raw)
        if not known.is_inactive and self._is_due(known):
            await self._asked(known)
        if known.is_inactive:
            return Rejected("token_inactive", "The token's issuer says that it is no longer good.")
        if self._clock() - known.active_at >= self._every_seconds + self._outage_seconds:
            return Rejected("introspection_unavailable", "The token's issuer cannot be asked whether it is still good.")
        return None

    async def keep_watch(self, in_use: Callable[[], Collection[bytes]]) -> None:
        """Ask about the tokens of calls that go on, whose digests `in_use` returns, and forget those that expired."""
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self._every_seconds))
            self.forget_expired()
            await self.ask_again(in_use())

    async def ask_again(self, digests: Collection[bytes]) -> None:
        """Ask about those of the tokens that are due."""
        found = [known for digest in digests if (known := self._known.get(digest)) is not None]
        due = [self._asked(known) for known in found if not known.is_inactive and self._is_due(known)]
        await asyncio.gather(*due, return_exceptions=True)

    def forget_expired(self) -> None:
        """Forget tokens that are not accepted any more anyway."""
        now = self._clock()
        for digest in [digest for digest, known in self._known.items() if known.identity.expires_at <= now]:
            del self._known[digest]

    def _entry(self, identity: Identity, raw: bytes) -> _Known:
        known = self._known.get(identity.token_digest)
        if known is None:
            if len(self._known) >= MAX_ENTRIES:
                # Whoever is forgotten is asked about sooner, never less.
                del self._known[next(iter(self._known))]
            known = self._known[identity.token_digest] = _Known(identity, raw, active_at=float(identity.issued_at))
        return known

    def _is_due(self, known: _Known) -> bool:
        now = self._clock()
        return now - known.active_at >= self._every_seconds and now - known.asked_at >= self._retry_seconds

    async def _asked(self, known: _Known) -> None:
        """Wait for the one question about this token; a caller that leaves does not stop it for the others."""
        if known.question is None:
            known.question = asyncio.get_running_loop().create_task(self._question(known))
        await asyncio.shield(known.question)

    async def _question(self, known: _Known) -> None:
        began_at = self._clock()
        try:
            async with self._places:
                standing = await self._ask(known.identity, known.raw)
            known.asked_at = self._clock()
            if standing is Standing.ACTIVE:
                # As of the moment of the question: the issuer may have changed its mind since.
                known.active_at = began_at
            elif standing is Standing.INACTIVE:
                known.is_inactive = True
            else:
                logger.warning("an issuer could not be asked about a token", extra={"issuer": known.identity.issuer})
        finally:
            known.question = None
