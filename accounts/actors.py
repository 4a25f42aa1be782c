"""Who asks, where only a person may."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied

from accounts.models import User


def person_of(request: Any) -> User:
    """Return the person who asks, of a request of Django or of the REST API.

    Raises:
        PermissionDenied: nobody is logged in.
    """
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
