"""Writes of who is who in Slack, and of the signed requests that were taken.

A person gets a code at the console, after proving who they are, and enters it in a dialog of Slack. The code goes from
the console to Slack and never the other way: whoever makes somebody else enter *their* code only gives them their own
name, in which nobody decides about their own requests.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.exceptions import DomainError
from accounts.models import User
from policies.models import SlackCode, SlackIdentity, SlackSeen

CODE_SECONDS: Final = 600
_CODE_LENGTH = 12
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_SEEN_FOR = timedelta(minutes=15)
"""Longer than a signature is good, either side of now."""
_USE_IS_NOTED_EVERY = timedelta(minutes=1)


class CodeRefused(DomainError):
    """There is no such code, or its time is over."""

    code = "slack_code_refused"

    def __init__(self) -> None:
        super().__init__("This code is not good any more, or was mistyped. Get a new one at the console.")


@transaction.atomic
def slack_code_make(*, user: User, now: datetime) -> str:
    """Return a new code of 59 bits for this person; the one before is good for nothing any more."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
    SlackCode.objects.update_or_create(
        user=user, defaults={"digest": _digest(code), "expires_at": now + timedelta(seconds=CODE_SECONDS)}
    )
    return "-".join(code[start : start + 4] for start in range(0, _CODE_LENGTH, 4))


@transaction.atomic
def slack_link(*, code: str, team: str, slack_user: str, slack_name: str, now: datetime) -> SlackIdentity:
    """Link the person whose code this is to a user of Slack; the code is used up, and a link of that user ends.

    Raises:
        CodeRefused: there is no such code, its time is over, or its person is not active.
    """
    row = SlackCode.objects.select_for_update().select_related("user").filter(digest=_digest(code)).first()
    if row is None or row.expires_at <= now or not row.user.is_active:
        raise CodeRefused
    user = row.user
    row.delete()
    SlackIdentity.objects.filter(team=team, slack_user=slack_user, ended_at=None).update(ended_at=now)
    return SlackIdentity.objects.create(
        user=user,
        team=team,
        slack_user=slack_user,
        slack_name=slack_name[:100],
        linked_at=now,
        expires_at=now + timedelta(days=settings.WARDGATE_SLACK_LINK_DAYS),
    )


def slack_link_end(*, identity_id: UUID, user: User | None = None, now: datetime) -> bool:
    """End a link at once, with `user` only one of theirs; tell whether there was one."""
    links = SlackIdentity.objects.filter(pk=identity_id, ended_at=None)
    return bool((links if user is None else links.filter(user=user)).update(ended_at=now))


def slack_identity_of(*, team: str, slack_user: str, now: datetime) -> SlackIdentity | None:
    """Return who this user of Slack is, with the person; None when nobody has said so, or it was too long ago."""
    links = SlackIdentity.objects.select_related("user__principal")
    found = links.filter(team=team, slack_user=slack_user, ended_at=None, expires_at__gt=now).first()
    if found is not None and (found.used_at is None or now - found.used_at > _USE_IS_NOTED_EVERY):
        found.used_at = now
        found.save(update_fields=["used_at"])
    return found


def slack_request_take(*, signature: str, now: datetime) -> bool:
    """Take a signed request, once in all processes; False when it was taken before."""
    SlackSeen.objects.filter(at__lt=now - _SEEN_FOR).delete()
    try:
        with transaction.atomic():
            SlackSeen.objects.create(digest=sha256(signature.encode()).digest(), at=now)
    except IntegrityError:
        return False
    return True


def _digest(code: str) -> bytes:
    plain = "".join(letter for letter in code.upper() if letter in _ALPHABET)
    return sha256(b"slack code " + plain.encode()).digest()
