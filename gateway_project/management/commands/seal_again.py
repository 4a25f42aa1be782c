"""`run.py manage seal_again`: move everything that is sealed to the first master key, so that an old one can go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import DomainError
from accounts.services.factors import factor_secrets_seal_again
from accounts.services.login_clients import login_client_secrets_seal_again
from accounts.services.providers import introspection_secrets_seal_again
from accounts.services.signing import signing_keys_seal_again
from connections.services import credentials_seal_again
from policies.services import channel_secrets_seal_again
from policies.services.approval_seal import held_calls_seal_again
from policies.services.push_sealing import push_secrets_seal_again
from sessions.checkpoint_keys import checkpoint_keys_seal_again
from sessions.exports import secrets_seal_again
from sessions.recordings import keys_seal_again
from sessions.shipping import checkpoint_secrets_seal_again

_KINDS: Final[Mapping[str, Callable[[], tuple[int, int]]]] = {
    "credentials of upstreams": credentials_seal_again,
    "secrets of login clients": login_client_secrets_seal_again,
    "second factors": factor_secrets_seal_again,
    "secrets for introspection": introspection_secrets_seal_again,
    "keys that sign tokens": signing_keys_seal_again,
    "held calls": held_calls_seal_again,
    "secrets of notification channels": channel_secrets_seal_again,
    "keys of web push": push_secrets_seal_again,
    "keys of recordings": keys_seal_again,
    "keys of checkpoints": checkpoint_keys_seal_again,
    "secrets of checkpoint sinks": checkpoint_secrets_seal_again,
    "secrets of export sinks": secrets_seal_again,
}
"""What is sealed, and what moves it: each returns how many moved, and how many do not open."""


class Command(BaseCommand):
    """Seals everything that is sealed in the database under the first master key."""

    help = "Seal everything that is sealed in the database under the first master key."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and end with an error when something does not open."""
        stuck: dict[str, int] = {}
        for what, seal_again in _KINDS.items():
            try:
                moved, left = seal_again()
            except DomainError as error:
                raise CommandError(str(error)) from None
            self.stdout.write(f"{what}: {moved} sealed again")
            if left:
                stuck[what] = left
        if stuck:
            listed = ", ".join(f"{count} {what}" for what, count in stuck.items())
            raise CommandError(f"These do not open: {listed}. Keep every master key.")
        self.stdout.write("Everything is sealed under the first master key.")
