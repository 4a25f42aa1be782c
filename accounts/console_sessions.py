"""A login to the console: how it begins, what is asked of it on each request, and how it ends at once.

Django's session says who; the row in `ConsoleSession` says that it still counts. Both have to agree on every request:
ending the row ends the login within one request on every process, and nothing has to be found and deleted elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user, login, logout
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts import selectors, services
from accounts.client_address import address_of
from accounts.models import ConsoleSession, User

GROUPS_KEY = "wardgate_groups"
"""In Django's session: ids of the groups at the login, which a lock on one of them is held against."""
SEEN_KEY = "wardgate_seen"
"""In Django's session: when its person was last here, in seconds since 1970, within `SEEN_EVERY_SECONDS`."""
SEEN_EVERY_SECONDS = 60


def enter(
    request: HttpRequest,
    user: User,
    *,
    method: str,
    issuer: str = "",
    subject: str = "",
    groups: frozenset[str] | None = frozenset(),
    provider_session: str = "",
    now: datetime,
) -> ConsoleSession:
    """Log `user` in: under a new session key (no fixation), with a row by which the login can be ended.

    `issuer`, `subject` and `groups` are what the identity provider proved, and empty for a local account.
    """
    leave(request, now=now)
    backend = "accounts.backends.RoleBackend" if issuer else "accounts.backends.LocalBackend"
    login(request, user, backend=backend)
    provider = services.provider_of(issuer)
    members: list[int] = []
    if provider is not None and user.principal is not None:
        members = services.groups_of(provider=provider, principal=user.principal, names=groups)
    request.session[GROUPS_KEY] = members
    request.session[SEEN_KEY] = int(now.timestamp())
    row = services.console_session_begin(
        user=user,
        session_key=str(request.session.session_key),
        issuer=issuer,
        subject=subject,
        provider_session=provider_session,
        method=method,
        address=address_of(request),
        user_agent=request.headers.get("User-Agent", ""),
        now=now,
    )
    _remember(request, row)
    return row


def leave(request: HttpRequest, *, now: datetime) -> None:
    """Log out of this browser, if anybody is logged in there."""
    row = current(request)
    if row is not None:
        services.console_session_end(session_id=row.pk, now=now)
    if SESSION_KEY in request.session:
        logout(request)
    _remember(request, None)


def current(request: HttpRequest) -> ConsoleSession | None:
    """Return the login that this request comes from, None for an API token or nobody."""
    row: ConsoleSession | None = getattr(request, "console_session", None)
    return row


class ConsoleSessionMiddleware:
    """Logs out at once whose login has ended, is too old, or whose person, provider or group is stopped.

    One indexed query for each request that comes with a login, and no cache: what it asks must be true now.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Judge the login, answer, and follow Django's session when the answer gave it a new key."""
        _remember(request, None)
        if request.session.session_key and SESSION_KEY in request.session:
            _judge(request, timezone.now())
        response = self.get_response(request)
        _follow(request)
        return response


def person_of_session(session_key: str, now: datetime) -> User | None:
    """Return whose login Django's session of this key is, None when it does not count (any more).

    For what comes without a request, such as a socket of a page. It is no sign that the person is there.
    """
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    if SESSION_KEY not in session or not _counts(session, _row_of(session, now), now):
        return None
    # As a request asks: the backend of the login, and whether the password has changed since.
    user = get_user(cast("HttpRequest", SimpleNamespace(session=session)))
    return user if isinstance(user, User) else None


def _row_of(session: SessionBase, now: datetime) -> ConsoleSession | None:
    return selectors.console_session_for(
        digest=services.session_digest(str(session.session_key)), group_ids=session.get(GROUPS_KEY, []), now=now
    )


def _counts(session: SessionBase, row: ConsoleSession | None, now: datetime) -> bool:
    return (
        row is not None
        and str(row.user_id) == str(session[SESSION_KEY])
        and now - row.began_at <= timedelta(seconds=settings.WARDGATE_CONSOLE_SESSION_SECONDS)
        and now.timestamp() - session.get(SEEN_KEY, 0) <= settings.WARDGATE_CONSOLE_IDLE_SECONDS
    )


def _judge(request: HttpRequest, now: datetime) -> None:
    session = request.session
    row = _row_of(session, now)
    if not _counts(session, row, now):
        if row is not None:
            services.console_session_end(session_id=row.pk, now=now)
        logout(request)
        return
    if now.timestamp() - session.get(SEEN_KEY, 0) >= SEEN_EVERY_SECONDS:
        session[SEEN_KEY] = int(now.timestamp())
    _remember(request, row)


def _follow(request: HttpRequest) -> None:
    """Keep the row with its session: Django gives the session a new key when its person changes the password."""
    row, key = current(request), request.session.session_key
    if row is None or key is None or SESSION_KEY not in request.session:
        return
    if row.session_digest != services.session_digest(key):
        services.console_session_rekey(session_id=row.pk, session_key=key)


def _remember(request: Any, row: ConsoleSession | None) -> None:
    request.console_session = row
