"""Telling people that something waits for them, or what became of it: messages, and the ways that they take.

`message` has what is told. Each way is a module with the members of `Way`; `ways` names them all. A way knows no
database: it is handed a notice and where to send it, and answers `Sent`, or raises `NotSent` with a sentence. It sends
nothing but through `accounts.outbound` (or the mail server), takes no longer than `SECONDS`, follows no redirect, and
writes neither secrets nor addresses into a log.

What `target` and `secret` are:

    email      addresses, comma-separated            nothing
    webhook    URL                                   one signing secret a line (while one replaces the other, two)
    slack      id of a channel, such as C0123456789  bot token
    teams      nothing                               URL of the workflow, which is a secret itself
    web_push   endpoint of the subscription          JSON with the members p256dh and auth
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from accounts.vault import Secret

from .message import Notice, Sent

SECONDS: Final = 15.0
"""How long sending one message may take."""


class Way(Protocol):
    """What a module of a way has."""

    @property
    def UPDATES(self) -> bool:
        """Whether a message that was sent can be changed, by its reference."""
        ...

    def send(
        self, notice: Notice, target: str, secret: Secret, allowed_networks: Sequence[str], *, reference: str = ""
    ) -> Sent:
        """Send the notice; with a `reference` change the message that was sent under it instead.

        Raises:
            NotSent: it has to be sent again, or, if `is_final`, cannot be sent at all.
        """
        ...

    def refusal(self, target: str, secret: str | None, allowed_networks: Sequence[str]) -> tuple[str, str] | None:
        """Return the field (target, secret or allowed_networks) that cannot be, and a sentence what to write; or None.

        `secret` is None when the one that is kept stays.
        """
        ...
