"""`run.py manage seal_again`: move what is kept sealed for long to the first master key, so that an old one can go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import DomainError
from policies import services
from policies.services.push_sealing import push_secrets_seal_again
from sessions import checkpoint_keys, exports, recordings, shipping


class Command(BaseCommand):
    """Seals keys of recordings and checkpoints, and secrets of sinks and notifications, under the first master key."""

    help = (
        "Seal keys of recordings and checkpoints, and secrets of sinks and notifications, under the first master key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and end with an error when something does not open."""
        try:
            keys, stuck_keys = _together(recordings.keys_seal_again(), checkpoint_keys.checkpoint_keys_seal_again())
            secrets, stuck_secrets = _together(exports.secrets_seal_again(), shipping.checkpoint_secrets_seal_again())
            noticed, stuck_notices = _together(services.channel_secrets_seal_again(), push_secrets_seal_again())
        except DomainError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{keys} keys of recordings and checkpoints, {secrets} secrets of sinks and {noticed} of notifications "
            "are sealed again."
        )
        stuck = stuck_secrets + stuck_notices
        if stuck_keys or stuck:
            raise CommandError(
                f"{stuck_keys} keys of recordings and checkpoints and {stuck} secrets do not open: "
                "keep every master key."
            )


def _together(*counted: tuple[int, int]) -> tuple[int, int]:
    """Add up how many moved, and how many are stuck."""
    return sum(moved for moved, _ in counted), sum(stuck for _, stuck in counted)
