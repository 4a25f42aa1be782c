"""Which identity providers the login page offers, where each begins, and which pages need no role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import LoginClient, SamlProvider

REQUESTERS_PATH: Final = "/approvals/"
"""Here people see what they have asked for, with a role in the console or without one."""


def is_for_requesters(next_path: str) -> bool:
    """Tell whether a login leads to a page that needs no role; only then is somebody without one let in."""
    return next_path.startswith(REQUESTERS_PATH)


@dataclass(frozen=True, slots=True)
class Way:
    """A button of the login page."""

    name: str
    url: str
    issuer: str


def login_ways(next_path: str, *, proof: bool = False) -> list[Way]:
    """Return the providers at which people may log in, by name; with `proof`, to prove anew who they are."""
    query = urlencode({"next": next_path, **({"proof": "1"} if proof else {})})
    clients = LoginClient.objects.filter(is_active=True, provider__is_active=True).select_related("provider")
    ways = [
        Way(client.provider.name, f"{reverse('console_oidc_begin', args=[client.pk])}?{query}", client.provider.issuer)
        for client in clients
    ]
    saml = SamlProvider.objects.filter(is_active=True, allows_console_login=True, provider__is_active=True)
    ways += [
        Way(row.name, f"{reverse('saml-login', args=[row.pk])}?{query}", row.provider.issuer)
        for row in saml.select_related("provider")
    ]
    return sorted(ways, key=lambda way: way.name.lower())
