"""`run.py manage seal_again`: move what is kept sealed for long to the first master key, so that an old one can go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import DomainError
from policies import services
from policies.services.push_sealing import push_secrets_seal_again
from sessions import exports, recordings


class Command(BaseCommand):
    """Seals keys of encrypted recordings, and secrets of export sinks and notifications, under the first master key."""

    help = "Seal keys of recordings, and secrets of export sinks and notifications, under the first master key."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and end with an error when something does not open."""
        try:
            keys, stuck_keys = recordings.keys_seal_again()
            secrets, stuck_secrets = exports.secrets_seal_again()
            noticed, stuck_notices = services.channel_secrets_seal_again()
            pushed, stuck_pushes = push_secrets_seal_again()
        except DomainError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{keys} keys of recordings, {secrets} secrets of export sinks and {noticed + pushed} of notifications "
            "are sealed again."
        )
        stuck = stuck_secrets + stuck_notices + stuck_pushes
        if stuck_keys or stuck:
            raise CommandError(
                f"{stuck_keys} keys of recordings and {stuck} secrets do not open: keep every master key."
            )
