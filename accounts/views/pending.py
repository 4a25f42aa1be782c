"""Somebody whose password was right and whose second factor is still to come. They are not logged in."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.models import User

_KEY = "wardgate_pending"
SECRET_KEY = "wardgate_enrol"  # noqa: S105 - a name in the session
SECONDS = 600


def begin(request: HttpRequest, user: User, next_path: str, now: datetime) -> None:
    """Note in the browser's session, under a new key, that the password of `user` was right."""
    request.session.flush()
    request.session[_KEY] = {
        "user": user.pk,
        "password": user.get_session_auth_hash(),
        "at": int(now.timestamp()),
        "next": next_path,
    }


def person(request: HttpRequest, now: datetime) -> User | None:
    """Return who is half logged in here; None when nobody is, or it took too long, or the password was changed."""
    noted = request.session.get(_KEY)
    if not isinstance(noted, dict) or not 0 <= now.timestamp() - noted["at"] <= SECONDS:
        return None
    user = User.objects.filter(pk=noted["user"], is_active=True).first()
    if user is None or not constant_time_compare(user.get_session_auth_hash(), noted["password"]):
        return None
    return user


def next_path(request: HttpRequest) -> str:
    """Return where they wanted to go."""
    return str(request.session.get(_KEY, {}).get("next", ""))


def end(request: HttpRequest) -> None:
    """Forget it, with the secret that was to be enrolled."""
    request.session.pop(_KEY, None)
    request.session.pop(SECRET_KEY, None)
