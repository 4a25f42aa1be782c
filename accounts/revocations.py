"""Who is stopped right now: locks and revocations, compiled so that the data path asks without a database. Pure.

Everything is honoured at the moment of use: a lock that has ended stops nobody, even if no sweep has run since, and one
that is in force stops every call, whatever was verified or remembered before.

What stops a caller, and with which code:

- `token_revoked`: this token, its provider session, or all tokens of its subject up to some moment. The client may log
  in again.
- `locked`: the principal, one of its groups, its provider, or the software that acts for it. A new login would not
  help.
- `connection_locked`: nobody may use the connection.

A lock on a group also stops a caller whose groups are unknown, because that caller may be a member.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from .tokens import Identity

Key = TypeVar("Key")
FOREVER: Final = float("inf")
LATE_SECONDS: Final = 120
"""The largest leeway that a provider may have: so long after its `exp` a token may still verify."""

TOKEN_REVOKED: Final = "token_revoked"  # noqa: S105 - a code, not a secret
LOCKED: Final = "locked"
CONNECTION_LOCKED: Final = "connection_locked"

_DETAILS: Final = {
    TOKEN_REVOKED: "The token was revoked.",
    LOCKED: "Access is locked. A new login does not help; ask the operator of the gateway.",
    CONNECTION_LOCKED: "The connection is locked. Ask the operator of the gateway.",
}


class LockRow(NamedTuple):
    """A lock that was not lifted. `issuer` is that of its target; times are epoch seconds."""

    id: str
    kind: str
    issuer: str
    subject: str
    group: str
    connection_id: str
    token: str
    agent: str
    ends_at: float | None


class RevokedRow(NamedTuple):
    """Revoked tokens; `kind` is digest, token_id, session, subject or sessionless. Times are epoch seconds."""

    kind: str
    issuer: str
    value: str
    issued_until: float | None
    expires_at: float


class Stopped(NamedTuple):
    """Why a caller is stopped: a stable code, a sentence that may be shown, and the lock, if it is one."""

    code: str
    detail: str
    lock_id: str


class _Stop(NamedTuple):
    """One reason to stop. It holds until `ends_at`, for tokens issued up to `issued_until`."""

    ends_at: float
    lock_id: str = ""
    issued_until: float = FOREVER


_Stops = dict[tuple[str, ...], _Stop]


@dataclass(frozen=True)
class Revocations:
    """All locks and revocations at one version. Immutable."""

    version: int = 0
    _tokens: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    _sessions: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    _subjects: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    _sessionless: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    _principals: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    _groups: Mapping[str, Mapping[str, _Stop]] = field(default_factory=dict, repr=False)
    _providers: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    _agents: Mapping[tuple[str, ...], _Stop] = field(default_factory=dict, repr=False)
    connections: Mapping[str, _Stop] = field(default_factory=dict, repr=False)
    stops_callers: bool = False
    """False when nothing here is about callers, so that the common case costs one look."""

    def refusal(
        self, identity: Identity, connection_id: UUID | None, now: float, *, signed_by: str = ""
    ) -> Stopped | None:
        """Return why `identity` may not use the connection at `now`, or None.

        Args:
            identity: who calls.
            connection_id: the connection that is called; None looks at the caller alone.
            now: seconds since 1970.
            signed_by: issuer of the token, when it is not the caller's own: the gateway itself.
        """
        if self.stops_callers:
            stopped = self._revoked(identity, signed_by, now) or self._locked(identity, now)
            if stopped is not None:
                return stopped
        return None if connection_id is None else self.connection_refusal(str(connection_id), now)

    def connection_refusal(self, connection_id: str, now: float) -> Stopped | None:
        """Return why nobody may use the connection at `now`, or None."""
        return _stopped(self.connections.get(connection_id), now, CONNECTION_LOCKED)

    def _revoked(self, identity: Identity, signed_by: str, now: float) -> Stopped | None:
        digests = (identity.token_digest, identity.twin_digest)
        stops = [self._tokens.get(("", digest.hex())) for digest in digests if digest]
        for issuer in {identity.issuer, signed_by or identity.issuer}:
            if identity.token_id:
                stops.append(self._tokens.get((issuer, identity.token_id)))
            if identity.session_id:
                stops.append(self._sessions.get((issuer, identity.session_id)))
        subject = (identity.issuer, identity.subject)
        # A session that ended takes along the subject's tokens that name none: they may belong to it.
        sessionless = None if identity.session_id else self._sessionless.get(subject)
        by_time = (self._subjects.get(subject), sessionless)
        stops += [stop for stop in by_time if stop is not None and identity.issued_at <= stop.issued_until]
        return _first(stops, now, TOKEN_REVOKED)

    def _locked(self, identity: Identity, now: float) -> Stopped | None:
        stops = [
            self._principals.get((identity.issuer, identity.subject)),
            self._providers.get((identity.issuer,)),
        ]
        if self._agents:
            stops += [self._agents.get((name,)) for name in (identity.client_id, *identity.actors) if name]
        groups = self._groups.get(identity.issuer)
        if groups:
            names = groups.keys() if identity.groups is None else groups.keys() & identity.groups
            stops += [groups[name] for name in names]
        return _first(stops, now, LOCKED)


NOTHING_REVOKED: Final = Revocations()


def compile_revocations(version: int, locks: Iterable[LockRow], revoked: Iterable[RevokedRow]) -> Revocations:
    """Return the value of these rows; of two that stop the same, the one that holds longer counts."""
    tokens: _Stops = {}
    sessions: _Stops = {}
    subjects: _Stops = {}
    sessionless: _Stops = {}
    principals: _Stops = {}
    providers: _Stops = {}
    agents: _Stops = {}
    connections: dict[str, _Stop] = {}
    groups: dict[str, dict[str, _Stop]] = {}
    for lock in locks:
        stop = _Stop(FOREVER if lock.ends_at is None else lock.ends_at, lock.id)
        match lock.kind:
            case "principal":
                _keep(principals, (lock.issuer, lock.subject), stop)
            case "group":
                _keep(groups.setdefault(lock.issuer, {}), lock.group, stop)
            case "provider":
                _keep(providers, (lock.issuer,), stop)
            case "connection":
                _keep(connections, lock.connection_id, stop)
            case "token":
                _keep(tokens, (lock.issuer, lock.token if lock.issuer else lock.token.lower()), stop)
            case "agent":
                _keep(agents, (lock.agent,), stop)
            case _:
                raise ValueError("a lock of an unknown kind")
    for row in revoked:
        issued_until = FOREVER if row.issued_until is None else row.issued_until
        stop = _Stop(row.expires_at + LATE_SECONDS, issued_until=issued_until)
        match row.kind:
            case "digest":
                _keep(tokens, ("", row.value.lower()), stop)
            case "token_id":
                _keep(tokens, (row.issuer, row.value), stop)
            case "session":
                _keep(sessions, (row.issuer, row.value), stop)
            case "subject":
                _keep(subjects, (row.issuer, row.value), stop)
            case "sessionless":
                _keep(sessionless, (row.issuer, row.value), stop)
            case _:
                raise ValueError("a revocation of an unknown kind")
    stops_callers = any((tokens, sessions, subjects, sessionless, principals, groups, providers, agents))
    return Revocations(
        version,
        tokens,
        sessions,
        subjects,
        sessionless,
        principals,
        groups,
        providers,
        agents,
        connections,
        stops_callers,
    )


def _keep(stops: dict[Key, _Stop], key: Key, stop: _Stop) -> None:
    known = stops.get(key)
    if known is None or known.ends_at < stop.ends_at:
        stops[key] = stop


def _first(stops: Iterable[_Stop | None], now: float, code: str) -> Stopped | None:
    for stop in stops:
        stopped = _stopped(stop, now, code)
        if stopped is not None:
            return stopped
    return None


def _stopped(stop: _Stop | None, now: float, code: str) -> Stopped | None:
    return None if stop is None or now >= stop.ends_at else Stopped(code, _DETAILS[code], stop.lock_id)
