"""The live page of the inbox: a socket on which a page is told that requests have moved, and nothing about them.

What it carries are the codes of requests that the person may see; the page then asks for its parts over HTTP, with all
the checks of a page. The login is judged as for each request of the console, when the socket opens, at each bell, and
every `LOOK_SECONDS`: one that has ended, is locked or has lost the permission is told 4403, and closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from channels.db import DatabaseSyncToAsync
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.http.cookie import parse_cookie
from django.http.request import validate_host
from django.utils import timezone

from accounts.console_sessions import person_of_session

from . import selectors
from .live import Hub, Listener, TooManyListeners

LOOK_SECONDS: Final = 15.0
"""How often a login is judged when nothing moves."""
PAUSE_SECONDS: Final = 0.2
"""What moves within so long is told together."""
LATER: Final = 1013
ENDED: Final = 4403
FULL: Final = 4429
"""Why a socket is closed; 4000 and up are ours (RFC 6455 section 7.4.2)."""
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="live")
"""Never in the event loop, and never in the threads that pages are made in."""
MORE = "*"
"""Told instead of codes when more has moved than was kept."""

hub = Hub(most=settings.WARDGATE_LIVE_PAGES, most_of_one=settings.WARDGATE_PERSON_LIVE_PAGES)


@dataclass(frozen=True, slots=True)
class Told:
    """What one look has found: whose login it is, and which of the requests that moved they may see."""

    user_id: int
    codes: tuple[str, ...] = ()


class InboxConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """One live page. Redis is not asked: there is no channel layer behind it."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        """Let a person in who may see requests, from a page of this site."""
        self._session_key = "" if hub.is_full else session_key_of(self.scope)
        try:
            told = await self._look(())
        except DatabaseError:
            told = None
        if told is None:
            await self.close()
            return
        try:
            self._listener: Listener = hub.join(told.user_id)
        except TooManyListeners:
            # Accepted first: a browser does not tell a page why a handshake was refused.
            await self.accept()
            await self.close(FULL)
            return
        await self.accept()
        self._telling = asyncio.create_task(self._tell())

    async def disconnect(self, code: int) -> None:
        """Forget the page."""
        task = getattr(self, "_telling", None)
        if task is not None:
            hub.leave(self._listener)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A page has nothing to say: where the server lets it, it is cut off."""
        await self.close(1003)
        await self.disconnect(1003)
        raise StopConsumer

    async def _tell(self) -> None:
        try:
            while True:
                await self._listener.wait(LOOK_SECONDS)
                moved, is_over = self._listener.take()
                told = await self._look(moved)
                if told is None:
                    await self.close(ENDED)
                    return
                if is_over or told.codes:
                    await self.send(json.dumps({"moved": [MORE] if is_over else told.codes}))
                await asyncio.sleep(PAUSE_SECONDS)
        except DatabaseError:
            # Whose login it is cannot be said now, so nothing is; the page comes again later.
            await self.close(LATER)
        except OSError:
            # The page is gone: the server says so here, or a moment later to `disconnect`.
            return
        finally:
            hub.leave(self._listener)

    async def _look(self, moved: Collection[str]) -> Told | None:
        """Return what may be told; None when nothing may."""
        if not self._session_key:
            return None
        told: Told | None = await _in_a_thread(look)(self._session_key, moved)
        return told


def look(session_key: str, moved: Collection[str]) -> Told | None:
    """Judge a login, and return which of `moved` (ids of requests) its person may see; None when it is none."""
    user = person_of_session(session_key, timezone.now())
    if user is None or not user.has_perm("policies.view_approvalrequest"):
        return None
    ids = [UUID(request_id) for request_id in moved]
    if not ids:
        return Told(user.pk)
    visible = selectors.approval_requests_visible_to(user=user).filter(pk__in=ids)
    return Told(user.pk, tuple(visible.order_by("code").values_list("code", flat=True)))


def session_key_of(scope: Mapping[str, Any]) -> str:
    """Return the session's key of a handshake that a page of this very site has made; empty for any other.

    A browser says in `Origin` which page opens a socket, and sends the cookie whichever it is (RFC 6455 section 10.2).
    """
    given: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        given.setdefault(name, []).append(value.decode("latin-1"))
    hosts, origins = given.get(b"host", []), given.get(b"origin", [])
    if len(hosts) != 1 or len(origins) != 1:
        return ""
    origin = urlsplit(origins[0])
    is_same = origin.scheme in {"http", "https"} and origin.netloc.lower() == hosts[0].lower()
    name = hosts[0].rpartition(":")[0] if hosts[0].rpartition(":")[2].isdigit() else hosts[0]
    if not is_same or not validate_host(name.lower(), settings.ALLOWED_HOSTS):
        return ""
    return parse_cookie("; ".join(given.get(b"cookie", []))).get(settings.SESSION_COOKIE_NAME, "")


def _in_a_thread(work: Any) -> Any:
    return DatabaseSyncToAsync(work, thread_sensitive=False, executor=_THREADS)
