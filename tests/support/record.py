"""Records for tests that read them: sessions with events as the gateway writes them, without a gateway."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import zstandard

from accounts.models import Principal
from connections.models import Connection
from sessions.models import Event, GatewayInstance, Session

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


class Record:
    """One session whose calls are written one after the other, a second apart."""

    def __init__(self, *, slug: str = "orders", subject: str = "ada", start: datetime = START) -> None:
        self.principal, _ = Principal.objects.get_or_create(
            issuer="https://login.example.com", subject=subject, defaults={"display_name": subject.capitalize()}
        )
        self.connection, _ = Connection.objects.get_or_create(
            slug=slug, defaults={"name": slug.capitalize(), "upstream_url": f"https://{slug}.example.com/mcp"}
        )
        self.instance = GatewayInstance.objects.create(
            lock_key=uuid.uuid4().int >> 66,
            host="gw-1",
            pid=1,
            process_started="1",
            started_at=start,
            heartbeat_at=start,
        )
        self.session = Session.objects.create(
            principal=self.principal,
            connection=self.connection,
            era="modern",
            protocol_version="2026-07-28",
            client_name="a-client",
            client_version="1.0",
            remote_address="192.0.2.7",
            started_at=start,
        )
        self.now = start
        self._seq = 0

    def event(self, name: str, body: Any, *, call: uuid.UUID | None = None, payload: Any = None) -> Event:
        """Append an event; a payload that is not bytes is written as JSON, and compressed when it is long."""
        self._seq += 1
        stored = (
            payload
            if payload is None or isinstance(payload, bytes)
            else json.dumps(payload, ensure_ascii=False).encode()
        )
        if stored is not None and len(stored) >= 2048:
            stored = zstandard.ZstdCompressor(level=1).compress(stored)
        digest = hashlib.sha256(b"%d" % self._seq).digest()
        return Event.objects.create(
            instance=self.instance,
            seq=self._seq,
            at=self.now,
            session=self.session,
            call_id=call,
            name=name,
            body=body if isinstance(body, str) else json.dumps(body, separators=(",", ":")),
            payload=stored,
            prev_hash=b"\0" * 32,
            hash=digest,
        )

    def call(
        self,
        name: str = "get_order",
        *,
        method: str = "tools/call",
        verdict: str = "allow",
        request: Any = None,
        answers: tuple[Any, ...] = ({"jsonrpc": "2.0", "id": 1, "result": {}},),
        state: str = "completed",
        hits: dict[str, int] | None = None,
        reason: str = "",
        upstream_us: int = 2_000,
    ) -> uuid.UUID:
        """Append the events of one call that was received 500 microseconds before its verdict."""
        self.now += timedelta(seconds=1)
        call = uuid.uuid4()
        request = request or {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name}}
        body = {
            "method": method,
            "name": name,
            "id": 1,
            "verdict": verdict,
            "rule": "grant" if verdict == "allow" else f"{verdict} it",
            "policy_version": 7,
            "received_us": microseconds(self.now) - 500,
        }
        if verdict != "allow":
            self.event("gateway:call:denied", {**body, "reason": reason}, call=call, payload=request)
            return call
        sent = {"credential_version": 2, "outbound_sha256": "ab" * 32, "outbound_bytes": 99}
        self.event("gateway:call:intent", {**body, **sent}, call=call, payload=request)
        if state == "open":
            return call
        self.now += timedelta(microseconds=upstream_us)
        for answer in answers[:-1]:
            relayed = {"kind": "notification", "hits": {}, "n": 1}
            self.event("upstream:message:relayed", relayed, call=call, payload=answer)
        outcome = {"messages": len(answers), "bytes": 10, "hits": hits or {}, "total_us": upstream_us + 600}
        if answers:
            outcome |= {"kind": "result", "status": 200, "last_hits": hits or {}}
        if reason:
            outcome["reason"] = reason
        self.event(f"gateway:call:{state}", outcome, call=call, payload=answers[-1] if answers else None)
        return call
