"""`run.py manage seal_again`: move what the record keeps sealed to the first master key, so that an old one can go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import DomainError
from sessions import exports, recordings


class Command(BaseCommand):
    """Seals the data keys of encrypted recordings, and the secrets of export sinks, under the first master key."""

    help = "Seal the keys of encrypted recordings and the secrets of export sinks under the first master key."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and end with an error when something does not open."""
        try:
            keys, stuck_keys = recordings.keys_seal_again()
            secrets, stuck_secrets = exports.secrets_seal_again()
        except DomainError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{keys} keys of recordings and {secrets} secrets of export sinks are sealed again.")
        if stuck_keys or stuck_secrets:
            raise CommandError(
                f"{stuck_keys} keys of recordings and {stuck_secrets} secrets do not open: keep every master key."
            )
