"""Who decides, from a request of the console or of the REST API: their groups now, and how they proved who they are."""

from __future__ import annotations

from typing import Any

from accounts.client_address import address_of
from accounts.console_sessions import GROUPS_KEY, current
from accounts.models import User

from .models import ApprovalRequest
from .services import Deciding, view_of
from .services.deciders import directory_groups_of


def deciding_of(request: Any, user: User, approval: ApprovalRequest | None = None) -> Deciding:
    """Return the person of `request` as a decider about `approval`.

    Groups are those of the login; with an API token, those of the provider's directory, which are nobody's claim.
    """
    row = current(getattr(request, "_request", request))
    view = "" if approval is None else view_of(approval)
    if row is not None:
        groups = frozenset(int(group) for group in request.session.get(GROUPS_KEY, []))
        proved = f"{row.method}, proved {row.authenticated_at:%Y-%m-%dT%H:%M:%SZ}"
        return Deciding(user, groups, "console", row.address, proved, view)
    groups = directory_groups_of(user)
    address = address_of(getattr(request, "_request", request))
    return Deciding(user, groups, "api", address, f"API token {getattr(request.auth, 'pk', '')}", view)
