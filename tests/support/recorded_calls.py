"""Many recorded calls, as the gateway writes them, without a gateway: for whoever reads the record in bulk."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from accounts.models import Principal
from connections.models import Connection
from proxy.callers import facts
from sessions.models import Event, GatewayInstance, Session

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ISSUER = "https://login.example.com"
BATCH = 5_000


@dataclass(frozen=True)
class Who:
    """A caller, with what `proxy.callers.facts` asks of an identity."""

    subject: str
    groups: frozenset[str] | None = frozenset()
    client_id: str = "cli"
    kind: str = "human"
    issuer: str = ISSUER
    address: str = "192.0.2.7"
    actors: tuple[str, ...] = ()
    audiences: frozenset[str] = frozenset()
    narrowing: Any = None


@dataclass
class Recorded:
    """Writes calls one after the other; `flush` makes them durable, and leaving the block does."""

    start: datetime = START
    is_of_old_gateway: bool = False
    now: datetime = field(init=False)
    _instance: GatewayInstance = field(init=False)
    _sessions: dict[tuple[Who, str], Session] = field(init=False, default_factory=dict)
    _named: set[tuple[uuid.UUID, str]] = field(init=False, default_factory=set)
    _waiting: list[Event] = field(init=False, default_factory=list)
    _seq: Iterator[int] = field(init=False, default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.now = self.start
        self._instance = GatewayInstance.objects.create(
            lock_key=uuid.uuid4().int >> 66, host="gw", pid=1, process_started="1",
            started_at=self.start, heartbeat_at=self.start,
        )  # fmt: skip

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def call(
        self,
        who: Who,
        connection: Connection,
        name: str | None = "get_order",
        arguments: Mapping[str, Any] | None = None,
        *,
        method: str = "tools/call",
        verdict: str = "allow",
        rule: str = "grant",
        hits: Mapping[str, int] | None = None,
        params: Mapping[str, Any] | None = None,
        answer_bytes: int = 100,
        seconds: float = 1.0,
    ) -> uuid.UUID:
        """Append the events of one call, `seconds` after the one before."""
        self.now += timedelta(seconds=seconds)
        session = self._session(who, connection)
        call = uuid.uuid4()
        body: dict[str, Any] = {
            "method": method, "name": name, "id": 1, "verdict": verdict, "rule": rule, "policy_version": 1,
            "received_us": int(self.now.timestamp() * 1e6), "subject": who.subject,
        }  # fmt: skip
        if hits:
            body["request_hits"] = dict(hits)
        if not self.is_of_old_gateway:
            body["caller"] = self._tag(who, session)
        if params is None:
            params = {"name": name, "arguments": dict(arguments or {})}
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        opening = "gateway:call:intent" if verdict == "allow" else "gateway:call:denied"
        self.event(opening, body, session, call, json.dumps(request).encode())
        if verdict == "allow":
            self.event("gateway:call:completed", {"bytes": answer_bytes, "messages": 1}, session, call, None)
        if len(self._waiting) >= BATCH:
            self.flush()
        return call

    def flush(self) -> None:
        """Write what waits."""
        Event.objects.bulk_create(self._waiting)
        self._waiting.clear()

    def session_of(self, who: Who, connection: Connection) -> Session:
        """Return the session of a caller on a connection."""
        return self._sessions[who, connection.slug]

    def _session(self, who: Who, connection: Connection) -> Session:
        session = self._sessions.get((who, connection.slug))
        if session is None:
            principal, _ = Principal.objects.get_or_create(issuer=who.issuer, subject=who.subject)
            session = self._sessions[who, connection.slug] = Session.objects.create(
                principal=principal, connection=connection, era="modern", remote_address=who.address,
                started_at=self.now,
            )  # fmt: skip
        return session

    def _tag(self, who: Who, session: Session) -> str:
        text = json.dumps(facts(who, who.address), sort_keys=True, separators=(",", ":"))  # type: ignore[arg-type]
        tag = sha256(text.encode()).hexdigest()[:16]
        if (session.pk, tag) not in self._named:
            self._named.add((session.pk, tag))
            self.event("gateway:session:caller", text, session, None, None)
        return tag

    def event(
        self, name: str, body: Any, session: Session, call: uuid.UUID | None, payload: bytes | None = None
    ) -> None:
        """Append one event, as it is."""
        self._waiting.append(
            Event(
                instance=self._instance,
                seq=next(self._seq),
                at=self.now,
                session=session,
                call_id=call,
                name=name,
                body=body if isinstance(body, str) else json.dumps(body, separators=(",", ":")),
                payload=payload,
                prev_hash=b"\0" * 32,
                hash=b"\0" * 32,
            )
        )
