"""What becomes of a logout token or a security event that verified: revocations, locks, and console sessions that end.

Every effect is in one transaction with the memory of the token's `jti`, so that it happens once, or not at all and the
sender tries again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from django.db import transaction

from accounts.event_tokens import (
    EVENT_MAX_AGE_SECONDS,
    LOGOUT_MAX_AGE_SECONDS,
    Effect,
    LogoutToken,
    Occurrence,
    SecurityEvents,
)
from accounts.exceptions import DomainError
from accounts.models import ConsoleSession, EventTransmitter, Lock, Principal, RevokedToken

from .locks import lock_place, locks_lift, revocation_end, token_revoke, token_seen
from .people import console_sessions_end
from .principals import principal_ensure
from .transmitters import transmitter_heard

_MARGIN: Final = timedelta(minutes=10)
"""Kept longer than a token could be accepted, whatever the clock difference."""


class TokenReplayed(DomainError):
    """The token had its effect already and has none again."""

    code = "token_replayed"

    def __init__(self) -> None:
        super().__init__("The token was received before.")


@transaction.atomic
def logout_receive(*, token: LogoutToken, now: datetime) -> None:
    """Refuse the tokens of what logged out at the provider, and end its console sessions.

    A session ends with its own tokens and with those of its subject that name no session, which may belong to it. When
    the provider names a subject and no session, all that it has been issued so far is refused.

    Raises:
        TokenReplayed: it was received before.
    """
    issued_at = datetime.fromtimestamp(token.issued_at, UTC)
    kept_until = issued_at + timedelta(seconds=LOGOUT_MAX_AGE_SECONDS) + _MARGIN
    if token_seen(issuer=token.issuer, jti=token.token_id, expires_at=kept_until, now=now):
        raise TokenReplayed
    _end_session(
        issuer=token.issuer,
        subject=token.subject,
        session_id=token.session_id,
        until=min(issued_at, now),
        source=Lock.Source.LOGOUT,
        reason="Logged out at the identity provider.",
        now=now,
    )


@transaction.atomic
def events_receive(*, transmitter: EventTransmitter, received: SecurityEvents, now: datetime) -> bool:
    """Give the events their effect, and return whether they are new; a token that comes again changes nothing."""
    kept_until = datetime.fromtimestamp(received.issued_at, UTC) + timedelta(seconds=EVENT_MAX_AGE_SECONDS) + _MARGIN
    if token_seen(issuer=received.issuer, jti=received.token_id, expires_at=kept_until, now=now):
        return False
    for occurrence in received.occurrences:
        _apply(occurrence, transmitter, now)
    transmitter_heard(transmitter_id=transmitter.pk, now=now)
    return True


def _apply(occurrence: Occurrence, transmitter: EventTransmitter, now: datetime) -> None:
    subject, until = occurrence.subject, datetime.fromtimestamp(occurrence.at, UTC)
    why = f" ({occurrence.reason})" if occurrence.reason else ""
    reason = f"Security event {occurrence.name}{why} from {transmitter.name}."
    if subject.token_id:
        token_revoke(
            kind=RevokedToken.Kind.TOKEN_ID,
            issuer=subject.issuer,
            value=subject.token_id,
            source=Lock.Source.EVENT,
            reason=reason,
            expires_at=revocation_end(now),
            now=now,
        )
    match occurrence.effect:
        case Effect.REVOKE_SESSION | Effect.REVOKE_SUBJECT:
            # A changed credential concerns every session of the subject, even if the event names one of them.
            is_one = occurrence.effect is Effect.REVOKE_SESSION or not subject.subject
            session_id = subject.session_id if is_one else ""
            if session_id or (subject.subject and not (is_one and subject.token_id)):
                _end_session(
                    issuer=subject.issuer,
                    subject=subject.subject,
                    session_id=session_id,
                    until=until,
                    source=Lock.Source.EVENT,
                    reason=reason,
                    now=now,
                )
        case Effect.DISABLE:
            _disable(occurrence, until, reason, now)
        case Effect.ENABLE:
            _enable(occurrence, until, now)


def _disable(occurrence: Occurrence, until: datetime, reason: str, now: datetime) -> None:
    """Lock the principal, who may never have been seen, and refuse what it holds."""
    issuer, subject = occurrence.subject.issuer, occurrence.subject.subject
    principal = principal_ensure(issuer=issuer, subject=subject, now=now)
    lock_place(kind=Lock.Kind.PRINCIPAL, principal=principal, reason=reason, source=Lock.Source.EVENT, now=now)
    # Kept as long as any event can be delivered: `_enable` reads from it when the account was last disabled.
    token_revoke(
        kind=RevokedToken.Kind.SUBJECT,
        issuer=issuer,
        value=subject,
        issued_until=until,
        source=Lock.Source.EVENT,
        reason=reason,
        expires_at=now + timedelta(seconds=EVENT_MAX_AGE_SECONDS) + _MARGIN,
        now=now,
    )
    console_sessions_end(issuer=issuer, subject=subject, now=now)


def _enable(occurrence: Occurrence, until: datetime, now: datetime) -> None:
    """Lift what events have locked, unless the account was disabled after it was enabled: events may overtake."""
    issuer, subject = occurrence.subject.issuer, occurrence.subject.subject
    later = RevokedToken.objects.filter(
        kind=RevokedToken.Kind.SUBJECT, issuer=issuer, value=subject, issued_until__gt=until
    )
    principal = Principal.objects.filter(issuer=issuer, subject=subject).first()
    if principal is not None and not later.exists():
        locks_lift(principal=principal, source=Lock.Source.EVENT, now=now)


def _end_session(
    *, issuer: str, subject: str, session_id: str, until: datetime, source: str, reason: str, now: datetime
) -> None:
    """Refuse the tokens of one session, or without `session_id` all that `subject` was issued up to `until`."""
    revoked = partial(
        token_revoke, issuer=issuer, source=source, reason=reason, expires_at=revocation_end(now), now=now
    )
    if not session_id:
        revoked(kind=RevokedToken.Kind.SUBJECT, value=subject, issued_until=until)
        console_sessions_end(issuer=issuer, subject=subject, now=now)
        return
    revoked(kind=RevokedToken.Kind.SESSION, value=session_id)
    console_sessions_end(issuer=issuer, provider_session=session_id, now=now)
    if subject:
        revoked(kind=RevokedToken.Kind.SESSIONLESS, value=subject, issued_until=until)
        nameless = ConsoleSession.objects.filter(issuer=issuer, subject=subject, provider_session="", ended_at=None)
        nameless.update(ended_at=now)
