"""Writes of sessions and of the gateway processes that own events. Events themselves are written by the recorder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from accounts.services import principal_seen

from .models import Event, GatewayInstance, Session


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of a session when it begins. Texts that come from the client are cut to their column's length."""

    issuer: str
    subject: str
    display_name: str
    email: str
    connection_id: UUID
    era: str
    protocol_version: str
    client_name: str
    client_version: str
    user_agent: str
    remote_address: str
    kind: str = "unknown"


@transaction.atomic
def session_open(*, session_id: UUID, opening: Opening, now: datetime) -> Session:
    """Create the session, and its principal when it is seen for the first time.

    A principal is known by issuer and subject alone; name, e-mail, kind and where it was last seen are refreshed.
    """
    client = f"{opening.client_name[:200]} {opening.client_version[:50]}".strip() or opening.user_agent
    principal = principal_seen(
        issuer=opening.issuer,
        subject=opening.subject,
        kind=opening.kind,
        display_name=opening.display_name,
        email=opening.email,
        address=opening.remote_address,
        client=client,
        now=now,
    )
    return Session.objects.create(
        id=session_id,
        principal=principal,
        connection_id=opening.connection_id,
        era=opening.era,
        protocol_version=opening.protocol_version[:16],
        client_name=opening.client_name[:200],
        client_version=opening.client_version[:100],
        user_agent=opening.user_agent[:300],
        remote_address=opening.remote_address[:64],
        started_at=now,
    )


def session_end(*, session_id: UUID, reason: str, now: datetime) -> bool:
    """End an open session; False when it has ended already."""
    return bool(Session.objects.filter(pk=session_id, ended_at=None).update(ended_at=now, end_reason=reason))


def sessions_end_idle(*, now: datetime, idle_seconds: int) -> int:
    """End every session without an event for `idle_seconds`, at the time of its last event; return how many.

    The gateway opens a new session for the next call by itself, so a late run only makes the list look busier.
    """
    oldest = now - timedelta(seconds=idle_seconds)
    ended = 0
    for session in Session.objects.filter(ended_at=None, started_at__lt=oldest).iterator():
        newest = Event.objects.filter(session=session).order_by("-id").values_list("at", flat=True).first()
        if (newest or session.started_at) >= oldest:
            continue
        ended += Session.objects.filter(pk=session.pk, ended_at=None).update(
            ended_at=newest or session.started_at, end_reason="idle"
        )
    return ended


def instance_open(
    *, instance_id: UUID, lock_key: int, host: str, pid: int, process_started: str, now: datetime
) -> GatewayInstance:
    """Register a gateway process; it owns the chain of this id from now on."""
    return GatewayInstance.objects.create(
        id=instance_id,
        lock_key=lock_key,
        host=host[:255],
        pid=pid,
        process_started=process_started,
        started_at=now,
        heartbeat_at=now,
    )


def instance_beat(*, instance_id: UUID, open_from_seq: int, now: datetime) -> bool:
    """Say that the process is alive and which intents may be open; False when another process has ended it."""
    return bool(
        GatewayInstance.objects.filter(pk=instance_id, ended_at=None).update(
            heartbeat_at=now, open_from_seq=open_from_seq
        )
    )


def instance_end(*, instance_id: UUID, reason: str, now: datetime) -> bool:
    """End a process's chain; False when it has been ended already."""
    return bool(GatewayInstance.objects.filter(pk=instance_id, ended_at=None).update(ended_at=now, end_reason=reason))
