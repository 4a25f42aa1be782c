"""What the data path keeps in memory of this app, besides its providers: who is stopped, and who is in which group."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F

from accounts.directory_groups import Directory
from accounts.models import IdentityProvider, Lock, RevocationState, RevokedToken, ScimMember, ScimUser, in_force
from accounts.revocations import LATE_SECONDS, LockRow, Revocations, RevokedRow, compile_revocations


def revocations_in_force(*, now: datetime) -> Revocations:
    """Return every lock and revocation that stops somebody at `now` or later, compiled."""
    version = RevocationState.objects.values_list("version", flat=True).first() or 0
    locks = Lock.objects.filter(in_force(now)).values_list(
        "id",
        "kind",
        "principal__issuer",
        "principal__subject",
        "group__provider__issuer",
        "group__name",
        "provider__issuer",
        "connection_id",
        "token",
        "agent",
        "ends_at",
    )
    revoked = RevokedToken.objects.filter(expires_at__gt=now - timedelta(seconds=LATE_SECONDS)).values_list(
        "kind", "issuer", "value", "issued_until", "expires_at"
    )
    return compile_revocations(
        version,
        [_lock_row(*row) for row in locks],
        [
            RevokedRow(kind, issuer, value, _seconds(issued_until), expires_at.timestamp())
            for kind, issuer, value, issued_until, expires_at in revoked
        ],
    )


def directory_now() -> Directory:
    """Return the provisioned groups of every active user of the providers that look groups up in the directory."""
    providers = IdentityProvider.objects.filter(is_active=True, uses_directory=True)
    users = ScimUser.objects.filter(provider__in=providers, is_active=True).exclude(principal=None)
    names: dict[UUID, list[str]] = {}
    # A group of another provider is another group, whatever it is called.
    members = ScimMember.objects.filter(user__in=users, group__provider=F("user__provider"))
    for user, name in members.values_list("user_id", "group__name"):
        names.setdefault(user, []).append(name)
    return {
        (issuer, subject): frozenset(names.get(user, ()))
        for user, issuer, subject in users.values_list("id", "principal__issuer", "principal__subject")
    }


def _lock_row(
    identifier: UUID,
    kind: str,
    principal_issuer: str | None,
    subject: str | None,
    group_issuer: str | None,
    group: str | None,
    provider_issuer: str | None,
    connection_id: UUID | None,
    token: str,
    agent: str,
    ends_at: datetime | None,
) -> LockRow:
    return LockRow(
        id=str(identifier),
        kind=kind,
        issuer=principal_issuer or group_issuer or provider_issuer or "",
        subject=subject or "",
        group=group or "",
        connection_id=str(connection_id or ""),
        token=token,
        agent=agent,
        ends_at=_seconds(ends_at),
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
