"""Chains of events for tests that prove them: linked and hashed as the gateway does, without a gateway."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sessions import chain
from sessions.models import Event, GatewayInstance

START = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)


class ChainWriter:
    """One gateway process that writes events, each a millisecond after the one before."""

    def __init__(self, *, start: datetime = START) -> None:
        self.instance = GatewayInstance.objects.create(
            id=uuid.uuid4(),
            lock_key=uuid.uuid4().int >> 66,
            host="gw-1",
            pid=1,
            process_started="1",
            started_at=start,
            heartbeat_at=start,
        )
        self.at, self.seq, self.head = start, 0, chain.GENESIS
        self.session = uuid.uuid4()

    def append(self, count: int = 1, *, payload: bytes | None = b'{"jsonrpc":"2.0"}') -> list[Event]:
        """Write `count` more events and return them."""
        events = [self._next(payload) for _ in range(count)]
        return Event.objects.bulk_create(events)

    def _next(self, payload: bytes | None) -> Event:
        self.seq += 1
        self.at += timedelta(milliseconds=1)
        call = uuid.UUID(int=self.seq)
        name, body = "gateway:call:intent", json.dumps({"n": self.seq, "text": "für \u2028 Ada"}, ensure_ascii=False)
        entry = chain.Entry(
            self.seq,
            round(self.at.timestamp() * 1_000_000),
            self.session.bytes,
            call.bytes,
            name,
            body.encode(),
            payload,
        )
        values: dict[str, Any] = {"prev_hash": self.head}
        self.head = chain.link(self.instance.id.bytes, self.head, entry)
        return Event(
            instance=self.instance,
            seq=self.seq,
            at=self.at,
            session_id=self.session,
            call_id=call,
            name=name,
            body=body,
            payload=payload,
            hash=self.head,
            **values,
        )
