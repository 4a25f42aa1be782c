"""Tokens from the running demo's identity provider."""

from __future__ import annotations

import json
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from gateway_project.demo.people import PEOPLE
from gateway_project.local.state import LocalError, load_running, load_secrets


def demo_password(name: str) -> str:
    """Return the password of somebody at the running demo's identity provider.

    Raises:
        LocalError: it does not run, or runs without the demo.
    """
    if not load_running().issuer:
        raise LocalError("Wardgate runs without its demo, so there is no demo password.")
    return load_secrets([]).demo_passwords[name]


def demo_token(name: str, *, resource: str = "") -> str:
    """Return a token of the running demo's identity provider.

    Raises:
        LocalError: it does not run, or runs without the demo.
    """
    running = load_running()
    if not running.issuer:
        raise LocalError("Wardgate runs without its demo, so there is no demo token.")
    password = load_secrets([]).demo_passwords[name]
    form = {"resource": resource} if resource else {}
    if PEOPLE[name].is_machine:
        form |= {"grant_type": "client_credentials", "client_id": name, "client_secret": password}
    else:
        form |= {"grant_type": "password", "username": name, "password": password}
    try:
        with urlopen(f"{running.issuer}/token", data=urlencode(form).encode(), timeout=10) as answer:  # noqa: S310
            return str(json.load(answer)["access_token"])
    except (URLError, OSError, ValueError, KeyError) as error:
        raise LocalError("The demo's identity provider does not answer.") from error
