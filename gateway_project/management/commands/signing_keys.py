"""`run.py manage signing_keys`: see, rotate and withdraw the keys that sign the gateway's own tokens."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts import services
from accounts.exceptions import DomainError
from accounts.models import SigningKey


class Command(BaseCommand):
    """Lists the keys; with `--rotate` or `--withdraw` changes them first."""

    help = "List the signing keys of the gateway, rotate them, or withdraw one that somebody else may have."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take at most one change."""
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--rotate", action="store_true", help="publish the next key; it signs in ten minutes")
        change.add_argument("--withdraw", metavar="KID", help="refuse every token that this key signed, at once")

    def handle(self, *args: Any, **options: Any) -> None:
        """Change what was asked for, and print one line a key, the newest first."""
        now = timezone.now()
        try:
            if options["rotate"]:
                services.signing_key_rotate(now=now)
            elif options["withdraw"]:
                services.signing_key_withdraw(kid=options["withdraw"], now=now)
        except SigningKey.DoesNotExist:
            raise CommandError(
                "There is no such key. Run the command without --withdraw to see which there are."
            ) from None
        except DomainError as error:
            raise CommandError(str(error)) from None
        for key in SigningKey.objects.order_by("-signs_from"):
            state = services.signing_key_state(key, now)
            self.stdout.write(
                f"{key.kid}  {state:8}  signs {key.signs_from:%Y-%m-%d %H:%M} to {key.signs_until:%Y-%m-%d %H:%M} UTC"
            )
